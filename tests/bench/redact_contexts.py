"""Contexts to put generated secrets into, other than the generator's own.

Each part was written before the rules had been measured in it; what was missed has since been
looked at, so they are no measure of contexts that nobody has thought of.

`{N}` is the secret's name as an environment variable, `{n}` in snake case, `{k}` in kebab
case, `{c}` in camel case, `{C}` in Pascal case, `{d}` with dots; `{V}` the value, `{J}` the value
as it stands in a JSON string, `{JJ}` in JSON inside of JSON.
"""

import json
import re

CONTEXTS = (
    "{N}='{V}'\nLOG_LEVEL=info\n",
    "set -gx {N} {V}\n",
    '$env:{N} = "{V}"\r\n',
    "set {N}={V}\r\n",
    "FROM alpine:3\nENV {N}={V}\nRUN true\n",
    "FROM alpine:3\nENV {N} {V}\nRUN true\n",
    "ARG {N}={V}\n",
    "services:\n  web:\n    environment:\n      - {N}={V}\n      - TZ=UTC\n",
    'services:\n  web:\n    environment:\n      {N}: "{V}"\n',
    "kind: Secret\nstringData:\n  {k}: {V}\n",
    'variable "{n}" {{\n  type    = string\n  default = "{V}"\n}}\n',
    "config['{n}'] = '{V}'\n",
    "SETTINGS = {{'{N}': '{V}', 'debug': False}}\n",
    'os.environ["{N}"] = "{V}"\n',
    'value = os.getenv("{N}", "{V}")\n',
    "const key = process.env.{N} || '{V}';\n",
    "export default {{ {c}: '{V}', retries: 3 }};\n",
    "ENV['{N}'] ||= '{V}'\n",
    "  '{n}' => '{V}',\n",
    "define('{N}', '{V}');\n",
    "app.{d}={V}\nserver.port=8080\n",
    'private static final String {N} = "{V}";\n',
    'os.Setenv("{N}", "{V}")\n',
    '\t{C}: "{V}",\n',
    'const {N}: &str = "{V}";\n',
    "deploy --region eu-1 --{k} {V} --wait\n",
    "deploy --{k}={V}\n",
    'curl -s -H "X-{k}: {V}" https://api.corp.example/v1\n',
    "GET /v1/items?{n}={V}&page=2 HTTP/1.1\n",
    '{{"type":"call","arguments":"{{\\"{n}\\":\\"{JJ}\\"}}"}}',
    '{{"level":"info","{c}":"{J}","ms":3}}\n',
    '<add key="{N}" value="{V}" />\n',
    '<property name="{d}">{V}</property>\n',
    "[service]\n{n} = {V}\ntimeout = 3\n",
    "| name | value |\n|---|---|\n| {N} | {V} |\n",
    "- **{N}**: {V}\n",
    "hey, my {n} is {V}, can you check why it fails?",
    "Use {n}: {V}",
    "INSERT INTO settings (k, v) VALUES ('{n}', '{V}');\n",
    "helm upgrade app ./chart --set {c}={V}\n",
    'Environment="{N}={V}"\n',
    "$ {N}={V} ./run.sh --fast\n",
    "Settings({n}='{V}', debug=False)",
    '{N} = b"{V}"\n',
    '{{"name": "{N}", "value": "{J}"}}',
    '{{"key": "{n}", "value": "{J}", "enabled": true}}',
    'kubectl create secret generic app --from-literal={k}={V}\n',
    "heroku config:set {N}={V} -a shop\n",
    'gh secret set {N} --body "{V}"\n',
    "config :shop, {n}: \"{V}\"\n",
 "let {c} = \"{V}\"\n", "val {c}: String = \"{V}\"\n", "setProperty(\"{d}\", \"{V}\");\n", "  {c}: {V}\n  enabled: true\n",
 "-D{d}={V} -jar app.jar\n", "export {N}={V}; make deploy\n", "{N}: '{V}'  # rotate in May\n",
 "auth = dict({n}=\"{V}\", retries=2)\n", "mysql --user=root --{k}={V} shop\n", "\"{k}\": \"{V}\",\n",
 "<input type=\"hidden\" name=\"{c}\" value=\"{V}\">\n", "curl -d '{n}={V}&grant=x' https://idp.corp.example/t\n",
 "Here is the {n} you asked for: `{V}`. Keep it safe.\n", "assert client.{n} == '{V}'\n", "self.{n} = \"{V}\"\n",
 "[default]\n{n}={V}\noutput=json\n", "{n}: |\n  {V}\n", "- {{ name: {N}, value: '{V}' }}\n",
 "echo '{N}={V}' >> .env\n", "printf '%s' '{V}' | docker secret create {n} -\n", "ENV_VARS: {{\"{N}\":\"{V}\"}}\n",
 "app.config.update({N}='{V}')\n", "@Value(\"${{{d}:{V}}}\")\n", "builder.withCredentials(\"{c}\", \"{V}\")\n",
 "2026/03/01 12:00:00 [debug] env {N}=\"{V}\" loaded\n", "{{\"headers\": {{\"X-{k}\": \"{V}\"}}}}\n",
 "Set-Variable -Name {C} -Value '{V}'\n", "aws ssm put-parameter --name /prod/{n} --value {V} --type SecureString\n",
 "{N} ?= {V}\n", "fly secrets set {N}={V}\n", "  {n}:\n    value: {V}\n", "WARN using {n} '{V}' from cache\n",
 "final var {c} = \"{V}\";\n", "  {N}: \"{V}\",\n", "{c}={V}&redirect=%2Fhome", "local {n} = \"{V}\"\n",
 "-e {N}='{V}' \\\n", "terraform apply -var=\"{n}={V}\"\n", "client.set_{n}(\"{V}\")\n", "#define {N} \"{V}\"\n",
 "\"{N}={V}\",\n", "services.AddAuth(o => o.{C} = \"{V}\");\n", "env.put(\"{N}\", \"{V}\");\n", "<{c}>{V}</{c}>\n",
 "  - {n}: {V}\n", "{N}=\"{V}\" \\\n  python main.py\n", "PUT /config {{\"{k}\": \"{V}\"}}\n", "npx wrangler secret put {N} <<< \"{V}\"\n",
 "The {n} was leaked: {V}\n", "- `{N}`: `{V}`\n", "cfg.Set(\"{d}\", \"{V}\")\n", "{n}:{V}\n", "<key>{C}</key>\n<string>{V}</string>\n",
 "patch: [{{\"op\":\"add\",\"path\":\"/data/{n}\",\"value\":\"{V}\"}}]\n", "SELECT set_config('app.{n}', '{V}', false);\n",
 "\\\"{c}\\\": \\\"{V}\\\"", "+ {n} = \"{V}\"\n", "buildConfigField \"String\", \"{N}\", '\"{V}\"'\n", "app: {{ {c}: {V} }}\n",
 "sql: ALTER SYSTEM SET app.{n} = '{V}';\n", "{{% set {n} = \"{V}\" %}}\n", "<entry key=\"{d}\">{V}</entry>\n",
 "<setting name=\"{C}\"><value>{V}</value></setting>\n", "{C} := \"{V}\"\n", "static let {c} = \"{V}\"\n",
 "  '{n}': r'{V}',\n", "vault kv put secret/app {n}={V}\n", "$config->{c} = '{V}';\n", "(def {k} \"{V}\")\n",
 "{N}: {V} # from the safe\n", "{n}=\"{V}\", region=\"eu\"\n", "[{N}] {V}\n", "{c}({V})\n",
 "error: invalid {n} \"{V}\" (401)\n", "--set-string auth.{c}={V} \\\n", "user pasted {n} -> {V}\n",
 "*{n}*: `{V}`\n", "\"{N}\" = \"{V}\"\n", "Cookie: {n}={V}; theme=dark\n", "x-{k}:{V}\r\n", "{N}\t{V}\n",
 "{{\"type\":\"secret\",\"{c}\":[\"{J}\"]}}\n", "new Client {{ {C} = \"{V}\" }}\n",
 "my %cfg = ({n} => '{V}');\n", "let {c}: Secret<String> = Secret::new(\"{V}\".into());\n", "{n}: !vault \"{V}\"\n",
 "set_secret(\"{N}\", value=\"{V}\")\n", "the new {n} (rotated today) is {V}\n", "| `{n}` | string | `{V}` |\n",
 "options.{C} = @\"{V}\";\n", "docker build --build-arg {N}={V} .\n", "{N} = <<EOT\n{V}\nEOT\n", "<{k} value=\"{V}\"/>\n",
 "  {c} = '{V}'  # noqa\n", "GET /cb?state=x&{c}={V} HTTP/1.1\n", "{n} {V}\n", "if {c} != \"{V}\" {{ return }}\n",
 "{{:{n}, \"{V}\"}}\n", "puts {c}: {V}\n", "{N}=${{{N}:-{V}}}\n", "got {n}=[{V}] from vault\n",
 "X-{k} = {V}\n", "echo {V} > /run/secrets/{n}\n",
)  # fmt: skip


def fill(context: str, name: str, value: str) -> str:
    """Return the context with a secret of that name in it."""
    words = re.findall(r"[A-Za-z][a-z0-9]*|[A-Z0-9]+", name.replace("__", "_")) if "_" not in name else name.lower().split("_")  # fmt: skip
    words = [word.lower() for word in words if word]
    pascal = "".join(word.capitalize() for word in words)
    escaped = json.dumps(value)[1:-1]
    return context.format(
        N=name,
        n="_".join(words),
        k="-".join(words),
        c=pascal[0].lower() + pascal[1:],
        C=pascal,
        d=".".join(words),
        V=value,
        J=escaped,
        JJ=json.dumps(escaped)[1:-1],
    )
