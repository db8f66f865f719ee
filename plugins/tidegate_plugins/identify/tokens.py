"""Tokens of identity providers: signed JSON Web Tokens (RFC 7519, with RFC 8725 in mind).

Which key, which algorithm and where keys come from is never the token's to say: `jku`, `x5u`,
`jwk` and `x5c` are not looked at, and an algorithm has to be in the configuration.
"""

import base64
import binascii
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tidegate.clock import Clock
from tidegate.exchange import Principal
from tidegate.plugin import Refuse
from tidegate_plugins.identify.claims import GENERIC, principal_of, timely
from tidegate_plugins.identify.config import Issuer
from tidegate_plugins.identify.jwks import Jwks, KeysUnavailable
from tidegate_plugins.identify.key_set import KeySet
from tidegate_plugins.identify.keyring import octets
from tidegate_plugins.identify.refusals import unauthenticated

MAX_CHARACTERS = 16 * 1024
MAX_REMEMBERED = 4096


@dataclass(frozen=True, slots=True)
class Checked:
    """A token whose signature has been checked. Its times still count, and its keys."""

    issuer: Issuer
    jwks: Jwks
    keys: KeySet
    claims: dict[str, Any]

    @property
    def holds(self) -> bool:
        """Whether its issuer's keys are the same, and not too old."""
        return self.keys is self.jwks.keys and self.jwks.fresh


class Tokens:
    """Accepts the tokens of some issuers."""

    def __init__(
        self, issuers: Sequence[tuple[Issuer, Jwks]], clock: Clock, taken: frozenset[str]
    ) -> None:
        from jwt.api_jws import PyJWS  # noqa: PLC0415 - an extra, for those who have issuers

        self._jws = PyJWS()
        self._issuers = {issuer.issuer: (issuer, jwks) for issuer, jwks in issuers}
        self._checked: dict[bytes, Checked] = {}
        self._clock = clock
        self._taken = taken

    def concerns(self, value: str) -> bool:
        """Whether a credential is a token, good or bad."""
        return _digest(value) in self._checked or looks_like_one(value)

    async def read(self, value: str) -> Principal | Refuse:
        """Return who presents the token, or why not."""
        known = self._checked.get(_digest(value))
        if known is None or not known.holds:
            found = await self._check(value)
            if isinstance(found, Refuse):
                return found
            known = self._remember(value, found)
        late = timely(known.claims, known.issuer, self._clock.now())
        return late or principal_of(known.claims, known.issuer, self._taken)

    def _remember(self, value: str, checked: Checked) -> Checked:
        if len(self._checked) >= MAX_REMEMBERED:
            self._checked.clear()
        self._checked[_digest(value)] = checked
        return checked

    async def _check(self, value: str) -> Checked | Refuse:
        """Return the token with its claims, if its signature is good."""
        if len(value) > MAX_CHARACTERS:
            return unauthenticated("token_too_long", GENERIC)
        said = part(value, 1)
        name = said.get("iss") if said is not None else None
        if not isinstance(name, str) or name not in self._issuers:
            return unauthenticated("unknown_issuer", GENERIC)
        issuer, jwks = self._issuers[name]
        header = part(value, 0) or {}
        algorithm, kid = header.get("alg"), header.get("kid")
        if not isinstance(algorithm, str) or algorithm not in issuer.algorithms:
            return unauthenticated("wrong_algorithm", GENERIC)
        if "crit" in header or not isinstance(kid, str | None):
            return unauthenticated("bad_header", GENERIC)
        try:
            key = await jwks.find(kid, algorithm)
        except KeysUnavailable:
            return _unavailable()
        if key is None:
            return unauthenticated("unknown_key_id", GENERIC)
        keys, claims = jwks.keys, self._verified(value, key.key, algorithm)
        if claims is None:
            return unauthenticated("bad_signature", GENERIC)
        return Checked(issuer, jwks, keys, claims)

    def _verified(self, value: str, key: Any, algorithm: str) -> dict[str, Any] | None:
        try:
            payload = self._jws.decode(value, key, algorithms=[algorithm])
            claims = json.loads(payload)
        except Exception:  # noqa: BLE001 - whatever is wrong with it, it proves nothing
            return None
        return claims if isinstance(claims, dict) else None


def _digest(value: str) -> bytes:
    return hashlib.sha256(octets(value)).digest()


def _unavailable() -> Refuse:
    return Refuse(
        status=503,
        error_type="api_error",
        message="the gateway cannot check tokens now, as their issuer does not answer; try again",
        rule="keys_unavailable",
        retry_after_s=5,
    )


def looks_like_one(value: str) -> bool:
    """Whether a credential has the form of a JWT, signed or encrypted, good or bad."""
    return value.count(".") >= 2 and part(value, 0) is not None


def part(value: str, index: int) -> dict[str, Any] | None:
    """Return the header (0) or the claims (1) of a token, unchecked; None: there are none."""
    pieces = value[:MAX_CHARACTERS].split(".", index + 1)
    try:
        piece = pieces[index].encode("ascii")
        found = json.loads(base64.urlsafe_b64decode(piece + b"=" * (-len(piece) % 4)))
    except (IndexError, ValueError, binascii.Error, RecursionError):
        return None
    return found if isinstance(found, dict) else None
