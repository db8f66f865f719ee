"""The observer: has each exchange delivered as a log record."""

from collections import OrderedDict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

from tidegate.plugin import Host
from tidegate.record import Content, ExchangeRecord, Record
from tidegate_plugins.logs.content import size_of
from tidegate_plugins.logs.entries import EntryBuilder
from tidegate_plugins.otlp.delivery import Delivery
from tidegate_plugins.otlp.export import Exporter, resource
from tidegate_plugins.otlp.settings import Destination

REMEMBERED = 2_000
"""Exchanges whose content may yet come."""


class LogsObserver:
    """Keeps every exchange until the collector has its log record."""

    reads_content = True

    def __init__(self, entries: EntryBuilder, delivery: Delivery) -> None:
        self._entries = entries
        self._delivery = delivery
        self._recent: OrderedDict[str, ExchangeRecord] = OrderedDict()

    async def on_record(self, record: Record) -> None:
        """Keep an exchange for the next flush, or what was said in it."""
        if isinstance(record, ExchangeRecord):
            self._remember(record)
            await self._delivery.add(record.id, partial(self._entries.build, record))
        elif isinstance(record, Content):
            # What it belongs to came before it, unless that was before a restart.
            made = partial(self._entries.details, record, self._recent.pop(record.id, None))
            await self._delivery.add(record.id, made, size_of(record))

    def _remember(self, record: ExchangeRecord) -> None:
        self._recent[record.id] = record
        if len(self._recent) > REMEMBERED:
            self._recent.popitem(last=False)

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
