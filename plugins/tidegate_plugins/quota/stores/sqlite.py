"""A store in a file: shared by the workers of one host, and kept over restarts.

All of SQLite happens in one thread a worker: waiting for another worker's lock must not stop
the event loop. What has queued up meanwhile goes into one transaction.
"""

import asyncio
import contextlib
import json
import queue
import sqlite3
import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any, TypeVar

from tidegate.clock import Clock
from tidegate_plugins.quota.stores import (
    GONE_S,
    Charge,
    Reply,
    Standing,
    StoreError,
    Take,
    fits,
    standing,
)

T = TypeVar("T")
Connection = sqlite3.Connection
Work = tuple[Callable[[Connection], Any], "Future[Any]"]

BATCH = 64
"""Operations that share a transaction, at most."""

CLOSE_S = 5.0

SCHEMA = """
CREATE TABLE IF NOT EXISTS counters (
    name TEXT NOT NULL, dies INTEGER NOT NULL, used INTEGER NOT NULL, reserved INTEGER NOT NULL,
    PRIMARY KEY (name, dies)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS leases (
    id TEXT PRIMARY KEY, expires REAL NOT NULL, taken TEXT NOT NULL
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS leases_by_expiry ON leases (expires);
CREATE TABLE IF NOT EXISTS gone (id TEXT PRIMARY KEY, at REAL NOT NULL) WITHOUT ROWID;
"""

ADD = """
INSERT INTO counters VALUES (?1, ?2, ?3, ?4)
ON CONFLICT DO UPDATE SET used = used + ?3, reserved = reserved + ?4
"""


class SqliteStore:
    """The store."""

    shared = True

    def __init__(self, path: Path, clock: Clock, timeout_s: float) -> None:
        self._path = path
        self._clock = clock
        self._timeout_s = timeout_s
        self._queue: queue.SimpleQueue[Work | None] = queue.SimpleQueue()
        self._connection: Connection | None = None
        self._thread = threading.Thread(target=self._serve, name="quota-sqlite", daemon=True)
        self._thread.start()

    async def reserve(self, lease: str, takes: Sequence[Take], lease_s: float) -> Reply:
        return await self._do(lambda c: _reserve(c, self._clock.now(), lease, takes, lease_s))

    async def settle(
        self, lease: str, charges: Sequence[Charge], *, again: bool = False
    ) -> tuple[Standing, ...]:
        return await self._do(lambda c: _settle(c, self._clock.now(), lease, charges, again))

    async def cancel(self, lease: str) -> None:
        await self._do(lambda c: _cancel(c, self._clock.now(), lease))

    async def renew(self, leases: Iterable[str], lease_s: float) -> None:
        kept = list(leases)
        await self._do(lambda c: _renew(c, self._clock.now(), kept, lease_s))

    async def read(self) -> dict[str, Standing]:
        return await self._do(lambda c: _read(c, self._clock.now()))

    async def probe(self) -> None:
        # A write: on a full disk everything can still be read.
        await self._do(lambda c: _bury(c, self._clock.now(), "probe"))

    async def close(self) -> None:
        self._queue.put(None)
        await asyncio.to_thread(self._thread.join, CLOSE_S)

    async def _do(self, work: Callable[[Connection], T]) -> T:
        future: Future[T] = Future()
        self._queue.put((work, future))
        try:
            async with asyncio.timeout(self._timeout_s):
                return await asyncio.wrap_future(future)
        except TimeoutError:
            raise StoreError(f"{self._path}: no answer within {self._timeout_s:g} s") from None
        except (sqlite3.Error, OSError) as error:
            raise StoreError(f"{self._path}: {error}") from None

    # in the thread

    def _serve(self) -> None:
        while (first := self._queue.get()) is not None:
            batch: list[Work] = [first]
            last = False
            with contextlib.suppress(queue.Empty):
                while len(batch) < BATCH:
                    more = self._queue.get_nowait()
                    if more is None:
                        last = True
                        break
                    batch.append(more)
            self._run([(work, future) for work, future in batch if not future.cancelled()])
            if last:
                break
        self._disconnect()

    def _run(self, batch: list[Work]) -> None:
        """Do all of a batch in one transaction, and tell only when it is committed."""
        batch = [(work, future) for work, future in batch if future.set_running_or_notify_cancel()]
        if not batch:
            return
        try:
            connection = self._connect()
            connection.execute("BEGIN IMMEDIATE")
            results = [work(connection) for work, _ in batch]
            connection.execute("COMMIT")
        except Exception as error:  # noqa: BLE001 - whatever it is, somebody waits for it
            self._disconnect()  # which rolls back
            for _, future in batch:
                future.set_exception(error)
            return
        for (_, future), result in zip(batch, results, strict=True):
            future.set_result(result)

    def _connect(self) -> Connection:
        if self._connection is None:
            # Half the time: so that the answer of a file that is locked comes within all of it.
            connection = sqlite3.connect(
                self._path, timeout=self._timeout_s / 2, isolation_level=None
            )
            try:
                connection.execute("PRAGMA journal_mode = WAL")
                connection.execute("PRAGMA synchronous = NORMAL")
                connection.executescript(SCHEMA)
            except BaseException:
                connection.close()
                raise
            self._connection = connection
        return self._connection

    def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(sqlite3.Error):
                connection.close()


