"""A whole body: every string searched, what was seen before remembered, all in time."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from hashlib import sha256
from itertools import count, islice
from typing import Any, NamedTuple, TypeVar

import msgspec

from tidegate.clock import Clock
from tidegate.wire.body import Body
from tidegate.wire.memo import Memo
from tidegate_plugins.redact.engine import Engine, EngineTimeout
from tidegate_plugins.redact.search import (
    LONGEST_IN_CONTEXT,
    Cover,
    Secret,
    context,
    dull,
    looker,
    search,
)
from tidegate_plugins.redact.sieve import Asked, sifted
from tidegate_plugins.redact.walk import Kind, Leaf, Part, Path, Place, parts, whole

T = TypeVar("T")


class Hit(NamedTuple):
    """One secret, the string it was found in, and its bytes (UTF-8)."""

    leaf: Leaf
    secret: Secret
    value: bytes


class Deadline(msgspec.Struct, frozen=True):
    """When the search of one body has to be over."""

    clock: Clock
    at_ns: int
    window_s: float

    def left(self) -> float:
        """Return the seconds that the next window may take.

        Raises:
            EngineTimeout: the time is up.
        """
        left = (self.at_ns - self.clock.monotonic_ns()) / 1e9
        if left <= 0:
            raise EngineTimeout
        return min(left, self.window_s)


LEAVES_A_LOOK = 1024
"""How many strings are passed between two looks at the clock."""
SEARCHED_A_LOOK = 32
"""And how many that may hold something."""

PORTION = 1024
"""Strings that are searched before what was found of their parts is remembered."""
MOST_BY_STRING = 8
"""New pieces up to which their strings are looked up, too: they may be known from answers, or from a
last message that has only moved. Of a conversation that is all new, nothing is."""

Found = tuple[tuple[int, tuple[Secret, ...]], ...]
"""The secrets of a part, by the number of the string among those worth a search."""


class _Opened(NamedTuple):
    """A part whose strings are needed, and what is known of it."""

    name: bytes
    leaves: list[Leaf]
    found: Found | None


@dataclass(frozen=True, slots=True)
class Scanner:
    """Searches documents with one engine, one key and one memory."""

    engine: Engine
    cover: Cover
    memo: Memo[bytes, tuple[Secret, ...]]
    """By string: an answer's are those of the next request, a message may change around them."""
    parts: Memo[bytes, Found]
    """By part: what is sent again is not read again."""

    def scan(self, document: dict[str, Any], deadline: Deadline, kind: Kind = "body") -> list[Hit]:
        """Return every secret of a document, in document order.

        Raises:
            EngineTimeout: it took too long; nothing is known.
        """
        return self.scan_parts([whole(document, kind)], deadline)

    def scan_body(self, body: Body, deadline: Deadline) -> list[Hit]:
        """Return every secret of a body, in document order. What was sent before is not read again.

        Raises:
            EngineTimeout: it took too long; nothing is known.
        """
        return self.scan_parts(parts(body, self.is_clean), deadline)

    def unknown_bytes(self, body: Body) -> int:
        """Return how much of a body is not known to be clean."""
        clean = [len(piece.raw) for piece in body.pieces if self.is_clean(piece.name)]
        return len(body.raw) - sum(clean)

    def is_clean(self, name: bytes) -> bool:
        """Whether nothing was found in the part of that name."""
        return self.parts.get(name) == ()

    def scan_parts(self, parts: Iterable[Part], deadline: Deadline) -> list[Hit]:
        """Return every secret of some parts, of one document or of several.

        Raises:
            EngineTimeout: it took too long; nothing is known.
        """
        known = [(part, self.parts.get(part.name) if part.name else None) for part in parts]
        new = sum([1 for part, found in known if part.name and found is None])
        hits: list[Hit] = []
        for some in _portions(_opened(known, deadline)):
            hits += self._settled(some, deadline, by_string=new <= MOST_BY_STRING)
        return hits

    def _settled(
        self, opened: list[_Opened], deadline: Deadline, *, by_string: bool
    ) -> Iterator[Hit]:
        """Search the parts of which nothing is known, and remember what there is."""
        asked = [
            _asked(leaf, lasting=by_string or not part.name)
            for part in opened
            if part.found is None
            for leaf in paced(part.leaves, deadline)
        ]
        searched = iter(self._searched(asked, deadline))
        for name, leaves, known in opened:
            found = _found(islice(searched, len(leaves))) if known is None else known
            if name and known is None:
                self.parts.put(name, found)
            for at, secrets in found:
                yield from _hits(leaves[at], secrets)

    def _searched(self, asked: list[Asked], deadline: Deadline) -> list[tuple[Secret, ...]]:
        """Return the secrets of each string.

        The engine comes last and is not interrupted: its tables push all else out of the caches.
        """
        known = [self.memo.get(one.name) if one.name else None for one in asked]
        new = [one for one, found in zip(asked, known, strict=True) if found is None]
        secrets: dict[tuple[bytes, bytes], tuple[Secret, ...]] = {}
        look = looker(self.engine, deadline.left)
        for one, suspect in sifted(paced(new, deadline), look):
            if suspect and one.written not in secrets:
                secrets[one.written] = search(*one.written, look, self.cover)
            if one.name:  # at once: should time run out, the next attempt goes on here
                self.memo.put(one.name, secrets[one.written] if suspect else ())
        if not secrets:
            return [found or () for found in known]
        return [
            secrets.get(one.written, ()) if found is None else found
            for one, found in zip(asked, known, strict=True)
        ]


