"""Gateway keys: how one is made, and the digest that stands for it in a configuration.

The policy `identify` applies the same digest rule; it cannot import this module, so a test
holds the two together.
"""

import hashlib
import json
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


def toml_lines(team: str, key_id: str | None, sha256: str) -> str:
    """Return the lines to paste into the configuration for a key with this digest."""
    name = key_id or f"{team}-{sha256[:6]}"
    entry = ", ".join(
        f"{field} = {json.dumps(value)}"
        for field, value in (("id", name), ("team", team), ("sha256", sha256))
    )
    return (
        "\n# paste into the configuration, beside the keys that are there:\n"
        '[[plugins]]\nuse = "identify"\n[plugins.config]\n'
        f"keys = [\n  {{ {entry} }},\n]"
    )
