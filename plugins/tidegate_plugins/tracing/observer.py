"""The observer: keeps what is sampled until the collector has it."""

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from tidegate.errors import Unavailable
from tidegate.plugin import Host
from tidegate.record import ExchangeRecord, Record
from tidegate_plugins.tracing.export import Exporter, Result, resource
from tidegate_plugins.tracing.sampling import Sampler
from tidegate_plugins.tracing.settings import Settings
from tidegate_plugins.tracing.spans import SpanBuilder

log = logging.getLogger(__name__)

Kept = tuple[ExchangeRecord, str]
"""A record, and why it was kept."""
SPANS_PER_EXCHANGE = 2
RETRY_S = 1.0


class TracingObserver:
    """Sends each kept exchange at least once, and twice only as the very same spans."""

    def __init__(
        self, settings: Settings, sampler: Sampler, spans: SpanBuilder, exporter: Exporter
    ) -> None:
        self._sampler = sampler
        self._spans = spans
        self._exporter = exporter
        self._batch = max(1, settings.spans_per_export // SPANS_PER_EXCHANGE)
        self._max_pending = settings.max_pending
        self._pending: list[Kept] = []

    async def on_record(self, record: Record) -> None:
        """Keep an exchange for the next flush, if it is sampled."""
        if isinstance(record, ExchangeRecord):
            kept_for = self._sampler.reason(record)
            if kept_for:
                await self._make_room()
                self._pending.append((record, kept_for))

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
                log.warning("%d exchanges wait to be traced: %s", len(self._pending), error)
                await asyncio.sleep(RETRY_S)

    async def _deliver(self, batch: Sequence[Kept]) -> None:
        result = await asyncio.to_thread(self._send, batch)
        if result is Result.FAILED:
            raise Unavailable(f"the trace collector took nothing: {self._exporter.answer}")
        if result is Result.UNACCEPTABLE:
            await self._deliver_apart(batch)

    async def _deliver_apart(self, batch: Sequence[Kept]) -> None:
        # One exchange must not keep the others from the collector for ever.
        if len(batch) == 1:
            log.error("the trace collector refuses %s: %s", batch[0][0].id, self._exporter.answer)
            return
        middle = len(batch) // 2
        await self._deliver(batch[:middle])
        await self._deliver(batch[middle:])

    def _send(self, batch: Sequence[Kept]) -> Result:
        spans = [span for record, why in batch for span in self._spans.build(record, why)]
        return self._exporter.send(spans)


@asynccontextmanager
async def open_observer(settings: Settings, host: Host) -> AsyncIterator[TracingObserver]:
    """Open the observer; leaving gives up what is being sent, the journal still has it."""
    version = dict(host.info).get("version", "")
    exporter = Exporter(settings)
    sampler = Sampler(
        ratio=settings.ratio, follow_parent=settings.follow_parent, slow_s=settings.slow_s
    )
    spans = SpanBuilder(resource(settings.service_name, version), version)
    try:
        yield TracingObserver(settings, sampler, spans, exporter)
    finally:
        exporter.shutdown()