def paced(items: Iterable[T], deadline: Deadline) -> Iterator[T]:
    """Yield the items, with a look at the clock now and then.

    Raises:
        EngineTimeout: the time is up.
    """
    for number, item in enumerate(items):
        if not number % SEARCHED_A_LOOK:
            deadline.left()
        yield item


def _opened(known: Iterable[tuple[Part, Found | None]], deadline: Deadline) -> Iterator[_Opened]:
    """Yield the parts that are new, or are known to hold something."""
    for part, found in paced(known, deadline):
        if found != ():
            yield _Opened(part.name, _worth(part, deadline), found)


def _portions(opened: Iterable[_Opened]) -> Iterator[list[_Opened]]:
    """Yield the parts, some at a time."""
    some: list[_Opened] = []
    size = 0
    for part in opened:
        some.append(part)
        size += len(part.leaves)
        if size >= PORTION:
            yield some
            some, size = [], 0
    yield some


def _found(searched: Iterable[tuple[Secret, ...]]) -> Found:
    return tuple((at, secrets) for at, secrets in enumerate(searched) if secrets)


def _asked(leaf: Leaf, *, lasting: bool) -> Asked:
    """Return a string as it is searched, and perhaps remembered."""
    data = leaf.text.encode("utf-8", "surrogatepass")
    key = context(leaf.key) if leaf.key and len(data) <= LONGEST_IN_CONTEXT else b""
    if not lasting:
        return Asked(b"", data, key)
    return Asked(sha256(b"%d:%b%b" % (len(key), key, data)).digest(), data, key)


def _hits(leaf: Leaf, secrets: tuple[Secret, ...]) -> list[Hit]:
    data = leaf.text.encode("utf-8", "surrogatepass")
    return [Hit(leaf, secret, data[secret.start : secret.end]) for secret in secrets]


def _worth(part: Part, deadline: Deadline) -> list[Leaf]:
    """Return the strings that may hold something: of a million short words, none."""
    found: list[Leaf] = []
    seen = count()

    def add(text: str, key: str, place: Place, path: Path) -> None:
        if not next(seen) % LEAVES_A_LOOK:
            deadline.left()
        if not dull(text, named=bool(key)):
            found.append(Leaf(text, key, place, path))

    part.visit(add)
    return found
