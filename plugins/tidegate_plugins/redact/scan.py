"""A whole body: every string searched, what was seen before remembered, all in time."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import count
from typing import Any, NamedTuple

from tidegate.clock import Clock
from tidegate_plugins.redact.engine import Engine, EngineTimeout
from tidegate_plugins.redact.memo import Memo, digest
from tidegate_plugins.redact.search import (
    LONGEST_IN_CONTEXT,
    Cover,
    Secret,
    context,
    dull,
    looker,
    search,
)
from tidegate_plugins.redact.walk import Kind, Leaf, Path, Place, visit


class Hit(NamedTuple):
    """One secret, the string it was found in, and its bytes (UTF-8)."""

    leaf: Leaf
    secret: Secret
    value: bytes


@dataclass(frozen=True, slots=True)
class Deadline:
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


@dataclass(frozen=True, slots=True)
class Scanner:
    """Searches documents with one engine, one key and one memory."""

    engine: Engine
    cover: Cover
    memo: Memo[tuple[Secret, ...]]

    def scan(self, document: dict[str, Any], deadline: Deadline, kind: Kind = "body") -> list[Hit]:
        """Return every secret of a document, in document order.

        Raises:
            EngineTimeout: it took too long; nothing is known.
        """
        look = looker(self.engine, deadline.left)
        hits: list[Hit] = []
        for leaf in _worth(document, deadline, kind):
            deadline.left()
            data = leaf.text.encode("utf-8", "surrogatepass")
            key = context(leaf.key) if leaf.key and len(data) <= LONGEST_IN_CONTEXT else b""
            found = self._remembered(
                data, key, lambda data, key: search(data, key, look, self.cover)
            )
            hits += [Hit(leaf, secret, data[secret.start : secret.end]) for secret in found]
        return hits

    def _remembered(
        self, data: bytes, key: bytes, find: Callable[[bytes, bytes], tuple[Secret, ...]]
    ) -> tuple[Secret, ...]:
        name = digest(data, key)
        found = self.memo.get(name)
        if found is None:
            found = find(data, key)
            self.memo.put(name, found)
        return found


def _worth(document: dict[str, Any], deadline: Deadline, kind: Kind) -> list[Leaf]:
    """Return the strings that may hold something: of a million short words, none."""
    found: list[Leaf] = []
    seen = count()

    def add(text: str, key: str, place: Place, path: Path) -> None:
        if not next(seen) % LEAVES_A_LOOK:
            deadline.left()
        if not dull(text, named=bool(key)):
            found.append(Leaf(text, key, place, path))

    visit(document, add, kind)
    return found
