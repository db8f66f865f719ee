"""A journal for people: a line an exchange, and all records of an id."""

import datetime
import heapq
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import msgspec

from tidegate.journal.chain import split
from tidegate.journal.packing import Damaged
from tidegate.journal.reader import (
    ENDED,
    Place,
    Position,
    Segment,
    Tail,
    is_content,
    lines,
    segments,
)
from tidegate.journal.writer import CONTENT
from tidegate.record import ExchangeRecord, decode

FOLLOW_S = 0.25

_COLOURS = {"complete": "32", "answered": "32", "refused": "33", "client_gone": "36"}
_RED = "31"
_EXCHANGE = b'{"kind":"exchange"'
_SEGMENT = b'{"kind":"segment"'


def tail(directory: Path, *, last: int = 0, follow: bool = False) -> Iterator[bytes]:
    """Yield the journal's lines; with `follow`, for ever.

    With `last`, those from so many exchanges ago on, in the order of time; without, all of
    them, each writer's in order.
    """
    cursor = Tail(directory, _recently(directory, last) if last else None)
    if last:
        yield from _latest(_rest(cursor), last)
    while True:
        yield from _rest(cursor)
        if not follow:
            return
        time.sleep(FOLLOW_S)


def summary(line: bytes, *, colour: bool) -> str | None:
    """Return a readable line for an exchange; None for other records."""
    if not line.startswith(_EXCHANGE):
        return None if _is_record(line) else "(not a record)"
    try:
        record = decode(line)
    except msgspec.MsgspecError:
        return "(not a record)"
    return readable(record, colour=colour) if isinstance(record, ExchangeRecord) else None


def records_of(directory: Path, exchange_id: str) -> list[dict[str, Any]]:
    """Return every record of one exchange, as written, with the file it is in.

    The newest segments are searched first, until there is nothing more to be found.
    """
    present = _newest_first(segments(directory))
    content = [segment for segment in present if segment.writer.startswith(CONTENT)]
    found = _search([s for s in present if s not in content], exchange_id, _is_whole)
    return found + _search(content, exchange_id, bool)


def _search(
    among: Iterable[Segment],
    exchange_id: str,
    enough: Callable[[list[dict[str, Any]]], bool],
) -> list[dict[str, Any]]:
    needle = exchange_id.encode()
    found: list[dict[str, Any]] = []
    for segment in among:
        here = [_of(line, exchange_id) for line in _lines(segment) if needle in line]
        found = [record for record in here if record is not None] + found
        if enough(found):
            break
    return found


def _rest(cursor: Tail) -> Iterator[bytes]:
    """Yield what there is now, but for content: that is shown by id."""
    while True:
        yield from (line for line in cursor.read() if not is_content(line))
        if cursor.at_end:
            return


def _recently(directory: Path, last: int) -> Position:
    """Return a position from which on there are at least so many exchanges, if there are."""
    position: Position = {}
    ends: list[float] = []
    for segment in _newest_first(segments(directory)):
        # What is not packed may still be written: it is read in any case.
        enough = segment.packed and len(ends) == last and _changed(segment) < ends[-1]
        if enough or segment.writer.startswith(CONTENT):
            # Newer ones of the same writer are in the position already.
            position.setdefault(segment.writer, Place(segment.sequence, ENDED))
            continue
        position[segment.writer] = Place(segment.sequence)
        here = (_time(line) for line in _lines(segment) if line.startswith(_EXCHANGE))
        ends = heapq.nlargest(last, (*ends, *here))
    return position


def _latest(found: Iterable[bytes], last: int) -> list[bytes]:
    """Return the lines since the `last` exchanges, by time; each writer's stay in order."""
    timed = list(_timed(found))
    ends = heapq.nlargest(last, (at for at, line in timed if line.startswith(_EXCHANGE)))
    since = ends[-1] if len(ends) == last else 0.0
    timed.sort(key=lambda pair: pair[0])
    return [line for at, line in timed if at >= since]


def _timed(found: Iterable[bytes]) -> Iterator[tuple[float, bytes]]:
    """Add to each line when it was written, as far as its segment tells: no earlier than those before."""
    at = 0.0
    for line in found:
        at = _time(line) if line.startswith(_SEGMENT) else max(at, _time(line))
        yield at, line


def _time(line: bytes) -> float:
    """Return when a record was written: an exchange is when it is over."""
    try:
        record = decode(line)
    except msgspec.MsgspecError:
        return 0.0
    took = record.timing_ms.total / 1000 if isinstance(record, ExchangeRecord) else 0.0
    return record.at + took


def _newest_first(found: list[Segment]) -> list[Segment]:
    """Sort by the time of the last line; of each writer the later segment first."""
    return sorted(found, key=lambda s: (_changed(s), s.writer, s.sequence), reverse=True)


def _changed(segment: Segment) -> float:
    try:
        return segment.path.stat().st_mtime
    except FileNotFoundError:
        return 0.0


def _lines(segment: Segment) -> Iterator[bytes]:
    try:
        yield from lines(segment.path)
    except (FileNotFoundError, Damaged):
        return  # removed meanwhile, or for `verify` to say


def _of(line: bytes, exchange_id: str) -> dict[str, Any] | None:
    plain, _ = split(line)
    try:
        record: dict[str, Any] = msgspec.json.decode(plain)
    except msgspec.MsgspecError:
        return None
    return record if record.get("id") == exchange_id else None


def _is_whole(found: list[dict[str, Any]]) -> bool:
    kinds = [record.get("kind") for record in found]
    dispatched = any(record.get("dispatched") for record in found)
    return "exchange" in kinds and ("intent" in kinds or not dispatched)


def _is_record(line: bytes) -> bool:
    try:
        decode(line)
    except msgspec.MsgspecError:
        return False
    return True


def readable(record: ExchangeRecord, *, colour: bool) -> str:
    """Return a line for people; times are local."""
    parts = [
        datetime.datetime.fromtimestamp(record.at).astimezone().strftime("%m-%d %H:%M:%S"),
        record.id,
        _outcome(record, colour=colour),
        f"{record.status or '-'}",
        f"{record.principal.team or '-'}",
        f"{record.model.asked or record.route}",
        _tokens(record),
        f"{record.timing_ms.total:.0f} ms",
    ]
    if record.refused_by is not None:
        parts.append(f"by {record.refused_by.plugin}:{record.refused_by.rule}")
    if record.error_type:
        parts.append(record.error_type)
    if record.edits:
        parts.append(f"{sum(edit.count for edit in record.edits)} edits")
    return "  ".join(part for part in parts if part)


def _outcome(record: ExchangeRecord, *, colour: bool) -> str:
    text = f"{record.outcome:<11}"
    code = _COLOURS.get(record.outcome, _RED)
    return f"\x1b[{code}m{text}\x1b[0m" if colour else text


def _tokens(record: ExchangeRecord) -> str:
    usage = record.usage
    if usage is None:
        return ""
    cached = usage.cache_read + usage.cache_write_5m + usage.cache_write_1h
    return f"{usage.input}+{cached}→{usage.output} tokens"
