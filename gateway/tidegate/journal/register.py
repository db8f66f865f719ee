"""The register of sealed segments: what the chain cannot say, as it ends where a file ends.

It knows where the chain of each sealed segment ends, and which segments retention has removed.
So a hole that somebody made can be told from one that retention made, and an observer that
was behind can say how many records it will never see. Written by the observatory alone.
"""

import os
from pathlib import Path

import msgspec

from tidegate.journal.reader import ENDED, Place, Position

NAME = "register.json"
KEPT_REMOVALS = 1000
"""So many are remembered one by one, for observers that were behind."""


class Sealed(msgspec.Struct, frozen=True):
    """A segment that nothing more comes into."""

    records: int
    bytes: int
    """Unpacked."""
    chain: str
    """Its last line's link; empty in journals from before there were chains."""


class Removal(msgspec.Struct, frozen=True):
    """A segment that retention removed."""

    number: int
    """Counts from 1."""
    at: float
    writer: str
    sequence: int
    records: int
    chain: str
    reason: str
    """`age`, `bytes` or `free`: the limit that was exceeded."""


class Register(msgspec.Struct, frozen=True):
    """All of it."""

    sealed: dict[str, Sealed] = {}
    """By segment name."""
    floors: dict[str, Removal] = {}
    """The last removal of each writer that has segments left."""
    removals: tuple[Removal, ...] = ()
    """The latest."""
    removed_segments: int = 0
    removed_records: int = 0
    v: int = 1


def load(directory: Path) -> Register:
    """Return a journal's register, or an empty one if it has none.

    Raises:
        OSError: it cannot be read.
        msgspec.MsgspecError: it is not a register.
    """
    try:
        return msgspec.json.decode((directory / NAME).read_bytes(), type=Register)
    except FileNotFoundError:
        return Register()


def save(directory: Path, register: Register) -> None:
    """Replace it, durably.

    Raises:
        OSError: it is still the old one.
    """
    fresh = directory / f"{NAME}.new"
    with fresh.open("wb") as file:
        file.write(msgspec.json.encode(register))
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(directory / NAME)


def was_removed(register: Register, writer: str, sequence: int) -> bool:
    """Whether this segment was removed, though perhaps its file is still there: it was interrupted."""
    floor = register.floors.get(writer)
    return (floor is not None and sequence <= floor.sequence) or any(
        (gone.writer, gone.sequence) == (writer, sequence) for gone in register.removals
    )


def removed(register: Register, name: str, *, at: float, reason: str, last: bool) -> Register:
    """Return the register without a sealed segment; `last`: nothing of its writer is left."""
    sealed = dict(register.sealed)
    gone = sealed.pop(name)
    writer, _, sequence = name.rpartition(".")
    number = register.removed_segments + 1
    removal = Removal(number, at, writer, int(sequence), gone.records, gone.chain, reason)
    floors = {key: floor for key, floor in register.floors.items() if key != writer}
    return Register(
        sealed=sealed,
        floors=floors if last else floors | {writer: removal},
        removals=(*register.removals, removal)[-KEPT_REMOVALS:],
        removed_segments=number,
        removed_records=register.removed_records + gone.records,
    )


def lost_since(register: Register, seen: int, position: Position) -> int:
    """Return how many records went, after the first `seen` removals, that a reader had yet to read."""
    return sum(
        _unread(removal, position.get(removal.writer, Place()))
        for removal in register.removals
        if removal.number > seen
    )


def _unread(removal: Removal, place: Place) -> int:
    if place.offset == ENDED or place.sequence > removal.sequence:
        return 0
    read = place.records if place.sequence == removal.sequence else 0
    return max(0, removal.records - read)
