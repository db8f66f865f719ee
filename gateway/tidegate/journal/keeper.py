"""Keeps a journal in order, off the path: packs sealed segments, removes what is too much.

Runs in a thread of the observatory. Whenever it is interrupted, nothing is lost and the next
time completes it: a packed copy appears whole before the plain one goes, and the register
says what was removed.
"""

import contextlib
import dataclasses
import logging
import shutil
import threading
from collections.abc import Sequence
from pathlib import Path

import msgspec

from tidegate.clock import Clock
from tidegate.journal import packing, register
from tidegate.journal.chain import split
from tidegate.journal.reader import PACKED, Position, Segment, lines, segments, size_of
from tidegate.journal.recovery import ended
from tidegate.journal.register import Register, Sealed
from tidegate.journal.retention import Held, Limits, Surplus, surplus
from tidegate.journal.writer import CONTENT
from tidegate.plugin import JournalState

log = logging.getLogger(__name__)

TIDY_S = 10.0
"""Between two looks."""

FREE_SHARE = 0.05
"""`min_free_bytes` is never more than this share of the file system: it may be a small one."""


class Keeper:
    """Owns a journal's register."""

    def __init__(self, directory: Path, clock: Clock, limits: Limits) -> None:
        self.limits = limits
        self.content_limits = Limits()
        self.lock = threading.Lock()
        """Held while a segment is removed; and by observers, from the look at what was removed
        to the end of their next read, so that each record is either read or counted as lost."""
        self._directory = directory
        self._clock = clock
        self._register = _load(directory)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="journal keeper", daemon=True)

    def start(self) -> None:
        """Begin to look after the journal."""
        self._thread.start()

    def stop(self) -> None:
        """Begin nothing new. What is half done is completed by the next start."""
        self._stop.set()

    @property
    def removed_segments(self) -> int:
        """How many retention has removed since the journal was begun."""
        return self._register.removed_segments

    def state(self) -> JournalState:
        """Return the journal's size. From any thread; looks at the disk.

        Raises:
            OSError: the journal cannot be listed.
        """
        size, known = size_of(self._directory), self._register
        return dataclasses.replace(
            size,
            removed_segments=known.removed_segments,
            removed_records=known.removed_records,
        )

    def lost_since(self, seen: int, position: Position) -> int:
        """Return how many records of the removals after the first `seen` a reader had yet to read.

        Call it with the lock held.
        """
        return register.lost_since(self._register, seen, position)

    def tidy(self) -> None:
        """Pack what is sealed, then remove what is too much.

        Raises:
            OSError: the disk refused; the next time goes on from there.
        """
        present = segments(self._directory)
        last = {segment.writer: segment for segment in present}
        sealed = [s for s in present if s != last[s.writer] or ended(s)]
        failed: OSError | None = None
        for segment in sealed:
            if self._stop.is_set():
                return
            try:
                self._seal(segment)
            except OSError as error:  # the disk is full, or one segment damaged: the others go on
                failed = error
        # On a full disk nothing can be packed before something was removed.
        self._remove_surplus()
        if failed is not None:
            raise failed

    def _run(self) -> None:
        while not self._stop.wait(TIDY_S):
            try:
                self.tidy()
            except OSError as error:
                log.warning("the journal waits to be tidied: %s", error)
            except Exception:
                log.exception("the journal cannot be tidied")

    def _seal(self, segment: Segment) -> None:
        if register.was_removed(self._register, segment.writer, segment.sequence):
            _unlink(segment)  # that was interrupted
            return
        sealed = self._register.sealed.get(segment.name)
        if sealed is None:
            sealed = _summary(segment.path)
            known = self._register.sealed | {segment.name: sealed}
            self._save(msgspec.structs.replace(self._register, sealed=known))
        if segment.packed:
            return
        packed = packed_path(segment)
        packing.pack(segment.path, packed)
        if _summary(packed) != sealed:
            log.error("%s is not what was sealed; it stays as it is", segment.path.name)
            packed.unlink()
            return
        segment.path.unlink()

    def _remove_surplus(self) -> None:
        present = segments(self._directory)
        content = [segment for segment in present if segment.writer.startswith(CONTENT)]
        self._remove_beyond(self.content_limits, content)
        self._remove_beyond(self.limits, [s for s in present if s not in content])

    def _remove_beyond(self, limits: Limits, among: Sequence[Segment]) -> None:
        held = [held for segment in among if (held := self._held(segment))]
        usage = shutil.disk_usage(self._directory)
        if limits.min_free_bytes > usage.total * FREE_SHARE:
            limits = dataclasses.replace(limits, min_free_bytes=int(usage.total * FREE_SHARE))
        present = [found.writer for found in held]
        for found in surplus(held, limits, now=self._clock.now(), free_bytes=usage.free):
            present.remove(found.held.writer)
            self._remove(found, last=found.held.writer not in present)

    def _held(self, segment: Segment) -> Held | None:
        with contextlib.suppress(FileNotFoundError):
            status = segment.path.stat()
            sealed = segment.name in self._register.sealed
            return Held(
                *(segment.name, segment.writer, segment.sequence),
                *(status.st_size, status.st_mtime, sealed),
            )
        return None

    def _remove(self, found: Surplus, *, last: bool) -> None:
        held = found.held
        segment = Segment(held.writer, held.sequence, self._directory / f"{held.name}.jsonl")
        changed = register.removed(
            self._register, held.name, at=self._clock.now(), reason=found.reason, last=last
        )
        with self.lock:
            # First the register: a hole that nobody can explain is worse than one file too many.
            # Where it does not fit any more, the file has to make room for it.
            with contextlib.suppress(OSError):
                register.save(self._directory, changed)
            _unlink(segment)
            self._save(changed)
        log.info("removed %s (%s)", held.name, found.reason)

    def _save(self, changed: Register) -> None:
        self._register = changed
        register.save(self._directory, changed)


def packed_path(segment: Segment) -> Path:
    """Return where a segment is, or will be, when it is packed."""
    return segment.path if segment.packed else segment.path.with_name(segment.path.name + PACKED)


def _unlink(segment: Segment) -> None:
    for path in {segment.path, packed_path(segment)}:
        path.unlink(missing_ok=True)


def _summary(path: Path) -> Sealed:
    records = size = 0
    chain = b""
    for line in lines(path):
        records += 1
        size += len(line)
        chain = split(line)[1] or chain
    return Sealed(records, size, chain.decode())


def _load(directory: Path) -> Register:
    try:
        return register.load(directory)
    except (OSError, msgspec.MsgspecError) as error:
        path = directory / register.NAME
        log.error("%s cannot be read (%s): it is made anew", path, error)  # noqa: TRY400
        return Register()
