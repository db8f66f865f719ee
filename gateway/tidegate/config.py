"""What operators write: TOML, strict. Every problem is reported at once, with its path."""

import difflib
import hashlib
import ipaddress
import tomllib
import typing
from pathlib import Path
from typing import Any, Literal, TypeVar
from urllib.parse import urlsplit

import msgspec

from tidegate.errors import ConfigError, Problem

MIB = 1024 * 1024


class Table(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Base of all tables: unknown keys are errors."""


class SecretReference(Table, frozen=True):
    """Where a secret is: `{ env = "NAME" }` or `{ file = "PATH" }`. Never the secret itself."""

    env: str | None = None
    file: str | None = None


class Listen(Table, frozen=True):
    """Where clients connect."""

    host: str = "127.0.0.1"
    port: int = 8080
    workers: int = 1
    drain_s: float = 600
    """How long streams in flight may go on after SIGTERM."""
    max_body_bytes: int = 32 * MIB
    tls_cert: str | None = None
    tls_key: str | None = None


class Admin(Table, frozen=True):
    """Where health, readiness and metrics are read. Nothing there changes anything."""

    host: str = "127.0.0.1"
    port: int = 9464


class Upstream(Table, frozen=True):
    """Where requests go."""

    url: str = "https://api.anthropic.com"
    credential: Literal["forward"] | SecretReference = "forward"
    auth_header: Literal["x-api-key", "authorization"] = "x-api-key"
    connect_timeout_s: float = 5
    first_byte_timeout_s: float = 600
    idle_timeout_s: float = 300
    keep_alive_s: float = 30
    """How long an idle connection is kept; less than upstreams and load balancers keep theirs."""
    proxy: str | None = None
    """An outbound HTTP proxy, such as `http://proxy.internal:3128`."""
    ca_file: str | None = None
    client_cert: str | None = None
    """PEM with certificate and key, for upstreams that ask for one."""


class Journal(Table, frozen=True):
    """Where records are written."""

    dir: str = "./tidegate-journal"
    durability: Literal["process", "fsync"] = "process"
    on_failure: Literal["refuse", "admit"] = "refuse"
    digests: bool = False


class Plugin(Table, frozen=True):
    """One link of the chain, or an observer. Order in the file is the order of execution."""

    use: str
    name: str | None = None
    mode: Literal["enforce", "shadow", "off"] = "enforce"
    on_error: Literal["refuse", "admit"] = "refuse"
    timeout_s: float = 10
    config: dict[str, Any] = {}

    @property
    def label(self) -> str:
        """The name it goes by in records and metrics."""
        return self.name or self.use


class Config(Table, frozen=True):
    """A whole configuration."""

    listen: Listen = Listen()
    admin: Admin = Admin()
    upstream: Upstream = Upstream()
    journal: Journal = Journal()
    plugins: tuple[Plugin, ...] = ()

    @property
    def digest(self) -> str:
        """Twelve hex digits that tell one configuration from another."""
        encoded = msgspec.json.encode(self, order="deterministic")
        return hashlib.sha256(encoded).hexdigest()[:12]


DEFAULT_PLUGINS = (
    Plugin(use="redact"),
    Plugin(use="metrics"),
    Plugin(use="tracing"),
)
"""The chain where no file is given."""

Flags = dict[str, dict[str, Any]]
"""Command-line flags, by table; they win over the file."""


def load(text: str | None, flags: Flags | None = None) -> Config:
    """Return the configuration of a TOML text, or the default one, with flags on top.

    Raises:
        ConfigError: with every problem found in it.
    """
    config, problems = read(text, flags)
    if problems:
        raise ConfigError(problems)
    return config


def read(text: str | None, flags: Flags | None = None) -> tuple[Config, list[Problem]]:
    """Return the configuration as far as it can be read, and everything wrong with it.

    What cannot be read has its default there, so that the rest can be checked as well.
    """
    try:
        document = tomllib.loads(text) if text is not None else {}
    except tomllib.TOMLDecodeError as error:
        return Config(), [Problem("toml", str(error))]
    for table, values in (flags or {}).items():
        section = document.setdefault(table, {})
        if isinstance(section, dict):
            section.update(values)
    problems: list[Problem] = []
    config = convert(document, Config, "", problems) or Config()
    if text is None:
        config = msgspec.structs.replace(config, plugins=DEFAULT_PLUGINS)
    return config, problems + _check(config)


T = TypeVar("T")


def convert(value: Any, kind: type[T], path: str, problems: list[Problem]) -> T | None:
    """Return `value` as `kind`, or None if that cannot be; `problems` gets every reason.

    Tables are taken apart field by field, as msgspec alone stops at the first error; a
    table is returned with defaults in place of what is wrong in it.
    """
    if isinstance(value, dict) and _is_table(kind):
        return _convert_table(value, kind, path, problems)
    item = _item_type(kind)
    if item is not None and isinstance(value, list):
        items = [convert(v, item, f"{path}[{i}]", problems) for i, v in enumerate(value)]
        return typing.cast("T", tuple(item for item in items if item is not None))
    try:
        return msgspec.convert(value, kind, strict=True)
    except msgspec.ValidationError as error:
        message, _, at = str(error).partition(" - at `$")
        problems.append(Problem(path + at.rstrip("`"), message))
        return None


def _convert_table(
    value: dict[str, Any], kind: type[T], path: str, problems: list[Problem]
) -> T | None:
    fields = {
        field.encode_name: field for field in msgspec.structs.fields(typing.cast("Any", kind))
    }
    unknown = sorted(value.keys() - fields.keys())
    problems += [Problem(_join(path, key), _unknown(key, list(fields))) for key in unknown]
    known = {key: field for key, field in fields.items() if key in value}
    for key in fields.keys() - known.keys():
        if fields[key].required:
            problems.append(Problem(_join(path, key), "is required"))
    converted = {
        field.name: found
        for key, field in known.items()
        if (found := convert(value[key], field.type, _join(path, key), problems)) is not None
    }
    if any(field.required and field.name not in converted for field in fields.values()):
        return None
    try:
        return kind(**converted)
    except (TypeError, ValueError) as error:  # a table's own __post_init__
        problems.append(Problem(path or "configuration", str(error)))
        return None


def _item_type(kind: Any) -> Any:
    """Return the struct type of `tuple[X, ...]` or `list[X]`, if X is one."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin not in (tuple, list) or not arguments:
        return None
    item = arguments[0]
    return item if _is_table(item) else None


def _is_table(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, msgspec.Struct)


def _join(path: str, key: str) -> str:
    return f"{path}.{key}" if path else key


def _unknown(key: str, known: list[str]) -> str:
    close = difflib.get_close_matches(key, known, n=1, cutoff=0.5)
    if close:
        return f"unknown key; did you mean `{close[0]}`?"
    return f"unknown key; known are {', '.join(f'`{name}`' for name in known)}"


def _check(config: Config) -> list[Problem]:
    """Return what types alone do not catch."""
    found = [*_check_upstream(config.upstream), *_check_listen(config)]
    names = [plugin.label for plugin in config.plugins]
    for index, name in enumerate(names):
        if name in names[:index]:
            at = f"plugins[{index}].name"
            found.append(Problem(at, f"`{name}` is taken; give this one another `name`"))
    for index, plugin in enumerate(config.plugins):
        if plugin.timeout_s <= 0:
            found.append(Problem(f"plugins[{index}].timeout_s", "must be above 0"))
    return found


def _check_upstream(upstream: Upstream) -> list[Problem]:
    found = []
    parts = urlsplit(upstream.url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        found.append(Problem("upstream.url", "must be http(s)://host[:port][/prefix]"))
    elif parts.query or parts.fragment or parts.username:
        found.append(Problem("upstream.url", "must hold no query, fragment or credentials"))
    if upstream.proxy is not None:
        proxy = urlsplit(upstream.proxy)
        if proxy.scheme != "http" or not proxy.hostname:
            found.append(Problem("upstream.proxy", "must be http://host[:port]"))
    secret = upstream.credential
    if isinstance(secret, SecretReference) and (secret.env is None) == (secret.file is None):
        message = 'name one place: { env = "NAME" } or { file = "PATH" }'
        found.append(Problem("upstream.credential", message))
    timeouts = ("connect_timeout_s", "first_byte_timeout_s", "idle_timeout_s")
    too_small = [key for key in timeouts if getattr(upstream, key) <= 0]
    return found + [Problem(f"upstream.{key}", "must be above 0") for key in too_small]


def _check_listen(config: Config) -> list[Problem]:
    listen = config.listen
    found = []
    if listen.workers < 1:
        found.append(Problem("listen.workers", "must be 1 or more"))
    for name, port in (("listen.port", listen.port), ("admin.port", config.admin.port)):
        if not 0 <= port <= 65535:
            found.append(Problem(name, "must be from 0 to 65535"))
    if listen.port == config.admin.port != 0 and listen.host == config.admin.host:
        found.append(Problem("admin.port", "must differ from listen.port"))
    if (listen.tls_cert is None) != (listen.tls_key is None):
        found.append(Problem("listen.tls_cert", "needs tls_key beside it, and the other way round"))
    if listen.max_body_bytes < 1024:
        found.append(Problem("listen.max_body_bytes", "must be 1024 or more"))
    return found


def is_loopback(host: str) -> bool:
    """Whether nobody but this machine can connect to `host`."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def read_secret(reference: SecretReference, path: str, environ: typing.Mapping[str, str]) -> str:
    """Return the secret that `reference` names; `path` is where it stands in the file.

    Raises:
        ConfigError: it is not there, or empty.
    """
    if reference.env is not None:
        value = environ.get(reference.env, "")
        missing = f"the environment variable {reference.env} is not set"
    else:
        try:
            value = Path(reference.file or "").read_text()
            missing = f"the file {reference.file} is empty"
        except OSError as error:
            value, missing = "", f"{reference.file}: {error.strerror}"
    value = value.strip()
    if not value:
        raise ConfigError([Problem(path, missing)])
    if not value.isascii() or not value.isprintable():
        raise ConfigError([Problem(path, "holds characters that cannot stand in a header")])
    return value
