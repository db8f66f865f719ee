"""Which segments are to go: those that are too old, or the oldest of too many."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

DAY_S = 86_400


@dataclass(frozen=True, slots=True)
class Limits:
    """How much of a journal is kept. 0: without limit."""

    days: float = 0
    max_bytes: int = 0
    min_free_bytes: int = 0
    """To be left free on the journal's file system."""


@dataclass(frozen=True, slots=True)
class Held:
    """A segment on disk."""

    name: str
    writer: str
    sequence: int
    bytes: int
    written_at: float
    """When its last line was written, in seconds since the epoch."""
    sealed: bool
    """Nothing more comes into it. Others are never removed."""


@dataclass(frozen=True, slots=True)
class Surplus:
    """A segment that is to go, and the limit that says so."""

    held: Held
    reason: str


def surplus(
    found: Sequence[Held], limits: Limits, *, now: float, free_bytes: int
) -> Iterator[Surplus]:
    """Yield what is to be removed, the oldest first; of each writer only from its beginning on.

    `free_bytes` is what is free on the file system now.
    """
    total = sum(held.bytes for held in found)
    free = free_bytes
    kept: set[str] = set()
    for held in sorted(found, key=lambda held: (held.written_at, held.writer, held.sequence)):
        reason = _reason(held, limits, total, free, now)
        if not held.sealed or held.writer in kept or not reason:
            kept.add(held.writer)
            continue
        yield Surplus(held, reason)
        total -= held.bytes
        free += held.bytes


def _reason(held: Held, limits: Limits, total: int, free: int, now: float) -> str:
    if limits.days and held.written_at < now - limits.days * DAY_S:
        return "age"
    if limits.max_bytes and total > limits.max_bytes:
        return "bytes"
    if free < limits.min_free_bytes:
        return "free"
    return ""
