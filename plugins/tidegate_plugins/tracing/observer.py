"""The observer: samples exchanges, and has them delivered as spans."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

from tidegate.plugin import Host
from tidegate.record import ExchangeRecord, Record
from tidegate_plugins.otlp.delivery import Delivery
from tidegate_plugins.otlp.encoding import encoded
from tidegate_plugins.otlp.export import Exporter, resource
from tidegate_plugins.tracing.sampling import Sampler
from tidegate_plugins.tracing.settings import Settings
from tidegate_plugins.tracing.spans import SpanBuilder

SPANS_PER_EXCHANGE = 4


class TracingObserver:
    """Keeps what is worth a trace until the collector has it."""

    def __init__(self, sampler: Sampler, spans: SpanBuilder, delivery: Delivery) -> None:
        self._sampler = sampler
        self._spans = spans
        self._delivery = delivery

    async def on_record(self, record: Record) -> None:
        """Keep an exchange for the next flush, if it is sampled."""
        if isinstance(record, ExchangeRecord):
            kept_for = self._sampler.reason(record)
            if kept_for:
                await self._delivery.add(record.id, partial(self._spans.build, record, kept_for))

    async def flush(self) -> bytes:
        """Send everything kept.

        Raises:
            Unavailable: the collector did not take it. It is kept, to be sent again.
        """
        return await self._delivery.flush()


@asynccontextmanager
async def open_observer(settings: Settings, host: Host) -> AsyncIterator[TracingObserver]:
    """Open the observer; leaving gives up what is being sent, the journal still has it."""
    version = dict(host.info).get("version", "")
    where = settings.destination
    exporter = Exporter(where, encoded)
    sampler = Sampler(
        ratio=settings.ratio, follow_parent=settings.follow_parent, slow_s=settings.slow_s
    )
    made = resource(where.service_name, version)
    spans = SpanBuilder(made, version, slow_policy_ms=settings.slow_policy_ms)
    try:
        delivery = Delivery(where, exporter, items_each=SPANS_PER_EXCHANGE)
        yield TracingObserver(sampler, spans, delivery)
    finally:
        exporter.shutdown()
