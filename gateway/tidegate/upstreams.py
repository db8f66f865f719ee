"""How an upstream is configured: where it is, whom it is for, how its API differs, its secrets."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

import msgspec

from tidegate.errors import ConfigError, Problem
from tidegate.tables import Table
from tidegate.wire.profiles import ENDPOINTS, PROFILES, Profile


class SecretReference(Table, frozen=True):
    """Where a secret is: `{ env = "NAME" }` or `{ file = "PATH" }`. Never the secret itself."""

    env: str | None = None
    file: str | None = None


class Upstream(Table, frozen=True):
    """Where requests go, and how they are sent there.

    With several, a request goes to the first that takes its team and its model.
    """

    name: str = "default"
    """What records call it."""
    url: str = "https://api.anthropic.com"
    profile: Literal["anthropic", "onedim", "custom"] = "anthropic"
    """How the provider's API differs; the keys below that are not given are as it says."""
    teams: tuple[str, ...] = ()
    """Whose requests it takes; everybody's if empty."""
    models: tuple[str, ...] = ()
    """Ids or globs of the models it takes; all if empty."""
    credential: Literal["forward"] | SecretReference = "forward"
    credentials: dict[str, SecretReference] = {}
    """Teams that have one of their own, such as the key of their workspace."""
    auth_header: Literal["x-api-key", "authorization"] | None = None
    version_policy: Literal["left", "required", "added", "forced"] | None = None
    """What is done about `anthropic-version`: nothing; a request without it is refused; it
    is added where it is missing; it is set to `api_version`."""
    api_version: str | None = None
    endpoints: tuple[str, ...] | None = None
    """Which endpoints it has; others get a 404 here."""
    usage: Literal["cumulative", "increments"] | None = None
    """How numbers in a stream are meant: the last counts, or they add up."""
    connect_timeout_s: float = 5
    first_byte_timeout_s: float = 600
    idle_timeout_s: float = 280
    """Below the five minutes after which Claude Code gives a silent stream up. This and the one
    before are looked at once a second: an answer is found late up to a second, or up to a quarter
    of the shorter of them, after its time."""
    keep_alive_s: float = 30
    """How long an idle connection is kept; less than upstreams and load balancers keep theirs."""
    proxy: str | None = None
    """An outbound HTTP proxy, such as `http://proxy.internal:3128`."""
    ca_file: str | None = None
    client_cert: str | None = None
    """PEM with certificate and key, for upstreams that ask for one."""

    @property
    def behaviour(self) -> Profile:
        """The profile, with what is given here in its place."""
        given = {
            "auth_header": self.auth_header,
            "version_policy": self.version_policy,
            "api_version": self.api_version,
            "endpoints": None if self.endpoints is None else frozenset(self.endpoints),
            "usage": self.usage,
        }
        changes = {key: value for key, value in given.items() if value is not None}
        return msgspec.structs.replace(PROFILES[self.profile], **changes)

    @property
    def forwards(self) -> bool:
        """Whether some callers' own credentials are what it is sent."""
        return self.credential == "forward"


def check(upstream: Upstream, path: str) -> list[Problem]:
    """Return what types alone do not catch of the upstream that stands at `path`."""
    found = []
    parts = urlsplit(upstream.url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        found.append(Problem(f"{path}.url", "must be http(s)://host[:port][/prefix]"))
    elif parts.query or parts.fragment or parts.username:
        found.append(Problem(f"{path}.url", "must hold no query, fragment or credentials"))
    if upstream.proxy is not None:
        proxy = urlsplit(upstream.proxy)
        if proxy.scheme != "http" or not proxy.hostname:
            found.append(Problem(f"{path}.proxy", "must be http://host[:port]"))
    for at, secret in secrets_of(upstream, path):
        if (secret.env is None) == (secret.file is None):
            message = 'name one place: { env = "NAME" } or { file = "PATH" }'
            found.append(Problem(at, message))
    timeouts = ("connect_timeout_s", "first_byte_timeout_s", "idle_timeout_s")
    too_small = [key for key in timeouts if getattr(upstream, key) <= 0]
    found += [Problem(f"{path}.{key}", "must be above 0") for key in too_small]
    return found + _check_behaviour(upstream, path)


def _check_behaviour(upstream: Upstream, path: str) -> list[Problem]:
    found = []
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", upstream.name):
        found.append(Problem(f"{path}.name", "must be letters, digits and . _ -"))
    unknown = sorted({*(upstream.endpoints or ())} - ENDPOINTS)
    if unknown:
        listed = ", ".join(sorted(ENDPOINTS))
        found.append(Problem(f"{path}.endpoints", f"no endpoint is `{unknown[0]}`; use {listed}"))
    version = upstream.behaviour.api_version
    if upstream.behaviour.version_policy in ("added", "forced") and not version:
        message = 'name the version to send: api_version = "2023-06-01"'
        found.append(Problem(f"{path}.api_version", message))
    if version and not re.fullmatch(r"[0-9A-Za-z._-]{1,32}", version):
        found.append(Problem(f"{path}.api_version", "must be a version such as 2023-06-01"))
    return found


def secrets_of(upstream: Upstream, path: str) -> list[tuple[str, SecretReference]]:
    """Return the references of an upstream at `path`, each with its own path."""
    found = [
        (f"{path}.credentials.{team}", secret) for team, secret in upstream.credentials.items()
    ]
    if isinstance(upstream.credential, SecretReference):
        found.append((f"{path}.credential", upstream.credential))
    return found


def read_secret(reference: SecretReference, path: str, environ: Mapping[str, str]) -> str:
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
