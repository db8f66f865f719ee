"""Reads a journal's segments, from a position to their present end, again and again."""

import contextlib
import io
import logging
import os
import re
import time
from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec

from tidegate.journal import packing
from tidegate.journal.writer import segment_name
from tidegate.plugin import JournalState

log = logging.getLogger(__name__)

READ_BYTES = 1024 * 1024
STEP_NS = 100_000_000
"""More than any file system's clock steps by."""
PACKED = ".gz"
"""Ends the name of a segment that was packed when no more could come."""

ENDED = -1
"""The offset once a writer's closing record has been read: its files need no further look."""


class Place(msgspec.Struct, frozen=True, array_like=True):
    """Where a reader is with one writer."""

    sequence: int = 0
    """Of the segment."""
    offset: int = 0
    """There, of the next record, as if it were not packed; or `ENDED`."""
    records: int = 0
    """Read of this segment."""


Position = dict[str, Place]
"""By writer."""

_END = b'{"kind":"end"'
_CONTENT = b'{"kind":"content"'
_NAME = re.compile(r"(?P<writer>[a-z0-9-]+)\.(?P<sequence>\d{6})\.jsonl(\.gz)?")
_START = Place()


@dataclass(frozen=True, slots=True, order=True)
class Segment:
    """One file of the journal."""

    writer: str
    sequence: int
    path: Path

    @property
    def name(self) -> str:
        """What it is called, packed or not."""
        return f"{self.writer}.{self.sequence:06d}"

    @property
    def packed(self) -> bool:
        """Whether it was packed when it was listed; it may be now."""
        return self.path.suffix == PACKED


def segments(directory: Path) -> list[Segment]:
    """Return the journal's segments, each writer's in order. Other files are left alone."""
    found: dict[tuple[str, int], Segment] = {}
    with os.scandir(directory) as entries:
        for entry in entries:
            match = _NAME.fullmatch(entry.name)
            if match is None:
                continue
            segment = Segment(match["writer"], int(match["sequence"]), Path(entry.path))
            # While one is being packed there are both; the plain one is whole for sure.
            if (segment.writer, segment.sequence) not in found or not segment.packed:
                found[segment.writer, segment.sequence] = segment
    return sorted(found.values())


def size_of(directory: Path) -> JournalState:
    """Return how much is on disk. A segment that goes meanwhile is not counted."""
    sizes = []
    for segment in segments(directory):
        with contextlib.suppress(FileNotFoundError):
            sizes.append(segment.path.stat().st_size)
    return JournalState(bytes=sum(sizes), segments=len(sizes))


def lines(path: Path, offset: int = 0) -> Iterator[bytes]:
    """Yield the whole lines of a segment, newline included; a torn last line is left out.

    One that is packed meanwhile is read on where it is then.

    Raises:
        FileNotFoundError: it was removed before the first line.
        OSError: it cannot be read.
    """
    if path.suffix != PACKED:
        try:
            yield from _plain_lines(path, offset)
        except FileNotFoundError:
            path = path.with_name(path.name + PACKED)
        else:
            return
    while batch := packing.read(path, offset):
        yield from (line for line in io.BytesIO(batch) if line.endswith(b"\n"))
        offset += len(batch)


def plain_size(segment: Segment) -> int:
    """Return how long a segment is, unpacked.

    Raises:
        OSError: it cannot be read, or is gone.
    """
    if not segment.packed:
        with contextlib.suppress(FileNotFoundError):
            return segment.path.stat().st_size
        return packing.plain_size(segment.path.with_name(segment.path.name + PACKED))
    return packing.plain_size(segment.path)


def ends(line: bytes) -> bool:
    """Whether this is a writer's closing record."""
    return line.startswith(_END)


def is_content(line: bytes) -> bool:
    """Whether this is a record of content."""
    return line.startswith(_CONTENT)


