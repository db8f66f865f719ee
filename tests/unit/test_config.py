"""Every mistake is named, with its place and the fix; nothing is guessed."""

from pathlib import Path

import pytest

from tidegate.check import check
from tidegate.config import Config, is_loopback, load, read
from tidegate.errors import ConfigError
from tidegate.registry import choose, installed, resolve, schema

SAMPLE = """
[listen]
host = "127.0.0.1"
port = 8080
workers = 2
drain_s = 30
max_body_bytes = 1048576
[admin]
host = "127.0.0.1"
port = 9464
[upstream]
url = "https://api.anthropic.com"
credential = "forward"
auth_header = "x-api-key"
connect_timeout_s = 5
first_byte_timeout_s = 600
idle_timeout_s = 300
[journal]
dir = "./tidegate-journal"
durability = "process"
on_failure = "refuse"
digests = false
[[plugins]]
use = "identify"
[plugins.config]
keys = [ { id = "ci-search", team = "search", sha256 = "%s" } ]
[[plugins]]
use = "models"
[plugins.config]
allow = ["claude-sonnet-4-6", "claude-haiku-*"]
teams.search.allow = ["*"]
[[plugins]]
use = "limits"
[plugins.config]
max_tokens = 8192
over = "reject"
models."claude-opus-*".max_tokens = 32000
[[plugins]]
use = "redact"
[plugins.config]
action = "mask"
key = { env = "TIDEGATE_REDACT_KEY" }
[[plugins]]
use = "metrics"
[[plugins]]
use = "tracing"
""" % ("ab" * 32)


def problems(text: str) -> dict[str, str]:
    with pytest.raises(ConfigError) as caught:
        resolve(text)
    return {problem.path: problem.message for problem in caught.value.problems}


def test_the_documented_names_are_the_names() -> None:
    config, chosen = resolve(SAMPLE)
    assert config.listen.workers == 2
    assert [link.plugin.label for link in chosen] == [
        "identify", "models", "limits", "redact", "metrics", "tracing",
    ]  # fmt: skip


def test_without_a_file_it_forwards_redacts_and_counts() -> None:
    config, chosen = resolve(None)
    assert (config.listen.host, config.listen.port, config.admin.port) == ("127.0.0.1", 8080, 9464)
    assert config.upstream.url == "https://api.anthropic.com"
    assert config.upstream.credential == "forward"
    assert config.journal.dir == "./tidegate-journal"
    assert [link.plugin.use for link in chosen] == ["redact", "metrics", "tracing", "usage"]


def test_an_empty_file_is_not_no_file() -> None:
    assert resolve("")[1] == []


def test_flags_win_over_the_file() -> None:
    config = load("[listen]\nport = 1\nworkers = 3", {"listen": {"port": 2}})
    assert (config.listen.port, config.listen.workers) == (2, 3)


def test_every_mistake_is_reported_at_once() -> None:
    found = problems(
        """
        [listen]
        prot = 1
        workers = "two"
        [upstrem]
        [upstream]
        url = "ftp://x"
        credential = { env = "A", file = "b" }
        [[plugins]]
        use = "modles"
        [[plugins]]
        use = "limits"
        [plugins.config]
        max_tokns = 5
        over = "maybe"
        """
    )
    assert found["listen.prot"] == "unknown key; did you mean `port`?"
    assert found["listen.workers"] == "Expected `int`, got `str`"
    assert found["upstrem"] == "unknown key; did you mean `upstream`?"
    assert found["upstream.url"].startswith("must be http(s)://")
    assert "upstream.credential" in found
    assert "did you mean `models`?" in found["plugins[0].use"]
    assert found["plugins[1].config.max_tokns"] == "unknown key; did you mean `max_tokens`?"
    assert "plugins[1].config.over" in found


