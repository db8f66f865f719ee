"""Targets: which upstream a request goes to, and with whose credential.

They are tried in their order, after admission, when team and model are settled. Which
endpoints an upstream has plays no part in that: a prompt never goes to another provider
because the one that is meant for it lacks an endpoint.
"""

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import translate
from urllib.parse import urlsplit

from tidegate.config import Config
from tidegate.errors import ConfigError, Problem
from tidegate.exchange import Exchange, Request
from tidegate.upstreams import Upstream, read_secret, secrets_of
from tidegate.wire.headers import Pair
from tidegate.wire.profiles import Profile
from tidegate.wire.routes import Kind


@dataclass(frozen=True, slots=True)
class Target:
    """One upstream, with its secrets read."""

    config: Upstream
    profile: Profile
    own: Pair | None
    """The gateway's own credential as a header; None where the caller's is forwarded."""
    by_team: Mapping[str, Pair]
    """Those of single teams."""
    models: re.Pattern[str] | None
    """What the models that it takes are called; None: it takes all."""
    origin: str
    """Scheme, host and port."""

    @property
    def name(self) -> str:
        """What records call it."""
        return self.config.name

    def takes(self, team: str, model: str | None) -> bool:
        """Whether it is for such a request; one without a model is judged by its team alone."""
        if self.config.teams and team not in self.config.teams:
            return False
        return self.models is None or model is None or self.models.fullmatch(model) is not None

    def has(self, kind: Kind) -> bool:
        """Whether it has that endpoint."""
        return self.profile.endpoints is None or kind.value in self.profile.endpoints

    def credential(self, team: str) -> Pair | None:
        """Return the gateway's credential for a team, or None: the caller's own goes."""
        return self.by_team.get(team, self.own)


def open_targets(config: Config) -> tuple[Target, ...]:
    """Return every upstream, its secrets read from the environment and from files.

    Raises:
        ConfigError: with each secret that is not there.
    """
    problems: list[Problem] = []
    targets = []
    for path, upstream in config.upstream_paths:
        profile = upstream.behaviour
        header = profile.auth_header or "x-api-key"
        pairs = _pairs(upstream, path, header, problems)
        own = pairs.pop(f"{path}.credential", None)
        by_team = {at.removeprefix(f"{path}.credentials."): pair for at, pair in pairs.items()}
        pattern, origin = _pattern(upstream.models), _origin(upstream.url)
        targets.append(Target(upstream, profile, own, by_team, pattern, origin))
    if problems:
        raise ConfigError(problems)
    return tuple(targets)


def _origin(url: str) -> str:
    parts = urlsplit(url)
    host = parts.hostname or ""
    port = parts.port or (443 if parts.scheme == "https" else 80)
    return f"{parts.scheme}://{f'[{host}]' if ':' in host else host}:{port}"


def _pairs(upstream: Upstream, path: str, header: str, problems: list[Problem]) -> dict[str, Pair]:
    found: dict[str, Pair] = {}
    for at, reference in secrets_of(upstream, path):
        try:
            found[at] = header_of(header, read_secret(reference, at, os.environ))
        except ConfigError as error:
            problems += error.problems
    return found


def header_of(name: str, secret: str) -> Pair:
    """Return a credential as the header of that name carries it."""
    value = secret.encode("latin-1")
    return name.encode(), b"Bearer " + value if name == "authorization" else value


def _pattern(models: Sequence[str]) -> re.Pattern[str] | None:
    """Return what matches any of the globs, with or without `[1m]` at the end of an id."""
    if not models:
        return None
    return re.compile("|".join(map(translate, models)))


def choose(targets: Sequence[Target], exchange: Exchange, request: Request) -> Target | None:
    """Return the upstream that a request goes to, or None: there is none for it."""
    first = targets[0]
    if first.models is None and not first.config.teams:
        return first
    team, model = request.principal.team, model_of(exchange, request)
    return next((target for target in targets if target.takes(team, model)), None)


def model_of(exchange: Exchange, request: Request) -> str | None:
    """Return the model that a request is about, without the suffix `[1m]`."""
    model = request.view.model
    if model is None and exchange.route.kind is Kind.MODEL:
        model = exchange.route.path.rpartition("/")[2]
    return None if model is None else model.removesuffix("[1m]")
