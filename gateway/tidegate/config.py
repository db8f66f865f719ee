"""What operators write: TOML, strict. Every problem is reported at once, with its path."""

import hashlib
import ipaddress
import tomllib
from typing import Any, Literal

import msgspec

from tidegate.errors import ConfigError, Problem
from tidegate.tables import Table, convert
from tidegate.upstreams import Upstream
from tidegate.upstreams import check as check_upstream

MIB = 1024 * 1024


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


class Journal(Table, frozen=True):
    """Where records are written."""

    dir: str = "./tidegate-journal"
    durability: Literal["process", "fsync"] = "process"
    on_failure: Literal["refuse", "admit"] = "refuse"
    digests: bool = False
    retain_days: float = 90
    """How long sealed segments are kept; 0: for ever."""
    retain_bytes: int = 10 * 1024 * MIB
    """How much is kept on disk, the oldest goes first; 0: everything."""
    min_free_bytes: int = 64 * MIB
    """What is to be left free on the file system, at most 5 % of it; 0: nothing."""
    content: Literal["off", "redacted"] = "off"
    """Whether requests and answers are kept, after redaction."""
    content_max_bytes: int = 64 * 1024
    """Of each request, and of each answer."""
    content_retain_days: float = 7
    content_retain_bytes: int = 1024 * MIB


class OpenAI(Table, frozen=True):
    """Clients that speak the OpenAI format."""

    chat_completions: Literal["off", "pass", "convert"] = "off"
    """What `POST /v1/chat/completions` is: not there; converted by the upstream; converted here."""
    default_max_tokens: int = 4096
    """Put in where such a client says nothing, as it may; 0: left to a policy, or refused."""


class Log(Table, frozen=True):
    """What the processes say on standard error. TIDEGATE_LOG_LEVEL says how much."""

    format: Literal["text", "json"] = "text"
    exchanges: bool = False
    """One line for each exchange, beside the journal."""


class Shadow(Table, frozen=True):
    """A second configuration, asked about the same requests without effect."""

    config: str | None = None
    """Its file. Only its plugins take part: policies, but for those that take something."""


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
    """The upstream, or with `[[upstreams]]` the last of them, if the file has it."""
    upstreams: tuple[Upstream, ...] = ()
    """All of them once `read`, in the order in which they are tried."""
    journal: Journal = Journal()
    openai: OpenAI = OpenAI()
    log: Log = Log()
    plugins: tuple[Plugin, ...] = ()
    shadow: Shadow = Shadow()

    @property
    def targets(self) -> tuple[Upstream, ...]:
        """Every upstream, in the order in which they are tried."""
        return self.upstreams or (self.upstream,)

    @property
    def upstream_paths(self) -> list[tuple[str, Upstream]]:
        """The same, each with its place in the file."""
        return [
            ("upstream" if upstream is self.upstream else f"upstreams[{index}]", upstream)
            for index, upstream in enumerate(self.targets)
        ]

    @property
    def digest(self) -> str:
        """Twelve hex digits that tell one configuration from another."""
        encoded = msgspec.json.encode(self, order="deterministic")
        return hashlib.sha256(encoded).hexdigest()[:12]


DEFAULT_PLUGINS = (
    Plugin(use="redact"),
    Plugin(use="metrics"),
    Plugin(use="tracing"),
    Plugin(use="usage"),
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
    problems += _check(config)
    if config.upstreams and "upstream" in document:
        every = (*config.upstreams, config.upstream)
        config = msgspec.structs.replace(config, upstreams=every)
    return config, problems + _check_targets(config)


def _check(config: Config) -> list[Problem]:
    """Return what types alone do not catch."""
    found = check_upstream(config.upstream, "upstream")
    for index, upstream in enumerate(config.upstreams):
        found += check_upstream(upstream, f"upstreams[{index}]")
    found += _check_listen(config)
    if config.openai.default_max_tokens < 0:
        found.append(Problem("openai.default_max_tokens", "must be 0 or more"))
    found += _check_journal(config.journal)
    names = [plugin.label for plugin in config.plugins]
    for index, name in enumerate(names):
        if name in names[:index]:
            at = f"plugins[{index}].name"
            found.append(Problem(at, f"`{name}` is taken; give this one another `name`"))
    for index, plugin in enumerate(config.plugins):
        if plugin.timeout_s <= 0:
            found.append(Problem(f"plugins[{index}].timeout_s", "must be above 0"))
    return found


def _check_targets(config: Config) -> list[Problem]:
    """Return what is wrong with the upstreams together: names, and those never tried."""
    found: list[Problem] = []
    names: set[str] = set()
    everything = ""
    for path, upstream in config.upstream_paths:
        if upstream.name in names:
            message = f"`{upstream.name}` is taken; give this one another `name`"
            found.append(Problem(f"{path}.name", message))
        names.add(upstream.name)
        if everything:
            found.append(Problem(path, f"is never used: `{everything}` before it takes everything"))
        elif not upstream.teams and not upstream.models:
            everything = upstream.name
    return found


def _check_journal(journal: Journal) -> list[Problem]:
    limits = (
        *("retain_days", "retain_bytes", "min_free_bytes"),
        *("content_retain_days", "content_retain_bytes"),
    )
    negative = [key for key in limits if getattr(journal, key) < 0]
    found = [Problem(f"journal.{key}", "must be 0 (no limit) or more") for key in negative]
    if journal.content_max_bytes < 1024:
        found.append(Problem("journal.content_max_bytes", "must be 1024 or more"))
    return found


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
