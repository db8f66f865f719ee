"""Delivery: what an exchange becomes is kept until the collector has it, at least once."""

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from tidegate.errors import Unavailable
from tidegate_plugins.otlp.export import Exporter, Result
from tidegate_plugins.otlp.settings import Destination

log = logging.getLogger(__name__)

Make = Callable[[], Sequence[Any]]
"""Makes spans or log records; the same ones each time."""
RETRY_S = 1.0
MAX_BATCH_BYTES = 2 * 1024 * 1024
"""Of content in one export: collectors take 4 MiB over gRPC, unless told otherwise."""
MAX_PENDING_BYTES = 64 * 1024 * 1024


class _Kept(NamedTuple):
    id: str
    make: Make
    size: int


class Delivery:
    """Sends whatever is kept at least once, and twice only as the very same items."""

    def __init__(self, where: Destination, exporter: Exporter, *, items_each: int) -> None:
        self._signal = where.signal.name
        self._exporter = exporter
        self._batch = max(1, where.items_per_export // items_each)
        self._max_pending = where.max_pending
        self._pending: list[_Kept] = []
        self._size = 0

    async def add(self, id_: str, make: Make, size: int = 0) -> None:
        """Keep what an exchange becomes for the next flush; `size` is that of its content."""
        await self._make_room()
        self._pending.append(_Kept(id_, make, size))
        self._size += size

    async def flush(self) -> bytes:
        """Send everything kept.

        Raises:
            Unavailable: the collector did not take it. It is kept, to be sent again.
        """
        while self._pending:
            batch = self._next()
            await self._deliver(batch)
            del self._pending[: len(batch)]
            self._size -= sum(kept.size for kept in batch)
        return b""

    def _next(self) -> list[_Kept]:
        """Return the first of what is kept, as far as it fits into one export."""
        batch, size = self._pending[:1], self._pending[0].size
        for kept in self._pending[1 : self._batch]:
            size += kept.size
            if size > MAX_BATCH_BYTES:
                break
            batch.append(kept)
        return batch

    async def _make_room(self) -> None:
        # After a long absence the journal comes faster than anyone takes spans. To wait
        # here loses nothing and holds up nobody: what is not taken in yet is on disk.
        while len(self._pending) >= self._max_pending or self._size >= MAX_PENDING_BYTES:
            try:
                await self.flush()
            except Unavailable as error:
                log.warning("%d exchanges wait to be sent: %s", len(self._pending), error)
                await asyncio.sleep(RETRY_S)

    async def _deliver(self, batch: Sequence[_Kept]) -> None:
        result = await asyncio.to_thread(self._send, batch)
        if result is Result.FAILED:
            raise Unavailable(
                f"the collector of {self._signal} took nothing: {self._exporter.answer}"
            )
        if result is Result.UNACCEPTABLE:
            await self._deliver_apart(batch)

    async def _deliver_apart(self, batch: Sequence[_Kept]) -> None:
        # One exchange must not keep the others from the collector for ever.
        if len(batch) == 1:
            what = (self._signal, batch[0].id, self._exporter.answer)
            log.error("the collector of %s refuses %s: %s", *what)
            return
        middle = len(batch) // 2
        await self._deliver(batch[:middle])
        await self._deliver(batch[middle:])

    def _send(self, batch: Sequence[_Kept]) -> Result:
        return self._exporter.send([item for kept in batch for item in kept.make()])
