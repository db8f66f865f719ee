"""Delivery: exchanges are kept until the collector has what they become, at least once."""

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Any

from tidegate.errors import Unavailable
from tidegate.record import ExchangeRecord
from tidegate_plugins.otlp.export import Exporter, Result
from tidegate_plugins.otlp.settings import Destination

log = logging.getLogger(__name__)

Kept = tuple[ExchangeRecord, str]
"""A record, and why it was kept."""
Encode = Callable[[ExchangeRecord, str], Sequence[Any]]
"""Makes spans or log records of a kept exchange; the same ones each time."""
RETRY_S = 1.0


class Delivery:
    """Sends each kept exchange at least once, and twice only as the very same items."""

    def __init__(
        self, where: Destination, exporter: Exporter, encode: Encode, *, items_each: int
    ) -> None:
        self._signal = where.signal.name
        self._exporter = exporter
        self._encode = encode
        self._batch = max(1, where.items_per_export // items_each)
        self._max_pending = where.max_pending
        self._pending: list[Kept] = []

    async def add(self, record: ExchangeRecord, why: str = "") -> None:
        """Keep an exchange for the next flush."""
        await self._make_room()
        self._pending.append((record, why))

    async def flush(self) -> bytes:
        """Send everything kept.

        Raises:
            Unavailable: the collector did not take it. It is kept, to be sent again.
        """
        while self._pending:
            batch = self._pending[: self._batch]
            await self._deliver(batch)
            del self._pending[: len(batch)]
        return b""

    async def _make_room(self) -> None:
        # After a long absence the journal comes faster than anyone takes spans. To wait
        # here loses nothing and holds up nobody: what is not taken in yet is on disk.
        while len(self._pending) >= self._max_pending:
            try:
                await self.flush()
            except Unavailable as error:
                log.warning("%d exchanges wait to be sent: %s", len(self._pending), error)
                await asyncio.sleep(RETRY_S)

    async def _deliver(self, batch: Sequence[Kept]) -> None:
        result = await asyncio.to_thread(self._send, batch)
        if result is Result.FAILED:
            raise Unavailable(
                f"the collector of {self._signal} took nothing: {self._exporter.answer}"
            )
        if result is Result.UNACCEPTABLE:
            await self._deliver_apart(batch)

    async def _deliver_apart(self, batch: Sequence[Kept]) -> None:
        # One exchange must not keep the others from the collector for ever.
        if len(batch) == 1:
            what = (self._signal, batch[0][0].id, self._exporter.answer)
            log.error("the collector of %s refuses %s: %s", *what)
            return
        middle = len(batch) // 2
        await self._deliver(batch[:middle])
        await self._deliver(batch[middle:])

    def _send(self, batch: Sequence[Kept]) -> Result:
        return self._exporter.send([item for kept in batch for item in self._encode(*kept)])
