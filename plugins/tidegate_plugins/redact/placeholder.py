"""What stands in place of a secret: the same text for the same secret, everywhere."""

import hashlib
import hmac
import re
from bisect import bisect_right
from operator import itemgetter

Span = tuple[int, int]

PATTERN = re.compile(rb"\[REDACTED:[a-z0-9-]{1,48}:[0-9a-f]{10}\]")
"""Any placeholder, of any key. Brackets and colons need no escape in JSON, shell or YAML."""


def digest(key: bytes, secret: bytes) -> str:
    """Return the HMAC of a secret (its UTF-8 bytes) in hex; allowlists hold prefixes of it."""
    return hmac.new(key, secret, hashlib.sha256).hexdigest()


def placeholder(label: str, digest_hex: str) -> bytes:
    """Return the text that replaces a secret."""
    return f"[REDACTED:{label}:{digest_hex[:10]}]".encode()


def holes(data: bytes) -> list[Span]:
    """Return where placeholders stand in a text."""
    return [match.span() for match in PATTERN.finditer(data)] if b"[REDACTED:" in data else []


def around(span: Span, found: list[Span], shortest: int = 4) -> list[Span]:
    """Return the pieces of a span between the placeholders in it, without crumbs."""
    if not found:
        return [span]
    at, end = span
    pieces = []
    for hole_start, hole_end in found[bisect_right(found, at, key=itemgetter(1)) :]:
        if hole_start >= end:
            break
        pieces.append((at, hole_start))
        at = hole_end
    pieces.append((at, end))
    return [(start, stop) for start, stop in pieces if stop - start >= shortest]
