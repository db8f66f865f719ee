"""Reads a journal's segments, from a position to their present end, again and again."""

import contextlib
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tidegate.journal.writer import segment_name
from tidegate.plugin import JournalState

READ_BYTES = 1024 * 1024

Position = dict[str, tuple[int, int]]
"""Writer name to its segment's sequence number, and the offset there of the next record."""

ENDED = -1
"""The offset once a writer's closing record has been read: its files need no further look."""

_END = b'{"kind":"end"'
_NAME = re.compile(r"(?P<writer>[a-z0-9-]+)\.(?P<sequence>\d{6})\.jsonl")


@dataclass(frozen=True, slots=True, order=True)
class Segment:
    """One file of the journal."""

    writer: str
    sequence: int
    path: Path


def segments(directory: Path) -> list[Segment]:
    """Return the journal's segments, each writer's in order. Other files are left alone."""
    found = []
    with os.scandir(directory) as entries:
        for entry in entries:
            match = _NAME.fullmatch(entry.name)
            if match is not None:
                found.append(Segment(match["writer"], int(match["sequence"]), Path(entry.path)))
    return sorted(found)


def size_of(directory: Path) -> JournalState:
    """Return how much is on disk. A segment that goes meanwhile is not counted."""
    sizes = []
    for segment in segments(directory):
        with contextlib.suppress(FileNotFoundError):
            sizes.append(segment.path.stat().st_size)
    return JournalState(bytes=sum(sizes), segments=len(sizes))


def lines(path: Path, offset: int = 0) -> Iterator[bytes]:
    """Yield the whole lines of a segment, newline included; a torn last line is left out."""
    with path.open("rb") as file:
        file.seek(offset)
        for line in file:
            if line.endswith(b"\n"):
                yield line


def ends(line: bytes) -> bool:
    """Whether this is a writer's closing record."""
    return line.startswith(_END)


class Tail:
    """Follows a whole journal. Within a writer the order is kept; among writers it is free."""

    def __init__(self, directory: Path, position: Position | None = None) -> None:
        self._directory = directory
        self.position: Position = dict(position or {})
        """What has been read. Save it to go on from there."""
        self.at_end = False
        """Whether the last `read` returned all there was when it began."""

    def read(self, max_bytes: int = READ_BYTES) -> list[bytes]:
        """Return the next lines, about `max_bytes` of them; none if there are none now.

        Raises:
            OSError: a segment cannot be read. The position is that of the last whole `read`.
        """
        found: list[bytes] = []
        present = _by_writer(segments(self._directory))
        position = {writer: at for writer, at in self.position.items() if writer in present}
        left = max_bytes
        for writer, sequences in present.items():
            if position.get(writer, (0, 0))[1] == ENDED:
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
            sequence, offset = self.position.get(segment.writer, (0, 0))
            if offset != ENDED and segment.sequence >= sequence:
                size = segment.path.stat().st_size
                lag += size - (offset if segment.sequence == sequence else 0)
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
        sequence, offset = position.get(writer, (0, 0))
        size = 0
        for current in sequences:
            if current < sequence:
                continue
            if current > sequence:
                if current - 1 != sequence and self._path(writer, current - 1).exists():
                    break  # born while the directory was listed: next time
                sequence, offset = current, 0
            while size < max_bytes and (whole := _read_lines(self._path(writer, current), offset)):
                found += whole.splitlines(keepends=True)
                size += len(whole)
                offset += len(whole)
            position[writer] = (sequence, offset)
            if size >= max_bytes:
                break
        if size and ends(found[-1]):
            position[writer] = (sequence, ENDED)
        return size

    def _path(self, writer: str, sequence: int) -> Path:
        return self._directory / segment_name(writer, sequence)


def _by_writer(found: list[Segment]) -> dict[str, list[int]]:
    writers: dict[str, list[int]] = {}
    for segment in found:
        writers.setdefault(segment.writer, []).append(segment.sequence)
    return writers


def _read_lines(path: Path, offset: int) -> bytes:
    """Return the next whole lines, at least one if there is one, however long."""
    size = READ_BYTES
    try:
        with path.open("rb", buffering=0) as file:
            while True:
                file.seek(offset)
                data = file.read(size) or b""
                whole = data[: data.rfind(b"\n") + 1]
                if whole or len(data) < size:
                    return whole
                size *= 4
    except FileNotFoundError:
        return b""  # removed since it was listed: retention
