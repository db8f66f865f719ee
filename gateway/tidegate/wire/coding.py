"""Content codings of answers: which of them can be undone, and undoing them piece by piece."""

import zlib
from collections.abc import Iterator

PLAIN = frozenset(("", "identity"))
INFLATABLE = frozenset(("gzip", "x-gzip", "deflate"))

PART_BYTES = 256 * 1024
"""At most; a few bytes can inflate to a thousand times as many."""

_GZIP_OR_ZLIB = 47
"""For zlib: they are told apart by their header."""


def coding_of(content_encoding: str) -> str:
    """Return the value of `Content-Encoding` as it stands in the sets above."""
    return content_encoding.strip().lower()


class Inflater:
    """Undoes gzip or deflate. How much is too much is its caller's to say."""

    __slots__ = ("_inflate",)

    def __init__(self) -> None:
        self._inflate = zlib.decompressobj(_GZIP_OR_ZLIB)

    def parts(self, piece: bytes) -> Iterator[bytes]:
        """Yield what is in `piece`, in parts of at most `PART_BYTES`.

        Raises:
            zlib.error: it is broken.
        """
        while piece:
            yield self._inflate.decompress(piece, PART_BYTES)
            piece = self._inflate.unconsumed_tail
            if self._inflate.eof:  # gzip may consist of several members
                piece = self._inflate.unused_data
                self._inflate = zlib.decompressobj(_GZIP_OR_ZLIB)
