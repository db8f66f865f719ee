"""The observer: has each exchange delivered as a log record."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

from tidegate.plugin import Host
from tidegate.record import ExchangeRecord, Record
from tidegate_plugins.logs.entries import EntryBuilder
from tidegate_plugins.otlp.delivery import Delivery
from tidegate_plugins.otlp.export import Exporter, resource
from tidegate_plugins.otlp.settings import Destination


class LogsObserver:
    """Keeps every exchange until the collector has its log record."""

    def __init__(self, entries: EntryBuilder, delivery: Delivery) -> None:
        self._entries = entries
        self._delivery = delivery

    async def on_record(self, record: Record) -> None:
        """Keep an exchange for the next flush."""
        if isinstance(record, ExchangeRecord):
            await self._delivery.add(record.id, partial(self._entries.build, record))

    async def flush(self) -> bytes:
        """Send everything kept.

        Raises:
            Unavailable: the collector did not take it. It is kept, to be sent again.
        """
        return await self._delivery.flush()


@asynccontextmanager
async def open_observer(where: Destination, host: Host) -> AsyncIterator[LogsObserver]:
    """Open the observer; leaving gives up what is being sent, the journal still has it."""
    version = dict(host.info).get("version", "")
    exporter = Exporter(where)
    entries = EntryBuilder(resource(where.service_name, version), version)
    try:
        yield LogsObserver(entries, Delivery(where, exporter, items_each=1))
    finally:
        exporter.shutdown()
