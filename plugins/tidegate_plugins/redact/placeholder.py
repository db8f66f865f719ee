"""What stands in place of a secret: the same text for the same secret, everywhere."""

import hashlib
import hmac
import re
from collections.abc import Iterable

Span = tuple[int, int]

PATTERN = re.compile(rb"\[REDACTED:[a-z0-9-]{1,48}:[0-9a-f]{10}\]")
"""Any placeholder, of any key. Brackets and colons need no escape in JSON, shell or YAML."""


def digest(key: bytes, secret: bytes) -> str:
    """Return the HMAC of a secret (its UTF-8 bytes) in hex; allowlists hold prefixes of it."""
    return hmac.new(key, secret, hashlib.sha256).hexdigest()


def placeholder(label: str, digest_hex: str) -> bytes:
    """Return the text that replaces a secret."""
    return f"[REDACTED:{label}:{digest_hex[:10]}]".encode()


def around(data: bytes, spans: Iterable[Span], shortest: int = 4) -> list[Span]:
    """Return the spans without the placeholders in them, and without crumbs."""
    holes = [match.span() for match in PATTERN.finditer(data)] if b"[REDACTED:" in data else []
    if not holes:
        return list(spans)
    pieces = [piece for span in spans for piece in _without(span, holes)]
    return [(start, end) for start, end in pieces if end - start >= shortest]


def _without(span: Span, holes: list[Span]) -> list[Span]:
    at, end = span
    pieces = []
    for hole_start, hole_end in holes:
        if hole_end <= at or hole_start >= end:
            continue
        pieces.append((at, hole_start))
        at = hole_end
    pieces.append((at, end))
    return [(start, stop) for start, stop in pieces if start < stop]
