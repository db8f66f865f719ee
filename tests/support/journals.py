"""Journals made by hand, and what is in them."""

from pathlib import Path

from observed import StandingClock, exchange, intent
from tidegate.journal.reader import Tail, lines, segments
from tidegate.journal.writer import Writer
from tidegate.record import ExchangeRecord, Intent, Record, decode, encode

__all__ = ["StandingClock", "exchange", "intent"]


def writer(
    directory: Path, name: str = "w0-1", *, max_segment_bytes: int = 10**9, fsync: bool = False
) -> Writer:
    clock = StandingClock()
    return Writer(directory, name, clock, max_segment_bytes=max_segment_bytes, fsync=fsync)


def records(directory: Path) -> list[Record]:
    """Every record, each writer's in order."""
    return [decode(line) for s in segments(directory) for line in lines(s.path)]


def ids(found: list[Record], kind: type[Intent | ExchangeRecord]) -> list[str]:
    return [record.id for record in found if isinstance(record, kind)]


def all_of(tail: Tail, max_bytes: int = 10**6) -> list[Record]:
    """Read to the end."""
    found = [decode(line) for line in tail.read(max_bytes)]
    while not tail.at_end:
        found += [decode(line) for line in tail.read(max_bytes)]
    return found


def tear(path: Path, record: Record, length: int) -> None:
    """Leave the first `length` bytes of a record at the end, as a crash in mid-write does."""
    with path.open("ab") as file:
        file.write(encode(record)[:length])
