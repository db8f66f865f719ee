"""The capture: keeps a copy of an answer as it passes, to be read when it is over.

Fed after the client has its bytes, with a piece at a time: that is one append to a list.
What is kept is bounded, for each answer and for all of them together; room is taken in steps.
"""

from dataclasses import dataclass

MAX_ANSWER_BYTES = 32 * 1024 * 1024
"""Of one answer. 128k tokens of output, each in an event of its own, are about 20 MB."""

MAX_KEPT_BYTES = 128 * 1024 * 1024
"""Of all answers of a worker, those that wait to be read included."""

PIECE_BYTES = 64
"""What a piece takes in memory beside its bytes, so that tiny ones count."""

STEP_BYTES = 1024
"""Of room that is taken at once: counting each event of a stream costs more than keeping it."""


@dataclass(slots=True)
class Room:
    """What the captures of one worker may still take, in bytes."""

    left: int = MAX_KEPT_BYTES


class Capture:
    """A copy of the payload of one answer, up to where there was room for it."""

    __slots__ = ("_free", "_left", "_pieces", "_room", "coding", "media", "stopped", "taken")

    def __init__(self, room: Room, max_bytes: int = MAX_ANSWER_BYTES) -> None:
        self.media = ""
        """The answer's `Content-Type`."""
        self.coding = ""
        """Its `Content-Encoding`."""
        self.stopped = ""
        """Why the copy ends early: `too_large` or `no_room`; empty if it does not."""
        self.taken = 0
        """Bytes of room that it takes."""
        self._room = room
        self._left = max_bytes
        self._free = 0  # of what is taken
        self._pieces: list[bytes] = []

    def feed(self, piece: bytes) -> None:
        """Keep what has just been passed on."""
        size = len(piece) + PIECE_BYTES
        if size > self._free and not self._take(size):
            return
        self._free -= size
        self._pieces.append(piece)

    def _take(self, size: int) -> bool:
        """Take room for a piece, or note that there is none: then nothing follows, either."""
        size -= self._free
        most = 0 if self.stopped else min(self._left, self._room.left)
        if size > most:
            self.stopped = self.stopped or ("too_large" if size > self._left else "no_room")
            self._free = self._left = 0
            return False
        step = min(max(size, STEP_BYTES), most)
        self._free += step
        self._left -= step
        self.taken += step
        self._room.left -= step
        return True

    def payload(self) -> bytes:
        """Return what was kept, as it came: perhaps compressed."""
        return b"".join(self._pieces)

    def release(self) -> None:
        """Forget what was kept, and give its room back."""
        self._room.left += self.taken
        self.taken = self._free = 0
        self._pieces = []
