"""One observer's place in the journal: what it has read, what of that is safe, what it will never see."""

from pathlib import Path

from tidegate.clock import Clock
from tidegate.journal.checkpoint import Checkpoint
from tidegate.journal.keeper import Keeper
from tidegate.journal.reader import Tail
from tidegate.plugin import ObserverLag


class Cursor:
    """Goes on from a checkpoint. Used by one thread; `lag` by any."""

    def __init__(
        self, directory: Path, checkpoint: Checkpoint, keeper: Keeper, clock: Clock
    ) -> None:
        self._tail = Tail(directory, checkpoint.position)
        self._keeper = keeper
        self._clock = clock
        self._unsafe = 0
        self._safe_at = clock.now()
        self._lost = checkpoint.lost
        seen, removed = checkpoint.seen_removals, keeper.removed_segments
        self._seen_removals = removed if seen is None else min(seen, removed)

    @property
    def at_end(self) -> bool:
        """Whether the last `read` returned all there was when it began."""
        return self._tail.at_end

    def read(self) -> tuple[list[bytes], int]:
        """Return the next lines, and how many records were removed before they could be read.

        Raises:
            OSError: the journal cannot be read.
        """
        with self._keeper.lock:
            lost = self._unread_removals()
            self._lost += lost
            self._seen_removals = self._keeper.removed_segments
            found = self._tail.read()
            self._unsafe += len(found)
        return found, lost

    def safe(self) -> None:
        """Take note that everything read so far is safe."""
        self._unsafe = 0
        if self._tail.at_end:
            self._safe_at = self._clock.now()

    def checkpoint(self, state: bytes) -> Checkpoint:
        """Return what to save, with the state that belongs to it."""
        return Checkpoint(
            dict(self._tail.position), state, seen_removals=self._seen_removals, lost=self._lost
        )

    def lag(self, observer: str) -> ObserverLag:
        """Return how far behind this is. Looks at the disk.

        Raises:
            OSError: the journal cannot be listed.
        """
        with self._keeper.lock:
            lost = self._lost + self._unread_removals()
        behind, unsafe = self._tail.lag_bytes(), self._unsafe
        late = max(0.0, self._clock.now() - self._safe_at) if behind or unsafe else 0.0
        return ObserverLag(
            observer=observer, bytes=behind, records=unsafe, seconds=late, lost_records=lost
        )

    def _unread_removals(self) -> int:
        return self._keeper.lost_since(self._seen_removals, self._tail.position)
