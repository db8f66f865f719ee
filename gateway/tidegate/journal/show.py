"""A journal for people: a line an exchange, all records of an id, counts."""

import datetime
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from tidegate.journal.reader import Tail, lines, segments
from tidegate.record import ExchangeRecord, decode

FOLLOW_S = 0.25

_COLOURS = {"complete": "32", "answered": "32", "refused": "33", "client_gone": "36"}
_RED = "31"


def tail(directory: Path, *, follow: bool) -> Iterator[bytes]:
    """Yield the journal's lines, each writer's in order; with `follow`, for ever."""
    cursor = Tail(directory)
    while True:
        found = cursor.read()
        yield from found
        if found:
            continue
        if not follow:
            return
        time.sleep(FOLLOW_S)


def summary(line: bytes, *, colour: bool) -> str | None:
    """Return a readable line for an exchange; None for other records."""
    try:
        record = decode(line)
    except msgspec.MsgspecError:
        return "(not a record)"
    if not isinstance(record, ExchangeRecord):
        return None
    parts = [
        datetime.datetime.fromtimestamp(record.at).astimezone().strftime("%H:%M:%S"),
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
    if record.edits:
        parts.append(f"{len(record.edits)} edits")
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


def records_of(directory: Path, exchange_id: str) -> list[dict[str, Any]]:
    """Return every record of one exchange, as written."""
    needle = exchange_id.encode()
    found = []
    for segment in segments(directory):
        for line in lines(segment.path):
            if needle in line:
                record: dict[str, Any] = msgspec.json.decode(line)
                if record.get("id") == exchange_id:
                    found.append(record)
    return found


def stats(directory: Path) -> Iterator[str]:
    """Yield lines that say how much is there, and how exchanges ended."""
    kinds: Counter[str] = Counter()
    outcomes: Counter[str] = Counter()
    size = 0
    count = 0
    for segment in segments(directory):
        count += 1
        size += segment.path.stat().st_size
        for line in lines(segment.path):
            record: dict[str, Any] = msgspec.json.decode(line)
            kinds[str(record.get("kind"))] += 1
            if record.get("kind") == "exchange":
                outcomes[str(record.get("outcome"))] += 1
    yield f"{count} segments, {size / 1e6:.1f} MB"
    yield from (f"{number:>10}  {kind}" for kind, number in kinds.most_common())
    yield "outcomes"
    yield from (f"{number:>10}  {outcome}" for outcome, number in outcomes.most_common())
