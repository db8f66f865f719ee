"""Gateway keys: found by the digest of what is presented; checked when the gateway starts."""

import hashlib
import hmac
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from tidegate.exchange import Principal
from tidegate.plugin import Admit
from tidegate_plugins.identify.config import Key
from tidegate_plugins.identify.names import (
    LETTERS,
    NAME,
    PSEUDONYM,
    Network,
    network_problems,
    networks_of,
)

PREFIX = "tgk_"
"""Gateway keys begin with it; such a value is never taken for somebody else's credential."""

_SHA256 = re.compile(r"[0-9a-fA-F]{64}")


@dataclass(frozen=True, slots=True)
class Placed:
    """A key and where it is written: `keys[0]`, or `keys/search.toml:3`."""

    key: Key
    place: str
    file: str = ""
    line: int = 0

    def __str__(self) -> str:
        return f"{self.place} ({self.key.id[:40]!a})"


@dataclass(frozen=True, slots=True)
class Known:
    """A key as it is looked up."""

    digest: str
    principal: Principal
    expires: float | None
    networks: tuple[Network, ...]
    admit: Admit
    """The yes to whoever presents it."""


def octets(value: str) -> bytes:
    """Return a presented value as bytes; a header may hold some that are no UTF-8."""
    return value.encode("utf-8", "surrogatepass")


def digest(value: str) -> str:
    """Return the digest a key is known by: SHA-256 of its UTF-8, in hex (`tidegate.keys`)."""
    return hashlib.sha256(octets(value)).hexdigest()


class Keyring:
    """Every key. Immutable; a reload makes another one."""

    def __init__(self, keys: Iterable[Key]) -> None:
        self._known = {key.sha256.lower(): _known(key) for key in keys}
        self.ids = frozenset(known.principal.id for known in self._known.values())
        """Names that nobody else may get."""

    def find(self, value: str) -> Known | None:
        """Look a value up. What timing could tell is a digest's prefix, which helps nobody."""
        presented = digest(value)
        known = self._known.get(presented)
        if known is None or not hmac.compare_digest(known.digest, presented):
            return None
        return known


def _known(key: Key) -> Known:
    principal = Principal(id=key.id, team=key.team, labels={"credential": "gateway"})
    return Known(
        digest=key.sha256.lower(),
        principal=principal,
        expires=None if key.expires is None else key.expires.timestamp(),
        networks=networks_of(key.networks),
        admit=Admit(principal=principal, consumes_credential=True, rule="key"),
    )


def problems_of(keys: Sequence[Placed]) -> list[str]:
    """Return everything that is wrong with the keys, alone and together."""
    problems: list[str] = []
    ids: dict[str, Placed] = {}
    digests: dict[str, Placed] = {}
    for placed in keys:
        key = placed.key
        problems += [f"{placed}: {problem}" for problem in _entry_problems(key)]
        first = ids.setdefault(key.id, placed)
        if first is not placed:
            problems.append(f"{placed}: the id is taken by {first.place}; give it another")
        first = digests.setdefault(key.sha256.lower(), placed)
        if first is not placed:
            problems.append(
                f"{placed}: the same sha256 as {first.key.id[:40]!a} at {first.place}; make a key for each"
            )
    return problems


def _entry_problems(key: Key) -> list[str]:
    problems: list[str] = []
    if not NAME.fullmatch(key.id) or PSEUDONYM.fullmatch(key.id):
        problems.append(f"id must be {LETTERS}, and no cred-… name")
    if not NAME.fullmatch(key.team):
        problems.append(f"team must be {LETTERS}")
    if not _SHA256.fullmatch(key.sha256):
        problems.append("sha256 must be 64 hex digits, as `tidegate keys new` prints them")
    if key.expires is not None and key.expires.tzinfo is None:
        problems.append("expires needs an offset, such as 2027-01-31T00:00:00Z")
    return problems + network_problems(key.networks)