class Tail:
    """Follows a whole journal. Within a writer the order is kept; among writers it is free."""

    def __init__(self, directory: Path, position: Position | None = None) -> None:
        self._directory = directory
        self.position: Position = dict(position or {})
        """What has been read. Save it to go on from there."""
        self.at_end = False
        """Whether the last `read` returned all there was when it began."""
        self._listing = _Listing(directory)
        self._damaged: set[Path] = set()

    def read(self, max_bytes: int = READ_BYTES) -> list[bytes]:
        """Return the next lines, about `max_bytes` of them; none if there are none now.

        Raises:
            OSError: a segment cannot be read. The position is that of the last whole `read`.
        """
        found: list[bytes] = []
        present = self._listing.by_writer()
        position = {writer: at for writer, at in self.position.items() if writer in present}
        left = max_bytes
        for writer, sequences in present.items():
            if position.get(writer, _START).offset == ENDED:
                continue
            if left <= 0:
                break
            left -= self._read_writer(writer, sequences, left, found, position)
        self.position = position
        self.at_end = left > 0
        return found

    def lag_bytes(self) -> int:
        """Return how many bytes have been written and not yet been read."""
        lag = 0
        for segment in segments(self._directory):
            place = self.position.get(segment.writer, _START)
            if place.offset != ENDED and segment.sequence >= place.sequence:
                with contextlib.suppress(FileNotFoundError):  # removed since it was listed
                    size = plain_size(segment)
                    lag += size - (place.offset if segment.sequence == place.sequence else 0)
        return lag

    def _read_writer(
        self,
        writer: str,
        sequences: list[int],
        max_bytes: int,
        found: list[bytes],
        position: Position,
    ) -> int:
        """Add a writer's next lines to `found`; return how many bytes, `max_bytes` if more may follow."""
        place = position.get(writer, _START)
        sequence, offset, records = place.sequence, place.offset, place.records
        size = 0
        for current in sequences[bisect_left(sequences, sequence) :]:
            if current > sequence:
                if current - 1 != sequence and self._exists(writer, current - 1):
                    break  # born while the directory was listed: next time
                sequence, offset, records = current, 0, 0
            while size < max_bytes and (whole := self._lines(writer, current, offset)):
                found += whole.splitlines(keepends=True)
                records += whole.count(b"\n")
                size += len(whole)
                offset += len(whole)
            position[writer] = Place(sequence, offset, records)
            if size >= max_bytes:
                break
        if size and ends(found[-1]):
            position[writer] = Place(sequence, ENDED, records)
        return size

    def _lines(self, writer: str, sequence: int, offset: int) -> bytes:
        """Return the next whole lines of a segment; none if it was removed since it was listed."""
        path = self._path(writer, sequence)
        try:
            return _read_plain(path, offset)
        except FileNotFoundError:
            pass
        try:
            batch = packing.read(path.with_name(path.name + PACKED), offset)
        except FileNotFoundError:
            return b""
        except packing.Damaged as error:
            # What is behind it can be read all the same; `verify` names it.
            if path not in self._damaged:
                log.error("%s: the rest of it is skipped: %s", path.name, error)  # noqa: TRY400
                self._damaged.add(path)
            return b""
        return batch[: batch.rfind(b"\n") + 1]

    def _exists(self, writer: str, sequence: int) -> bool:
        path = self._path(writer, sequence)
        return path.exists() or path.with_name(path.name + PACKED).exists()

    def _path(self, writer: str, sequence: int) -> Path:
        return self._directory / segment_name(writer, sequence)


class _Listing:
    """The segments of a directory, listed again only when it has changed.

    A large journal has thousands, and is looked at several times a second by each observer.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._listed: dict[str, list[int]] = {}
        self._changed_ns = 0
        self._listed_ns = 0

    def by_writer(self) -> dict[str, list[int]]:
        """Return each writer's sequence numbers, in order."""
        changed_ns = self._directory.stat().st_mtime_ns
        # Times of files advance in steps: what was listed within one may have changed in it.
        if changed_ns != self._changed_ns or self._listed_ns < changed_ns + STEP_NS:
            self._changed_ns, self._listed_ns = changed_ns, time.time_ns()
            self._listed = _by_writer(segments(self._directory))
        return self._listed


def _by_writer(found: list[Segment]) -> dict[str, list[int]]:
    writers: dict[str, list[int]] = {}
    for segment in found:
        writers.setdefault(segment.writer, []).append(segment.sequence)
    return writers


def _plain_lines(path: Path, offset: int) -> Iterator[bytes]:
    with path.open("rb") as file:
        file.seek(offset)
        for line in file:
            if line.endswith(b"\n"):
                yield line


def _read_plain(path: Path, offset: int) -> bytes:
    """Return the next whole lines, at least one if there is one, however long."""
    size = READ_BYTES
    with path.open("rb", buffering=0) as file:
        while True:
            file.seek(offset)
            data = file.read(size) or b""
            whole = data[: data.rfind(b"\n") + 1]
            if whole or len(data) < size:
                return whole
            size *= 4
