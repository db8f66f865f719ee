"""An identity provider's public keys, as a JWKS holds them (RFC 7517)."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from tidegate.errors import PluginError

FAMILIES = {
    "RS256": ("RSA", ""),
    "RS384": ("RSA", ""),
    "RS512": ("RSA", ""),
    "PS256": ("RSA", ""),
    "PS384": ("RSA", ""),
    "PS512": ("RSA", ""),
    "ES256": ("EC", "P-256"),
    "ES384": ("EC", "P-384"),
    "ES512": ("EC", "P-521"),
    "EdDSA": ("OKP", "Ed25519"),
}
"""Signatures that are accepted, with the type of key and the curve that each needs. A public
key can check all of them, and make none: there is nothing symmetric here."""

MAX_KEYS = 64
MIN_RSA_BITS = 2048


@dataclass(frozen=True, slots=True)
class PublicKey:
    """One key that checks signatures."""

    kid: str | None
    family: tuple[str, str]
    algorithm: str | None
    """The only one it is for, where the JWKS says so."""
    key: Any

    def fits(self, kid: str | None, algorithm: str) -> bool:
        """Whether a token with such a header may be checked with it."""
        return (
            self.kid == kid
            and self.family == FAMILIES[algorithm]
            and self.algorithm in (None, algorithm)
        )


@dataclass(frozen=True, slots=True)
class KeySet:
    """All of them, at one moment."""

    keys: tuple[PublicKey, ...] = ()

    def find(self, kid: str | None, algorithm: str) -> PublicKey | None:
        """Return the key for a token; one without `kid` fits only if no other key does."""
        if kid is not None:
            return next((key for key in self.keys if key.fits(kid, algorithm)), None)
        able = [key for key in self.keys if key.fits(key.kid, algorithm)]
        return able[0] if len(able) == 1 else None


def key_set(document: Any) -> KeySet:
    """Return the keys of a JWKS that can be used; others are left out, as new kinds may come.

    Raises:
        ValueError: it is no JWKS, or holds no key that can be used.
    """
    entries = document.get("keys") if isinstance(document, dict) else None
    if not isinstance(entries, list) or len(entries) > MAX_KEYS:
        raise ValueError(f"is no JWKS with up to {MAX_KEYS} keys")
    keys = tuple(_usable(entries))
    if not keys:
        raise ValueError("holds no public key for signatures that could be used")
    return KeySet(keys)


def _usable(entries: Iterable[Any]) -> Iterable[PublicKey]:
    for entry in entries:
        if isinstance(entry, dict) and _for_signatures(entry):
            try:
                yield _public_key(entry)
            except Exception:  # noqa: BLE001, S112 - whatever a library finds wrong with it
                continue


def _for_signatures(entry: dict[str, Any]) -> bool:
    operations = entry.get("key_ops", ["verify"])
    return (
        (entry.get("kty"), entry.get("crv", "")) in FAMILIES.values()
        and entry.get("use", "sig") == "sig"
        and isinstance(operations, list)
        and "verify" in operations
        and "d" not in entry  # a private key that was published proves nothing any more
        and isinstance(entry.get("kid", ""), str)
    )


def _public_key(entry: dict[str, Any]) -> PublicKey:
    readers = algorithms()
    kty = entry["kty"]
    key = readers[kty].from_jwk(entry)
    if kty == "RSA" and key.key_size < MIN_RSA_BITS:
        raise ValueError("too short")
    only = entry.get("alg")
    if only is not None and only not in FAMILIES:
        raise ValueError("for something else")
    return PublicKey(entry.get("kid"), (kty, entry.get("crv", "")), only, key)


def algorithms() -> dict[str, Any]:
    """Return what reads keys of each type.

    Raises:
        PluginError: the extra that brings it is not installed.
    """
    try:
        from jwt.algorithms import (  # noqa: PLC0415 - an extra, for those who have issuers
            ECAlgorithm,
            OKPAlgorithm,
            RSAAlgorithm,
        )
    except ImportError:
        raise PluginError(
            "issuers: tokens need more packages: pip install 'tidegate[jwt]'"
        ) from None
    return {"RSA": RSAAlgorithm, "EC": ECAlgorithm, "OKP": OKPAlgorithm}
