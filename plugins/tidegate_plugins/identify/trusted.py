"""Headers in which a mesh, or a proxy that terminates mTLS, says who is calling.

They count only where the connection comes from a listed network. A header that is there
twice is refused: one of the two would be the caller's own.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase

from tidegate.exchange import Exchange, Principal
from tidegate.plugin import Refuse
from tidegate_plugins.identify.config import Trusted
from tidegate_plugins.identify.names import CLAIMED, NAME, PSEUDONYM, networks_of, within
from tidegate_plugins.identify.refusals import unauthenticated

_PAIR = re.compile(r'([A-Za-z]+)=("(?:[^"\\]|\\.)*"|[^;,"]*)(;|$)')
"""Of `x-forwarded-client-cert`, as Envoy writes it; a comma would begin another certificate."""


@dataclass(frozen=True, slots=True)
class Ignored:
    """The headers are there, and come from somewhere else."""


class TrustedHeaders:
    """Reads who is calling."""

    def __init__(self, config: Trusted, taken: frozenset[str]) -> None:
        self._config = config
        self._taken = taken
        self._networks = networks_of(config.networks)
        named = (config.principal, config.team, config.certificate)
        self.names = frozenset(name.lower() for name in named if name)
        """In lower case: what never leaves."""

    def read(self, exchange: Exchange) -> Principal | Refuse | Ignored | None:
        """Return who it is; None where no such header is there."""
        headers = exchange.headers
        if not any(name in headers for name in self.names):
            return None
        if not within(exchange.peer, self._networks):
            return Ignored()
        name = self._name(headers)
        if not name or not CLAIMED.fullmatch(name) or PSEUDONYM.fullmatch(name):
            return _bad("does not say who is calling, once and in full")
        if name in self._taken:
            return _bad("gives the caller a name that a gateway key has")
        team = self._team(headers, name)
        if not NAME.fullmatch(team):
            return _bad("does not say which team is calling")
        return Principal(id=name, team=team, labels={"credential": "trusted"})

    def _name(self, headers: Mapping[str, str]) -> str:
        if self._config.certificate:
            value = headers.get(self._config.certificate, "")
            name = certified(value, self._config.field)
        else:
            name = headers.get(self._config.principal, "").strip()
        return self._config.prefix + name if name else ""

    def _team(self, headers: Mapping[str, str], name: str) -> str:
        if self._config.team:
            return headers.get(self._config.team, "").strip()
        globs = self._config.teams.items()
        found = (team for glob, team in globs if fnmatchcase(name, glob))
        return next(found, self._config.default_team)


def certified(value: str, field: str) -> str:
    """Return the one `URI` or `DNS` of the one certificate in the header, or nothing."""
    found: list[str] = []
    at = 0
    while at < len(value):
        match = _PAIR.match(value, at)
        if match is None:
            return ""
        if match[1].lower() == field.lower():
            found.append(match[2].strip('"'))
        at = match.end()
    return found[0] if len(found) == 1 else ""


def _bad(what: str) -> Refuse:
    message = f"the proxy in front of this gateway {what}: tell the gateway's operators"
    return unauthenticated("bad_header", message)
