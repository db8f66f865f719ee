"""Many strings, one look: which of them may hold something.

A call of the engine takes as long as a search of some kilobytes, and most strings of a
request are shorter. So they are looked at together, with a gap between them; only those in
which something is found are searched one by one, which alone decides what is a secret.
"""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from tidegate_plugins.redact.search import WINDOW, Look, written
from tidegate_plugins.redact.unescape import WORTH

GAP = b"\n" * 16 + b"\x1e" * 32 + b"\n" * 16
"""Between two strings: longer than any rule reaches over, and of two kinds of bytes, as most
classes of characters that repeat without end hold only one of them. `tests/bench/redact_sieve.py`
looks for what is found alone and not between others: in 51,307 places, nothing."""

LARGEST = WINDOW // 4
"""Bytes of a string from which on it is searched alone: there the call costs little."""


class Asked(NamedTuple):
    """A string to search: its bytes, and its key or nothing."""

    name: bytes
    """What it is remembered by; empty: it is not."""
    data: bytes
    key: bytes

    @property
    def written(self) -> tuple[bytes, bytes]:
        """All that a search depends on."""
        return self.data, self.key


def sifted(asked: Iterable[Asked], look: Look) -> Iterator[tuple[Asked, bool]]:
    """Yield each string, in any order, and whether a search may find something in it.

    Raises:
        EngineTimeout: it took too long.
    """
    for group in _groups(asked):
        touched = _touched(group, look) if len(group) > 1 else [True] * len(group)
        yield from zip(group, touched, strict=True)


def _groups(asked: Iterable[Asked]) -> Iterator[list[Asked]]:
    """Yield what is looked at together: as much as goes into a window; what has to be alone, alone."""
    group: list[Asked] = []
    size = 0
    for one in asked:
        if len(one.data) > LARGEST or (b"\\" in one.data and WORTH.search(one.data)):
            yield [one]
            continue
        needed = len(one.data) + len(one.key) + len(GAP) + len(b'=""')
        if size + needed > WINDOW:
            yield group
            group, size = [], 0
        group.append(one)
        size += needed
    yield group


def _touched(group: list[Asked], look: Look) -> list[bool]:
    """Tell of each string whether anything was found in it, or across its ends."""
    texts = [written(one.data, one.key) for one in group]
    findings = look(GAP.join(texts))
    if not findings:
        return [False] * len(group)
    touched = []
    start = 0
    for text in texts:
        end = start + len(text)
        touched.append(any(found.start < end and found.end > start for found in findings))
        start = end + len(GAP)
    return touched
