"""Closes what a dead process left open, so that every intent has its exchange.

Done by the supervisor, for writers that are known to be dead: it has waited for the process,
or has just taken the journal's lock. Of each writer only the last segment is read, as a
segment begins with the intents that were open when it was begun; and of a writer that was
found closed before, not even that, however old the journal grows.
"""

import errno
import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from tidegate.clock import Clock
from tidegate.journal.chain import NONE, extend, split
from tidegate.journal.reader import Segment, ends, lines, segments
from tidegate.journal.writer import UNBORN
from tidegate.record import (
    ExchangeRecord,
    Intent,
    Record,
    SegmentStart,
    WriterEnd,
    decode,
    encode,
)

log = logging.getLogger(__name__)

TAIL_BYTES = 4 * 1024
"""More than a closing record has."""

CLOSED = "closed"
"""The file with the names of writers that ended. Only to save time: it may be removed."""


def recover(directory: Path, clock: Clock) -> int:
    """Close the open intents of every writer, all of them dead; return how many there were.

    Raises:
        OSError: a segment cannot be read or written; nothing is lost, try again.
    """
    recovery = Recovery(directory, clock)
    recovery.died()
    return recovery.close()


class Recovery:
    """Knows which writers are dead and still owe records, and closes them."""

    def __init__(self, directory: Path, clock: Clock) -> None:
        self._directory = directory
        self._clock = clock
        self._closed = read_closed(directory / CLOSED)
        self._dead: set[str] = set()

    @property
    def owes(self) -> bool:
        """Whether a dead writer has not been closed yet."""
        return bool(self._dead)

    def died(self, prefix: str = "") -> None:
        """Take note that all present writers whose names begin so are dead."""
        names = {segment.writer for segment in segments(self._directory)}
        self._dead |= {name for name in names - self._closed if name.startswith(prefix)}

    def attempt(self) -> None:
        """Close what the dead left open. Where the disk does not let us, they stay owed."""
        if not self._dead:
            return
        try:
            count = self.close()
        except OSError as error:
            log.error("the journal waits for its recovery: %s", error)  # noqa: TRY400
            return
        if count:
            log.error("closed %d exchanges that a dead worker left open", count)

    def close(self) -> int:
        """Close what the dead left open; return how many intents that were.

        Raises:
            OSError: a segment cannot be read or written; nothing is lost, try again.
        """
        count = 0
        present: dict[str, list[Segment]] = {}
        for segment in segments(self._directory):
            present.setdefault(segment.writer, []).append(segment)
        for writer in sorted(self._dead):
            if writer in present:
                count += _close_writer(present[writer], self._clock)
                self._closed.add(writer)
            self._remove_unborn(writer)
            self._dead.discard(writer)
        self._closed &= present.keys()
        _save_closed(self._directory / CLOSED, self._closed)
        return count

    def _remove_unborn(self, writer: str) -> None:
        for path in self._directory.glob(f"{writer}.*{UNBORN}"):
            path.unlink(missing_ok=True)


def _close_writer(written: Sequence[Segment], clock: Clock) -> int:
    last = written[-1]
    if ended(last):
        return 0
    left = _read_left(written)
    torn = last.path.stat().st_size - left.whole
    now = clock.now()
    with last.path.open("r+b", buffering=0) as file:
        closing = _Closing(file.fileno(), file.truncate(left.whole), left.chain)
        if not left.whole:
            closing.append(_start(last, left, now))
        for intent in left.open.values():
            closing.append(_lost(intent, now))
        closing.append(WriterEnd(at=now, writer=last.writer, by="recovery", torn_bytes=torn))
        os.fsync(file.fileno())
    return len(left.open)


@dataclass(slots=True)
class _Closing:
    """Appends to a dead writer's segment, with its chain if it has one."""

    fd: int
    at: int
    chain: bytes

    def append(self, record: Record) -> None:
        """Write a whole line, or nothing.

        What is whole stays even if a later one fails, for observers may have read it.
        """
        line, chain = encode(record), self.chain
        if chain or not self.at:
            line, chain = extend(chain, line)
        written = os.pwrite(self.fd, line, self.at)
        if written != len(line):
            os.ftruncate(self.fd, self.at)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self.at, self.chain = self.at + written, chain


def ended(segment: Segment) -> bool:
    """Whether a writer's last segment has its closing record.

    Raises:
        OSError: it cannot be read.
    """
    if segment.packed:
        return True
    with segment.path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - TAIL_BYTES))
        tail = file.read()
    return tail.endswith(b"\n") and ends(tail[:-1].rpartition(b"\n")[2])


@dataclass(slots=True)
class _Left:
    """What a dead writer left."""

    open: dict[str, Intent] = field(default_factory=dict)
    """Intents without an exchange."""
    whole: int = 0
    """The length of the last segment's whole lines."""
    chain: bytes = NONE
    """The link of the last line that has one."""


def _read_left(written: Sequence[Segment]) -> _Left:
    left = _Left()
    for segment in written[_first_to_read(written) :]:
        left.whole = 0
        for line in lines(segment.path):
            left.whole += len(line)
            left.chain = split(line)[1] or left.chain
            _account(line, left.open, segment.path)
    return left


def _first_to_read(written: Sequence[Segment]) -> int:
    """Return the index of the last segment that has its first line: a power cut may take it."""
    for index in range(len(written) - 1, 0, -1):
        first = next(lines(written[index].path), b"")
        if first.startswith(b'{"kind":"segment"'):
            return index
    return 0


def _account(line: bytes, found: dict[str, Intent], path: Path) -> None:
    try:
        record = decode(line)
    except msgspec.MsgspecError:
        log.warning("%s: a line is not a record", path.name)
        return
    if isinstance(record, SegmentStart):
        found.update((intent.id, intent) for intent in record.open)
    elif isinstance(record, Intent):
        found[record.id] = record
    elif isinstance(record, ExchangeRecord):
        found.pop(record.id, None)


def read_closed(path: Path) -> set[str]:
    """Return the names of the writers that are known to have ended."""
    try:
        return set(path.read_text().split())
    except (OSError, UnicodeDecodeError):
        return set()  # then every writer is looked at once more


def _save_closed(path: Path, names: set[str]) -> None:
    fresh = path.with_suffix(".new")
    try:
        fresh.write_text("".join(f"{name}\n" for name in sorted(names)))
        fresh.replace(path)
    except OSError as error:
        log.warning("%s: %s; the next start takes longer", path, error.strerror)


def _start(segment: Segment, left: _Left, now: float) -> SegmentStart:
    """Return the beginning of a segment that has lost its own."""
    return SegmentStart(
        at=now,
        writer=segment.writer,
        sequence=segment.sequence,
        previous=left.chain.decode(),
        by="recovery",
        open=tuple(left.open.values()),
    )


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
        upstream=intent.upstream,
        outcome="worker_lost",
        dispatched=True,
        edits=intent.edits,
        client=intent.client,
        trace=intent.trace,
        bytes=intent.bytes,
        error=f"the worker died; closed by recovery {now - intent.at:.1f} s after the request",
    )
