"""Closes what a dead process left open, so that every intent has its exchange.

Run by the supervisor, when the writer is known to be dead: after it has waited for the
process, or at start, under the journal's lock. Only each writer's last segment is read,
as a segment begins with the intents that were open when it was begun.
"""

import logging
import os
from pathlib import Path

import msgspec

from tidegate.clock import Clock
from tidegate.journal.reader import Segment, lines, segments
from tidegate.record import ExchangeRecord, Intent, SegmentStart, WriterEnd, decode, encode

log = logging.getLogger(__name__)

TAIL_BYTES = 64 * 1024


def recover(directory: Path, clock: Clock, writer: str | None = None) -> int:
    """Close the open intents of `writer`, or of every writer; return how many there were.

    Raises:
        OSError: a segment cannot be read or written; nothing is lost, try again.
    """
    last = {segment.writer: segment for segment in segments(directory)}
    chosen = last.values() if writer is None else [last[writer]] if writer in last else []
    return sum(_recover_writer(segment, clock) for segment in chosen)


def _recover_writer(segment: Segment, clock: Clock) -> int:
    if _ended(segment.path):
        return 0
    still_open, whole = _open_intents(segment.path)
    torn = segment.path.stat().st_size - whole
    now = clock.now()
    closing = [encode(_lost(intent, now)) for intent in still_open]
    end = WriterEnd(at=now, writer=segment.writer, by="recovery", torn_bytes=torn)
    with segment.path.open("r+b") as file:
        file.truncate(whole)
        file.seek(whole)
        file.write(b"".join(closing) + encode(end))
        file.flush()
        os.fsync(file.fileno())
    return len(closing)


def _ended(path: Path) -> bool:
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - TAIL_BYTES))
        tail = file.read()
    last = tail.rstrip(b"\n").rpartition(b"\n")[2] if tail.endswith(b"\n") else b""
    return last.startswith(b'{"kind":"end"')


def _open_intents(path: Path) -> tuple[list[Intent], int]:
    """Return the intents without an exchange, and the length of the file's whole lines."""
    found: dict[str, Intent] = {}
    whole = 0
    for line in lines(path):
        whole += len(line)
        try:
            record = decode(line)
        except msgspec.MsgspecError:
            log.warning("%s: a line is not a record", path.name)
            continue
        if isinstance(record, SegmentStart):
            found.update((intent.id, intent) for intent in record.open)
        elif isinstance(record, Intent):
            found[record.id] = record
        elif isinstance(record, ExchangeRecord):
            found.pop(record.id, None)
    return list(found.values()), whole


def _lost(intent: Intent, now: float) -> ExchangeRecord:
    return ExchangeRecord(
        id=intent.id,
        at=intent.at,
        worker=intent.worker,
        config=intent.config,
        principal=intent.principal,
        route=intent.route,
        model=intent.model,
        stream=intent.stream,
        outcome="worker_lost",
        dispatched=True,
        edits=intent.edits,
        client=intent.client,
        trace=intent.trace,
        bytes=intent.bytes,
        error=f"the worker died; closed by recovery {now - intent.at:.1f} s after the request",
    )
