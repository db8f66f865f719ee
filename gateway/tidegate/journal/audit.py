"""Audits a journal's chains: nothing was changed, cut out, moved or put in, and says where if it was.

What proves that nothing is missing: within a segment each line's link; between segments the
link that the next one names; at the end of a writer its closing record; and for whole files
and the ends of files three witnesses: the register of sealed segments, the list of closed
writers, and how far observers say they have read.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from tidegate.journal import checkpoint, register
from tidegate.journal.chain import NONE, extend, split
from tidegate.journal.packing import Damaged
from tidegate.journal.reader import ENDED, Place, Segment, ends, lines, plain_size
from tidegate.journal.recovery import CLOSED, read_closed
from tidegate.journal.register import Register, was_removed
from tidegate.record import Record, SegmentStart, decode

SHOWN_FAULTS = 1000
"""A journal that is broken everywhere need not fill memory to say so."""


@dataclass(frozen=True, slots=True)
class Fault:
    """Something that is not as a writer left it."""

    file: str
    line: int
    """Counts from 1; 0: the file as a whole."""
    message: str

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}" if self.line else self.file
        return f"{place}: {self.message}"


@dataclass(slots=True)
class Audit:
    """What the chains prove."""

    faults: list[Fault] = field(default_factory=list)
    lines: int = 0
    unchained: int = 0
    """Lines from before there were chains: nothing can be said of them."""
    unended: list[str] = field(default_factory=list)
    """Writers without a closing record: they write still, or wait for recovery. Lines cut off
    at their very end show only if an observer had read them."""

    def fault(self, file: str, line: int, message: str) -> None:
        """Take note of a fault."""
        if len(self.faults) < SHOWN_FAULTS:
            self.faults.append(Fault(file, line, message))


@dataclass(slots=True)
class _Place:
    """Where the audit of one writer is."""

    segment: Segment
    chain: bytes = NONE
    number: int = 0
    chained: bool = False
    ended: bool = False

    @property
    def file(self) -> str:
        return self.segment.path.name


class WriterAudit:
    """Reads one writer's segments in order, and hands on their records."""

    def __init__(self, audit: Audit, known: Register) -> None:
        self._audit = audit
        self._known = known
        self._chain = NONE
        self._next = 1
        self._ended = False

    def records(self, written: Sequence[Segment]) -> Iterator[Record | None]:
        """Yield every record, None for a line that is none, and take note of what is wrong.

        Raises:
            OSError: a segment cannot be read.
        """
        for segment in written:
            if was_removed(self._known, segment.writer, segment.sequence):
                continue
            self._check_order(segment)
            yield from self._segment(segment)
        if not self._ended and written:
            self._audit.unended.append(written[-1].writer)

    def _check_order(self, segment: Segment) -> None:
        """See that no segment is missing before this one, but for those that retention removed."""
        floor = self._known.floors.get(segment.writer)
        if floor is not None and floor.sequence >= self._next:
            self._next = floor.sequence + 1
            self._chain = floor.chain.encode()
        if segment.sequence != self._next:
            missing = f"{segment.writer}.{self._next:06d}"
            many = f" to {segment.sequence - 1:06d}" if segment.sequence > self._next + 1 else ""
            self._audit.fault(segment.path.name, 0, f"{missing}{many} is missing before it")
            self._chain = NONE
        self._next = segment.sequence + 1

    def _segment(self, segment: Segment) -> Iterator[Record | None]:
        at = _Place(segment, self._chain)
        for line in self._whole_lines(segment):
            at.number += 1
            record = self._line(line, at)
            yield record
            at.ended = ends(line)
        self._audit.lines += at.number
        self._chain, self._ended = at.chain, at.ended
        self._check_seal(at)

    def _whole_lines(self, segment: Segment) -> Iterator[bytes]:
        try:
            yield from lines(segment.path)
        except Damaged as error:
            self._audit.fault(segment.path.name, 0, f"cannot be unpacked: {error}")

    def _line(self, line: bytes, at: _Place) -> Record | None:
        record = _record(line)
        if record is None:
            self._audit.fault(at.file, at.number, "is not a record")
        if at.ended:
            self._audit.fault(at.file, at.number, "comes after the closing record")
        if at.number == 1:
            self._head(record, at)
        plain, link = split(line)
        if not link and not at.chained:
            self._audit.unchained += 1
        elif not link:
            self._audit.fault(at.file, at.number, "has no link in the chain")
        elif extend(at.chain, plain) != (line, link):
            message = "was changed, or what was before it was changed, moved or cut out"
            self._audit.fault(at.file, at.number, message)
        at.chain = link or at.chain
        return record

    def _head(self, record: Record | None, at: _Place) -> None:
        """See that a segment is what its name says, and goes on from the one before."""
        segment = at.segment
        if not isinstance(record, SegmentStart):
            self._audit.fault(at.file, 1, "is not the beginning of a segment")
            at.chained = True
            return
        if (record.writer, record.sequence) != (segment.writer, segment.sequence):
            was = f"{record.writer}.{record.sequence:06d}"
            self._audit.fault(at.file, 1, f"was written as {was}: the file was renamed")
        at.chained = record.previous is not None
        if not at.chained:
            return
        named = (record.previous or "").encode()
        if at.chain not in (NONE, named):
            message = "does not go on from the segment before it, whose end was cut off or changed"
            self._audit.fault(at.file, 1, message)
        at.chain = named

    def _check_seal(self, at: _Place) -> None:
        sealed = self._known.sealed.get(at.segment.name)
        if sealed is None:
            return
        if at.number != sealed.records:
            message = f"has {at.number} lines; it was sealed with {sealed.records}"
            self._audit.fault(at.file, 0, message)
        elif at.chain.decode() != sealed.chain:
            self._audit.fault(at.file, at.number, "is not the line that it was sealed with")


