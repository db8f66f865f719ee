"""Reads a journal's segments, from a position to their present end, again and again."""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tidegate.journal.writer import segment_name

READ_BYTES = 1024 * 1024

Position = dict[str, tuple[int, int]]
"""Writer name to its segment's sequence number, and the offset there of the next record."""

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


def lines(path: Path, offset: int = 0) -> Iterator[bytes]:
    """Yield the whole lines of a segment, newline included; a torn last line is left out."""
    with path.open("rb") as file:
        file.seek(offset)
        for line in file:
            if line.endswith(b"\n"):
                yield line


class Tail:
    """Follows a whole journal. Within a writer the order is kept; among writers it is free."""

    def __init__(self, directory: Path, position: Position | None = None) -> None:
        self._directory = directory
        self.position: Position = dict(position or {})
        """What has been read. Save it to go on from there."""

    def read(self, max_bytes: int = READ_BYTES) -> list[bytes]:
        """Return the next lines, about `max_bytes` of them; none if there are none now."""
        found: list[bytes] = []
        present = _by_writer(segments(self._directory))
        for writer in self.position.keys() - present.keys():
            del self.position[writer]  # removed by retention
        for writer, sequences in present.items():
            self._read_writer(writer, sequences, max_bytes, found)
            if sum(map(len, found)) >= max_bytes:
                break
        return found

    def lag_bytes(self) -> int:
        """Return how many bytes have been written and not yet been read."""
        lag = 0
        for segment in segments(self._directory):
            sequence, offset = self.position.get(segment.writer, (0, 0))
            if segment.sequence >= sequence:
                size = segment.path.stat().st_size
                lag += size - (offset if segment.sequence == sequence else 0)
        return lag

    def _read_writer(
        self, writer: str, sequences: list[int], max_bytes: int, found: list[bytes]
    ) -> None:
        sequence, offset = self.position.get(writer, (sequences[0], 0))
        for current in sequences:
            if current < sequence:
                continue
            if current > sequence:
                sequence, offset = current, 0
            path = self._directory / segment_name(writer, current)
            data = _read_at(path, offset, max_bytes)
            whole = data.rfind(b"\n") + 1
            found += data[:whole].splitlines(keepends=True)
            offset += whole
            self.position[writer] = (sequence, offset)
            if len(data) >= max_bytes:
                return  # there may be more in this segment


def _by_writer(found: list[Segment]) -> dict[str, list[int]]:
    writers: dict[str, list[int]] = {}
    for segment in found:
        writers.setdefault(segment.writer, []).append(segment.sequence)
    return writers


def _read_at(path: Path, offset: int, max_bytes: int) -> bytes:
    with path.open("rb", buffering=0) as file:
        file.seek(offset)
        return file.read(max_bytes) or b""
