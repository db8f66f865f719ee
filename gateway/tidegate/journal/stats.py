"""Counts what is in a journal, and what is not there any more."""

from collections import Counter
from pathlib import Path

import msgspec

from tidegate.journal import checkpoint, register
from tidegate.journal.packing import Damaged
from tidegate.journal.reader import lines, plain_size, segments
from tidegate.record import ExchangeRecord, Intent, Record, SegmentStart, Vitals, decode

NONE = "-"


class Stats(msgspec.Struct):
    """All counts of one journal."""

    segments: int = 0
    packed_segments: int = 0
    bytes: int = 0
    """On disk."""
    plain_bytes: int = 0
    """Unpacked."""
    first_at: float | None = None
    last_at: float | None = None
    """The first and the last request there is, in seconds since the epoch."""
    kinds: Counter[str] = msgspec.field(default_factory=Counter)
    outcomes: Counter[str] = msgspec.field(default_factory=Counter)
    teams: Counter[str] = msgspec.field(default_factory=Counter)
    models: Counter[str] = msgspec.field(default_factory=Counter)
    tokens: Counter[str] = msgspec.field(default_factory=Counter)
    open_intents: int = 0
    """Requests without an end: in flight, or waiting for recovery."""
    unreadable: int = 0
    removed_segments: int = 0
    removed_records: int = 0
    """By retention."""
    given_up_records: int = 0
    """Could neither be written nor kept in memory."""
    observers_lost: dict[str, int] = {}
    """Records removed before an observer had read them."""


class _Counting:
    """Takes records in."""

    def __init__(self) -> None:
        self.stats = Stats()
        self._intents: set[str] = set()
        self._ended: set[str] = set()
        self._given_up: Counter[tuple[int, int]] = Counter()

    def add(self, line: bytes) -> None:
        try:
            record = decode(line)
        except msgspec.MsgspecError:
            self.stats.unreadable += 1
            return
        self.stats.kinds[record.__struct_config__.tag] += 1  # type: ignore[index]
        self._account(record)

    def finish(self) -> Stats:
        self.stats.open_intents = len(self._intents - self._ended)
        self.stats.given_up_records = self._given_up.total()
        return self.stats

    def _account(self, record: Record) -> None:
        if isinstance(record, Intent):
            self._intents.add(record.id)
        elif isinstance(record, SegmentStart):
            self._intents.update(intent.id for intent in record.open)
        elif isinstance(record, ExchangeRecord):
            self._exchange(record)
        elif isinstance(record, Vitals):
            # A counter of one process: its last value counts.
            self._given_up[record.worker, record.pid] = record.journal_lost

    def _exchange(self, record: ExchangeRecord) -> None:
        stats = self.stats
        if record.dispatched:
            self._ended.add(record.id)
        stats.outcomes[record.outcome] += 1
        stats.teams[record.principal.team or NONE] += 1
        stats.models[record.model.asked or NONE] += 1
        stats.first_at = min(record.at, stats.first_at or record.at)
        stats.last_at = max(record.at, stats.last_at or record.at)
        if record.usage is not None:
            for kind in ("input", "cache_read", "cache_write_5m", "cache_write_1h", "output"):
                stats.tokens[kind] += getattr(record.usage, kind)


def count(directory: Path) -> Stats:
    """Read a whole journal and count.

    Raises:
        OSError: it cannot be read.
        msgspec.MsgspecError: its register cannot.
    """
    counting = _Counting()
    stats = counting.stats
    for segment in segments(directory):
        try:
            stats.plain_bytes += plain_size(segment)
            stats.bytes += segment.path.stat().st_size
            for line in lines(segment.path):
                counting.add(line)
        except FileNotFoundError:
            continue  # removed, or packed, since it was listed
        except Damaged:
            stats.unreadable += 1
        stats.segments += 1
        stats.packed_segments += segment.packed
    known = register.load(directory)
    stats.removed_segments, stats.removed_records = known.removed_segments, known.removed_records
    for path in sorted((directory / "observers").glob("*.checkpoint")):
        stats.observers_lost[path.stem] = checkpoint.load(path).lost
    return counting.finish()