def check_witnesses(
    directory: Path, audit: Audit, present: dict[str, list[Segment]], known: Register
) -> None:
    """Ask the register, the list of the closed and the observers for what they have seen."""
    names = {segment.name for written in present.values() for segment in written}
    for name in sorted(known.sealed.keys() - names):
        audit.fault(
            f"{name}.jsonl", 0, "is missing; it was sealed, and retention did not remove it"
        )
    removed = {removal.writer for removal in known.removals}
    if known.removed_segments > len(known.removals):
        removed |= _witnesses(directory).keys()  # nobody knows of all of them any more
    for writer, (witness, place) in sorted(_witnesses(directory).items()):
        if writer in present:
            _check_read(audit, present[writer], witness, place)
        elif writer not in removed:
            message = f"all of it is missing, which {witness} has seen"
            audit.fault(f"{writer}.*.jsonl", 0, message)


def _witnesses(directory: Path) -> dict[str, tuple[str, Place]]:
    """Return who has seen most of each writer, and how far that is."""
    found: dict[str, tuple[str, Place]] = {}
    for path in sorted((directory / "observers").glob("*.checkpoint")):
        for writer, place in checkpoint.load(path).position.items():
            if writer not in found or _further(place, found[writer][1]):
                found[writer] = f"observer {path.stem}", place
    for writer in read_closed(directory / CLOSED):
        found[writer] = "the list of closed writers", Place(0, ENDED)
    return found


def _further(place: Place, other: Place) -> bool:
    if ENDED in (place.offset, other.offset):
        return other.offset != ENDED
    return (place.sequence, place.offset) > (other.sequence, other.offset)


def _check_read(audit: Audit, written: Sequence[Segment], witness: str, place: Place) -> None:
    last = written[-1]
    if place.offset == ENDED:
        if last.writer in audit.unended:
            audit.unended.remove(last.writer)
            audit.fault(last.path.name, 0, f"its end is missing, which {witness} has seen")
        return
    if last.sequence < place.sequence:
        name = f"{last.writer}.{place.sequence:06d}.jsonl"
        audit.fault(name, 0, f"is missing, of which {witness} has read")
    for segment in written:
        if segment.sequence == place.sequence and plain_size(segment) < place.offset:
            message = f"ends before byte {place.offset}, up to which {witness} has read it"
            audit.fault(segment.path.name, 0, message)


def _record(line: bytes) -> Record | None:
    try:
        return decode(line)
    except msgspec.MsgspecError:
        return None


def known_register(directory: Path, audit: Audit) -> Register:
    """Return the register; a damaged one is a fault, and then as good as none."""
    try:
        return register.load(directory)
    except msgspec.MsgspecError as error:
        audit.fault(register.NAME, 0, f"cannot be read: {error}")
        return Register()
