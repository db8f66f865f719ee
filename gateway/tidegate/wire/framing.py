"""How a response body is delimited (RFC 9112 section 6): followed, not rewritten.

A follower is fed what the upstream's socket gave, in any split. It returns the payload
inside, for those who look at it, and how many bytes belong to the message, so that they
can be passed on as they are, chunk framing included.
"""

import re
from typing import Protocol

MAX_SIZE_LINE_BYTES = 256
"""A chunk-size line with its extensions. No upstream sends extensions; none needs more."""

MAX_TRAILER_BYTES = 8 * 1024


class FramingError(Exception):
    """The upstream broke the framing; what follows cannot be trusted."""


class Framing(Protocol):
    """Follows one message body."""

    done: bool
    """The message has ended."""

    def feed(self, data: bytes) -> tuple[list[bytes], int]:
        """Return the payload pieces in `data`, and how many of its bytes are the message's.

        Raises:
            FramingError: not a valid body; close both sides.
        """
        ...


class Length:
    """A body of a known length."""

    __slots__ = ("_left", "done")

    def __init__(self, length: int) -> None:
        self._left = length
        self.done = length == 0

    def feed(self, data: bytes) -> tuple[list[bytes], int]:
        taken = min(len(data), self._left)
        self._left -= taken
        self.done = self._left == 0
        return [data if taken == len(data) else data[:taken]], taken


class UntilClose:
    """A body that ends with the connection."""

    __slots__ = ("done",)

    def __init__(self) -> None:
        self.done = False

    def feed(self, data: bytes) -> tuple[list[bytes], int]:
        return [data], len(data)


_SIZE_LINE = re.compile(rb"([0-9A-Fa-f]{1,15})(?:[ \t]*;[^\r\n]*)?\r\n")
_TRAILER_LINE = re.compile(rb"([^\r\n]*)\r\n")


_USUAL_SIZES = {b"%x" % size: size for size in range(1, 2048)}
"""Size lines as servers write them, without their CRLF: a third of the time of reading one."""
_USUAL_LINE_BYTES = 5


def _whole_chunks(data: bytes, end: int, pieces: list[bytes]) -> int:
    """Take the whole chunks at the beginning, as far as they are usual; return where they end.

    Nearly every piece of a stream is one, or a few when there is much to do.
    """
    at = 0
    while at < end:
        begin = data.find(b"\r\n", at, at + _USUAL_LINE_BYTES) + 2
        size = _USUAL_SIZES.get(data[at : begin - 2]) if begin > 2 else None
        if size is None or data[begin + size : begin + size + 2] != b"\r\n":
            return at
        at = begin + size + 2
        pieces.append(data[begin : at - 2])
    return at


class Chunked:
    """A body in chunks (RFC 9112 section 7.1).

    Strict where lenience could make the client see another end than we do: CRLF only,
    hexadecimal sizes only.
    """

    __slots__ = ("_held", "_in_trailer", "_left", "_trailer_bytes", "done")

    def __init__(self) -> None:
        self.done = False
        self._held = b""  # an unfinished size or trailer line, already passed on
        self._left = 0  # of the current chunk, its CRLF included
        self._in_trailer = False
        self._trailer_bytes = 0

    def feed(self, data: bytes) -> tuple[list[bytes], int]:
        pieces: list[bytes] = []
        at, end, held = 0, len(data), len(self._held)
        if not (held or self._left or self._in_trailer):
            at = _whole_chunks(data, end, pieces)
        elif held:
            data = self._held + data
            self._held = b""
            end += held
        while at < end and not self.done:
            if self._left:
                at = self._take(data, at, end, pieces)
            elif self._in_trailer:
                at = self._trailer(data, at, end)
            else:
                at = self._size(data, at, end)
        return pieces, at - held

    def _take(self, data: bytes, at: int, end: int, pieces: list[bytes]) -> int:
        left = self._left
        payload = left - 2
        if payload > 0:
            pieces.append(data[at : min(at + payload, end)])
        stop = min(at + left, end)
        tail = data[max(at + payload, at) : stop]
        if tail and not b"\r\n"[max(-payload, 0) :].startswith(tail):
            raise FramingError("a chunk does not end in CRLF")
        self._left = left - (stop - at)
        return stop

    def _size(self, data: bytes, at: int, end: int) -> int:
        match = _SIZE_LINE.match(data, at)
        if match is None:
            return self._hold(data, at, end)
        size = int(match[1], 16)
        if size:
            self._left = size + 2
        else:
            self._in_trailer = True
        return match.end()

    def _trailer(self, data: bytes, at: int, end: int) -> int:
        match = _TRAILER_LINE.match(data, at)
        if match is None:
            return self._hold(data, at, end)
        self._trailer_bytes += match.end() - at
        if self._trailer_bytes > MAX_TRAILER_BYTES:
            raise FramingError("the trailer is too long")
        self.done = not match[1]
        return match.end()

    def _hold(self, data: bytes, at: int, end: int) -> int:
        line = data[at:]
        if b"\n" in line or len(line) > MAX_SIZE_LINE_BYTES + MAX_TRAILER_BYTES * self._in_trailer:
            raise FramingError("a chunk size or trailer line is malformed")
        if not self._in_trailer and not _SIZE_START.fullmatch(line):
            raise FramingError("a chunk size is not a hexadecimal number")
        self._held = line
        return end


_SIZE_START = re.compile(rb"[0-9A-Fa-f]{0,15}(?:[ \t]*(?:;[^\r\n]*)?)?\r?")


def chunk(payload: bytes) -> bytes:
    """Return the payload as one chunk, for a body that has to be framed anew."""
    return b"%x\r\n%s\r\n" % (len(payload), payload)


LAST_CHUNK = b"0\r\n\r\n"