def test_toml_that_is_none_says_where() -> None:
    assert "line 2" in problems("[listen]\nport = = 1\n")["toml"]


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("[listen]\nworkers = 0", "listen.workers"),
        ("[listen]\nport = 70000", "listen.port"),
        ("[listen]\nport = 9464", "admin.port"),
        ("[listen]\ntls_cert = 'x'", "listen.tls_cert"),
        ("[upstream]\nurl = 'https://user:pw@host'", "upstream.url"),
        ("[upstream]\nurl = 'https://host/?a=b'", "upstream.url"),
        ("[upstream]\nproxy = 'socks5://x'", "upstream.proxy"),
        ("[upstream]\nidle_timeout_s = 0", "upstream.idle_timeout_s"),
        ("[upstream]\ncredential = 'sk-x'", "upstream.credential"),
        ("[upstream]\ncredential = {}", "upstream.credential"),
        ("[[plugins]]\nuse='metrics'\n[[plugins]]\nuse='metrics'", "plugins[1].name"),
        ("[[plugins]]\nuse='metrics'\nmode='shadow'", "plugins[0].mode"),
        ("[[plugins]]\nuse='models'\ntimeout_s=0", "plugins[0].timeout_s"),
        ("[[plugins]]\nmode='off'", "plugins[0].use"),
    ],
)
def test_what_cannot_work_is_refused(text: str, path: str) -> None:
    assert path in problems(text)


def test_stages_must_not_decrease() -> None:
    found = problems("[[plugins]]\nuse='redact'\n[[plugins]]\nuse='models'")
    assert "must come before `redact`" in found["plugins[1]"]


def test_a_plugin_that_is_off_is_checked_and_left_out() -> None:
    assert resolve("[[plugins]]\nuse='models'\nmode='off'")[1] == []
    assert "plugins[0].config.alow" in problems(
        "[[plugins]]\nuse='models'\nmode='off'\n[plugins.config]\nalow=[]"
    )


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.1", "gateway.internal"])
def test_an_open_port_needs_identity(host: str) -> None:
    said = problems(f"[listen]\nhost = '{host}'")["listen.host"]
    assert "tidegate keys new" in said
    key = 'keys = [{ id = "a", team = "t", sha256 = "%s" }]' % ("ab" * 32)
    identified = f"[listen]\nhost = '{host}'\n[[plugins]]\nuse = 'identify'\n"
    assert resolve(f"{identified}[plugins.config]\n{key}")
    assert "listen.host" in problems(f"{identified}mode = 'shadow'\n[plugins.config]\n{key}")


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        ("127.0.0.1", True),
        ("127.9.9.9", True),
        ("::1", True),
        ("localhost", True),
        ("0.0.0.0", False),
    ],
)
def test_loopback(host: str, loopback: bool) -> None:
    assert is_loopback(host) is loopback


def test_the_digest_tells_configurations_apart() -> None:
    one, two = load("[listen]\nport = 1"), load("[listen]\nport = 2")
    assert one.digest != two.digest
    assert one.digest == load("[listen]\nport=1").digest


def test_what_cannot_be_read_has_its_default() -> None:
    config, found = read("[listen]\nport = 'x'\nworkers = 3")
    assert (config.listen.port, config.listen.workers, len(found)) == (8080, 3, 1)


def test_the_schema_knows_every_plugin() -> None:
    document = schema()
    conditions = document["$defs"]["Plugin"]["allOf"]
    named = {condition["if"]["properties"]["use"]["const"] for condition in conditions}
    assert named >= installed().keys() >= {"identify", "models", "limits", "redact", "metrics"}


def test_choose_reports_instead_of_raising() -> None:
    chosen, found = choose(Config())
    assert (chosen, found) == ([], [])


def test_check_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError) as caught:
        check('[upstream]\ncredential = { env = "NOT_SET_ANYWHERE" }\nca_file = "/nowhere.pem"')
    assert {problem.path for problem in caught.value.problems} == {
        "upstream.credential",
        "upstream.ca_file",
    }
    check('[[plugins]]\nuse = "models"\nconfig.allow = ["*"]')
    assert list(tmp_path.iterdir()) == []


def test_the_openai_format_is_off_unless_it_is_named():
    assert load("").openai.chat_completions == "off"
    _, problems = read('[openai]\nchat_completions = "on"\ndefault_max_tokens = -1\nmode = 1')
    assert sorted(problem.path for problem in problems) == [
        "openai.chat_completions",
        "openai.default_max_tokens",
        "openai.mode",
    ]
