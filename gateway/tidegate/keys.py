"""Gateway keys: how one is made, and the digest that stands for it in a configuration.

The policy `identify` applies the same digest rule; it cannot import this module, so a test
holds the two together.
"""

import hashlib
import secrets

PREFIX = "tgk_"
"""What every gateway key begins with, so that people and secret scanners know one."""

_RANDOM_BYTES = 32


def new_key() -> str:
    """Return a fresh key. It is shown once; only its digest is kept."""
    return PREFIX + secrets.token_urlsafe(_RANDOM_BYTES)


def digest(value: str) -> str:
    """Return the SHA-256 of a presented value, in hex, as `keys[].sha256` wants it.

    A key has 256 random bits, so a plain digest cannot be turned back; there is no
    password here that would need a slow one.
    """
    return hashlib.sha256(value.encode("utf-8", "surrogatepass")).hexdigest()
