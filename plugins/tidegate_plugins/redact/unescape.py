r"""JSON string escapes: what they say, and where each byte of the text comes from.

Used twice: to find the bytes of a secret in the body, and to see through JSON that is
inside of a string, where `\nghp_…` hides the beginning of a token.
"""

import re
from bisect import bisect_right
from dataclasses import dataclass

_HEX = rb"[0-9a-fA-F]"
_ESCAPE = re.compile(
    rb"\\(?:u[dD][89abAB]" + _HEX + rb"{2}\\u[dD][c-fC-F]" + _HEX + rb"{2}"
    rb"|u" + _HEX + rb'{4}|["\\/bfnrt])'
)
_SHORT = dict(
    zip(b'"\\/bfnrt', (b'"', b"\\", b"/", b"\b", b"\f", b"\n", b"\r", b"\t"), strict=True)
)

WORTH = re.compile(rb"\\(?:/|u" + _HEX + rb"{4}|[nrtbf][A-Za-z0-9_-]{12})")
"""Escapes that can hide a secret: inside of a token, or glued to its beginning."""


@dataclass(frozen=True, slots=True)
class Unescaped:
    """A text without its escapes, and the way back to where each byte was written."""

    text: bytes
    _at: tuple[int, ...]
    """Where in `text` the outcome of each escape begins and ends, in turn."""
    _from: tuple[int, ...]
    """The same places as they were written."""

    def written(self, start: int, end: int) -> tuple[int, int]:
        """Return the span that `text[start:end]` was written as; escapes stay whole."""
        return self.place(start, start=True), self.place(end, start=False)

    def place(self, offset: int, *, start: bool) -> int:
        """Return where a span that starts, or ends, at `text[offset]` was written."""
        i = bisect_right(self._at, offset) - 1
        if i < 0:
            return offset
        if i % 2 or offset == self._at[i]:
            return self._from[i] + offset - self._at[i]
        return self._from[i] if start else self._from[i + 1]  # inside of an escape's outcome


def unescape(written: bytes) -> Unescaped:
    """Return the inside of a JSON string literal as UTF-8; lone surrogates as three bytes.

    What is no JSON escape stays as it is, so that any text can be looked at.
    """
    parts: list[bytes] = []
    places: list[int] = []
    froms: list[int] = []
    at = size = 0
    for match in _ESCAPE.finditer(written):
        start, end = match.span()
        outcome = _outcome(match[0])
        parts += (written[at:start], outcome)
        size += start - at
        places += (size, size + len(outcome))
        froms += (start, end)
        size += len(outcome)
        at = end
    parts.append(written[at:])
    return Unescaped(b"".join(parts), tuple(places), tuple(froms))


def _outcome(escape: bytes) -> bytes:
    if escape[1] != 0x75:
        return _SHORT[escape[1]]
    units = bytes.fromhex(escape.replace(b"\\u", b"").decode())
    return units.decode("utf-16-be", "surrogatepass").encode("utf-8", "surrogatepass")
