"""Appends records to this process's own segments: one write for a record, or for some at a time.

A record that `append` has taken survives the death of the process, as the kernel has it;
with `fsync` it survives a power cut once `committed` has returned. Each writer has its
own files, so that no two processes ever write to one.
"""

import asyncio
import contextlib
import errno
import logging
import os
from collections import deque
from pathlib import Path

from tidegate.clock import Clock
from tidegate.errors import JournalError
from tidegate.journal.chain import NONE, OVERHEAD, extend
from tidegate.journal.commit import GroupCommit
from tidegate.record import ExchangeRecord, Intent, Record, SegmentStart, WriterEnd, encode

log = logging.getLogger(__name__)

MAX_SEGMENT_BYTES = 64 * 1024 * 1024
MAX_PENDING = 10_000
"""Records kept in memory while the disk is full. Each is about 1 KB."""


CONTENT = "content-"
"""Begins the names of writers of content, whose segments are kept for a time of their own."""

UNBORN = ".new"
"""Ends the name of a segment until its first line is whole: no reader ever sees an empty one."""


def segment_name(writer: str, sequence: int) -> str:
    """Return the file name of a writer's segment."""
    return f"{writer}.{sequence:06d}.jsonl"


class Writer:
    """The journal of one process. Not for concurrent use by threads.

    Where the disk is full at the start, it begins with the first record that can be written.
    """

    def __init__(
        self,
        directory: Path,
        name: str,
        clock: Clock,
        *,
        fsync: bool = False,
        max_segment_bytes: int = MAX_SEGMENT_BYTES,
    ) -> None:
        self.name = name
        self._directory = directory
        self._clock = clock
        self._max_segment_bytes = max_segment_bytes
        self._sequence = 0
        self._fd = -1
        self._size = 0
        self._chain = NONE
        self._failing = False
        self._open: dict[str, Intent] = {}
        self._soon: list[Record] = []
        self._pending: deque[Record] = deque()
        self._lost = 0
        self._commit = GroupCommit(lambda: self._fd) if fsync else None
        self._begin()

    @property
    def failing(self) -> bool:
        """Whether the last attempt to write did not succeed."""
        return self._failing

    @property
    def fd(self) -> int:
        """The current segment's file descriptor; -1 as long as there is none."""
        return self._fd

    @property
    def pending(self) -> int:
        """Records that wait in memory because they could not be written."""
        return len(self._pending)

    @property
    def lost(self) -> int:
        """Records given up because memory for them ran out before the disk came back."""
        return self._lost

    def append(self, record: Record) -> None:
        """Write one record.

        Raises:
            JournalError: it is not written, and no part of it is.
        """
        self._flush_pending()
        self._put(record)

    def append_or_keep(self, record: Record) -> None:
        """Write one record; where that fails keep it, to be written before the next one.

        For what has already happened and cannot be refused any more.
        """
        try:
            self.append(record)
        except JournalError:
            self._keep(record)

    def append_soon(self, record: Record) -> None:
        """Write one record at the end of this turn of the event loop, in one write with others.

        For what is over and need not be on disk before something else happens.
        """
        if not self._soon:
            asyncio.get_running_loop().call_soon(self._flush_soon)
        self._soon.append(record)

    def retry(self) -> None:
        """Write what is pending, if it can be written now.

        With nothing pending, nothing is tried: vitals, written every few seconds, tell.
        """
        with contextlib.suppress(JournalError):
            self._flush_pending()

    async def committed(self) -> None:
        """Wait until all that was appended is as durable as configured.

        Raises:
            JournalError: the disk refused.
        """
        if self._commit is not None:
            await self._commit.wait()

    def close(self) -> None:
        """Write the closing record; nothing may be appended afterwards."""
        self._flush_soon()
        end = WriterEnd(at=self._clock.now(), writer=self.name, by="writer")
        # An unwritten end costs the next start one read of this segment, no more.
        with contextlib.suppress(JournalError):
            self._flush_pending()
            if not self._open:
                self._put(end)
        if self._pending:
            log.error("journal: %d records could not be written and are lost", len(self._pending))
        if self._fd >= 0:
            with contextlib.suppress(OSError):
                os.fsync(self._fd)
            os.close(self._fd)
            self._fd = -1

    def _begin(self) -> None:
        """Start the first segment, or leave that to the first record.

        Raises:
            JournalError: there is no such directory, or it is not for us.
        """
        try:
            self._rotate()
        except JournalError:
            if not os.access(self._directory, os.W_OK):
                raise
            self._failing = True

    def _keep(self, record: Record) -> None:
        if len(self._pending) < MAX_PENDING:
            self._pending.append(record)
            return
        if not self._lost:
            log.error("journal: no room to keep more than %d records: losing some", MAX_PENDING)
        self._lost += 1

    def _flush_pending(self) -> None:
        while self._pending:
            self._put(self._pending[0])
            self._pending.popleft()

    def _flush_soon(self) -> None:
        records, self._soon = self._soon, []
        if not records:
            return
        try:
            self._flush_pending()
            self._put(*records)
        except JournalError:
            for record in records:
                self._keep(record)

    def _put(self, *records: Record) -> None:
        """Write records in one write: all of them or none."""
        plain = [encode(record) for record in records]
        size = sum(map(len, plain)) + OVERHEAD * len(plain)
        self._failing = True
        if self._fd < 0 or self._size + size > self._max_segment_bytes:
            self._rotate()
        lines, chain = [], self._chain
        for each in plain:
            line, chain = extend(chain, each)
            lines.append(line)
        self._write(b"".join(lines))
        self._chain = chain
        self._failing = False
        for record in records:
            if type(record) is Intent:
                self._open[record.id] = record
            elif type(record) is ExchangeRecord:
                self._open.pop(record.id, None)

    def _write(self, line: bytes) -> None:
        try:
            written = os.write(self._fd, line)
            if written != len(line):
                # A full disk takes a part of it. The file is ours alone, so it can be cut back.
                os.ftruncate(self._fd, self._size)
        except OSError as error:
            raise JournalError(f"{self._directory}: {error.strerror}") from error
        if written != len(line):
            raise JournalError(f"{self._directory}: no space left for a whole record")
        self._size += len(line)

    def _rotate(self) -> None:
        """Begin the next segment; where that fails, everything is as before."""
        sequence = self._sequence + 1
        path = self._directory / segment_name(self.name, sequence)
        start = SegmentStart(
            at=self._clock.now(),
            writer=self.name,
            sequence=sequence,
            previous=self._chain.decode(),
            open=tuple(self._open.values()),
        )
        line, chain = extend(self._chain, encode(start))
        try:
            if self._commit and self._fd >= 0:
                os.fsync(self._fd)
            fd = _create(path, line, fsync=self._commit is not None)
        except OSError as error:
            raise JournalError(f"{path}: {error.strerror}") from error
        if self._fd >= 0:
            os.close(self._fd)
        self._fd, self._size, self._sequence, self._chain = fd, len(line), sequence, chain


def _create(path: Path, line: bytes, *, fsync: bool) -> int:
    """Return a descriptor to append to `path`, which appears with its first line, or not at all.

    Raises:
        OSError: the disk is full, or the name is taken.
    """
    unborn = path.with_name(path.name + UNBORN)
    if path.exists():
        raise FileExistsError(errno.EEXIST, "there is such a segment already", str(path))
    fd = os.open(unborn, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND, 0o640)
    try:
        _write_first(fd, line)
        if fsync:
            os.fsync(fd)
        unborn.rename(path)
    except OSError:
        os.close(fd)
        with contextlib.suppress(OSError):
            unborn.unlink()
        raise
    if fsync:
        sync_directory(path.parent)
    return fd


def _write_first(fd: int, line: bytes) -> None:
    if os.write(fd, line) != len(line):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def sync_directory(directory: Path) -> None:
    """Make the names in a directory durable, if the disk lets us."""
    fd = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(fd)
    except OSError as error:  # readers may have seen the segment: it stays
        log.error("%s: fsync: %s", directory, error.strerror)  # noqa: TRY400
    finally:
        os.close(fd)
