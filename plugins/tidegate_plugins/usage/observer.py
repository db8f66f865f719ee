"""The observer: counts in memory, writes at each flush, shows pages from the database."""

import sqlite3
from collections import deque
from collections.abc import Mapping

import msgspec

from tidegate.errors import Unavailable
from tidegate.plugin import Host, Page
from tidegate.record import ExchangeRecord, Record
from tidegate_plugins import prices
from tidegate_plugins.usage import pages
from tidegate_plugins.usage.batch import HOUR_S, Batch, bins_of
from tidegate_plugins.usage.config import UsageConfig, database_path
from tidegate_plugins.usage.database import Database, Mark
from tidegate_plugins.usage.facts import OTHER, Group, fact_of
from tidegate_plugins.usage.latest import Latest, latest_of

MIB = 1024 * 1024
PRUNE_S = 600.0
HOURS_KNOWN = 4
"""Of which the groups are kept in memory."""

_encode = msgspec.json.Encoder().encode


class UsageObserver:
    """Projects the journal into a local database."""

    def __init__(self, config: UsageConfig, host: Host) -> None:
        self._config = config
        self._clock = host.clock
        self._path = database_path(host.state_dir, host.name)
        self._prices = prices.load(config.prices)
        self._redactors = frozenset(config.redactors)
        self._mark = msgspec.json.decode(host.state, type=Mark) if host.state else None
        self._database: Database | None = None
        self._pruned = float("-inf")
        self._batch = Batch()
        self._latest: deque[Latest] = deque(maxlen=config.latest)
        self._groups: dict[int, set[Group]] = {}

    async def on_record(self, record: Record) -> None:
        """Count an exchange; other records are of no interest here."""
        if not isinstance(record, ExchangeRecord):
            return
        cost = self._prices.cost(record)
        fact = fact_of(record, cost, self._redactors)
        now = self._clock.now()
        bins = bins_of(fact.at, minutes_from=now - self._config.keep_hours * HOUR_S)
        self._batch.add(fact, self._bounded(fact.group, bins[-1][1]), bins)
        self._latest.append(latest_of(record, fact, cost))

    async def flush(self) -> bytes:
        """Write what was counted; the state is which commit that was.

        Raises:
            Unavailable: the database cannot be written now.
        """
        if self._batch.usage:
            try:
                self._write(self._opened())
            except (OSError, sqlite3.Error) as error:
                raise Unavailable(f"{self._path}: {error}") from error
        return _encode(self._mark) if self._mark is not None else b""

    def page(self, path: str, query: Mapping[str, str]) -> Page | None:
        """Return the page, or what it loads. In any thread."""
        return pages.page(self._path, path, query, self._clock.now())

    def close(self) -> None:
        """Let go of the database. What was not flushed comes again."""
        if self._database is not None:
            self._database.close()

    def _opened(self) -> Database:
        if self._database is None:
            self._database = Database.open(self._path, self._mark, self._clock.now())
            self._mark = self._database.mark
        return self._database

    def _write(self, database: Database) -> None:
        latest = [(one.id, one.at, _encode(one)) for one in self._latest]
        database.add(self._batch.delta(), latest, self._config.latest)
        self._mark = database.mark
        self._batch = Batch()
        self._latest.clear()
        now = self._clock.now()
        if now - self._pruned >= PRUNE_S:
            self._pruned = now
            database.prune(
                minutes_before=now - self._config.keep_hours * HOUR_S,
                hours_before=now - self._config.keep_days * 24 * HOUR_S,
                max_bytes=self._config.max_mib * MIB,
            )

    def _bounded(self, group: Group, hour: int) -> Group:
        """Return the group to count in: names can be made up, and there are only so many places."""
        known = self._groups.get(hour)
        if known is None:
            known = self._groups[hour] = self._known(hour)
            while len(self._groups) > HOURS_KNOWN:
                del self._groups[min(self._groups)]
        if group in known or len(known) < self._config.group_limit:
            known.add(group)
            return group
        return (OTHER, OTHER, OTHER, *group[3:])

    def _known(self, hour: int) -> set[Group]:
        try:
            return self._opened().groups(hour)
        except (OSError, sqlite3.Error):
            return set()