def _reserve(
    connection: Connection, now: float, lease: str, takes: Sequence[Take], lease_s: float
) -> Reply:
    _expire(connection, now)
    slots = tuple(take.window.slot(now) for take in takes)
    standings = tuple(_standing(connection, take.counter, now) for take in takes)
    cancelled = connection.execute("DELETE FROM gone WHERE id = ?", (lease,)).rowcount
    if cancelled or not all(map(fits, takes, standings)):
        return Reply(False, now, slots, standings)
    taken = [
        (take.counter, slot.dies, take.amount) for take, slot in zip(takes, slots, strict=True)
    ]
    connection.executemany(ADD, [(name, dies, 0, amount) for name, dies, amount in taken])
    connection.execute(
        "INSERT INTO leases VALUES (?, ?, ?)", (lease, now + lease_s, json.dumps(taken))
    )
    after = tuple(_standing(connection, take.counter, now) for take in takes)
    return Reply(True, now, slots, after)


def _settle(
    connection: Connection, now: float, lease: str, charges: Sequence[Charge], again: bool
) -> tuple[Standing, ...]:
    _expire(connection, now)
    known = (
        _give_back(connection, lease)
        or connection.execute("DELETE FROM gone WHERE id = ?", (lease,)).rowcount
    )
    if known or not again:
        alive = [c for c in charges if c.amount and (c.dies == 0 or c.dies > now)]
        connection.executemany(ADD, [(c.counter, c.dies, c.amount, 0) for c in alive])
    return tuple(_standing(connection, charge.counter, now) for charge in charges)


def _cancel(connection: Connection, now: float, lease: str) -> None:
    if not _give_back(connection, lease):
        _bury(connection, now, lease)


def _renew(connection: Connection, now: float, leases: Sequence[str], lease_s: float) -> None:
    _expire(connection, now)
    rows = [(now + lease_s, lease) for lease in leases]
    connection.executemany("UPDATE leases SET expires = ? WHERE id = ?", rows)


def _read(connection: Connection, now: float) -> dict[str, Standing]:
    _expire(connection, now)
    names = [name for (name,) in connection.execute("SELECT DISTINCT name FROM counters")]
    found = {name: _standing(connection, name, now) for name in names}
    return {name: each for name, each in found.items() if each.used or each.reserved}


def _standing(connection: Connection, name: str, now: float) -> Standing:
    rows = connection.execute(
        "SELECT dies, used, reserved FROM counters WHERE name = ?", (name,)
    ).fetchall()
    if any(dies and dies <= now for dies, _, _ in rows):
        connection.execute(
            "DELETE FROM counters WHERE name = ? AND dies BETWEEN 1 AND ?", (name, now)
        )
    return standing(rows, now)


def _give_back(connection: Connection, lease: str) -> bool:
    row = connection.execute("DELETE FROM leases WHERE id = ? RETURNING taken", (lease,)).fetchone()
    if row is None:
        return False
    for name, dies, amount in json.loads(row[0]):
        connection.execute(
            "UPDATE counters SET reserved = reserved - ? WHERE name = ? AND dies = ?",
            (amount, name, dies),
        )
    return True


def _expire(connection: Connection, now: float) -> None:
    due = connection.execute("SELECT id FROM leases WHERE expires <= ?", (now,)).fetchall()
    for (lease,) in due:
        _give_back(connection, lease)
        _bury(connection, now, lease)


def _bury(connection: Connection, now: float, lease: str) -> None:
    connection.execute("DELETE FROM gone WHERE at <= ?", (now - GONE_S,))
    connection.execute("INSERT OR REPLACE INTO gone VALUES (?, ?)", (lease, now))
