"""Where an observer is in the journal, saved together with the state it has there."""

import logging
import os
from pathlib import Path

import msgspec

from tidegate.journal.reader import Position

log = logging.getLogger(__name__)


class Checkpoint(msgspec.Struct, frozen=True):
    """A position and the state that belongs to it: neither is of use without the other."""

    position: Position = {}
    state: bytes = b""
    v: int = 1
    seen_removals: int | None = None
    """How many of the segments that retention has removed are taken into account in `lost`; None
    for an observer that begins."""
    lost: int = 0
    """Records that were removed before this observer had read them."""


_decoder = msgspec.msgpack.Decoder(Checkpoint)


def load(path: Path) -> Checkpoint:
    """Return the checkpoint of a file, or that of the journal's beginning if there is none."""
    try:
        return _decoder.decode(path.read_bytes())
    except FileNotFoundError:
        return Checkpoint()
    except (OSError, msgspec.MsgspecError) as error:
        log.error("%s cannot be read (%s): starting over from the journal's beginning", path, error)  # noqa: TRY400
        return Checkpoint()


def save(path: Path, checkpoint: Checkpoint, *, fsync: bool = False) -> None:
    """Replace the file, so that it is at any moment the old checkpoint or the new one.

    Raises:
        OSError: it is still the old one.
    """
    path.parent.mkdir(exist_ok=True)
    fresh = path.with_suffix(".new")
    with fresh.open("wb") as file:
        file.write(msgspec.msgpack.encode(checkpoint))
        if fsync:
            file.flush()
            os.fsync(file.fileno())
    fresh.replace(path)
