"""A store in a file: shared by the workers of one host, and kept over restarts.

All of SQLite happens in one thread a worker: waiting for another worker's lock must not stop
the event loop. What has queued up meanwhile goes into one transaction.
"""

import asyncio
import contextlib
import os
import queue
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from tidegate.clock import Clock
from tidegate_plugins.quota.stores import Charge, Reply, Standing, StoreError, Take
from tidegate_plugins.quota.stores import sqlite_tables as tables

T = TypeVar("T")
Connection = sqlite3.Connection

BATCH = 64
"""Operations that share a transaction, at most."""

LOCK_POLL_S = 0.002
"""Between two looks at a lock. SQLite's own wait is up to 100 ms, in which others take it again."""
ANSWER_S = 0.05
"""What is left of an operation's time for the answer that the file was locked for all of it."""
LONG_WAL_BYTES, MAX_WAL_BYTES = 4 * 1024 * 1024, 16 * 1024 * 1024
"""Of the log, which is written into the file then, and begun anew."""
CHECKPOINT = "PRAGMA wal_checkpoint(PASSIVE)"

CLOSE_S = 5.0


class _Work(NamedTuple):
    """One operation, and who waits for it."""

    do: Callable[[Connection], Any]
    future: "Future[Any]"
    until: float
    """When nobody will wait any more, by the monotonic clock."""


class SqliteStore:
    """The store."""

    shared = True

    def __init__(self, path: Path, clock: Clock, timeout_s: float) -> None:
        self._path = path
        self._clock = clock
        self._timeout_s = timeout_s
        self._queue: queue.SimpleQueue[_Work | None] = queue.SimpleQueue()
        self._connection: Connection | None = None
        self._checkpoint: threading.Thread | None = None
        self._thread = threading.Thread(target=self._serve, name="quota-sqlite", daemon=True)
        self._thread.start()

    async def reserve(self, lease: str, takes: Sequence[Take], lease_s: float) -> Reply:
        return await self._do(lambda c: tables.reserve(c, self._clock.now(), lease, takes, lease_s))

    async def settle(
        self, lease: str, charges: Sequence[Charge], *, again: bool = False
    ) -> tuple[Standing, ...]:
        return await self._do(lambda c: tables.settle(c, self._clock.now(), lease, charges, again))

    async def cancel(self, lease: str) -> None:
        await self._do(lambda c: tables.cancel(c, self._clock.now(), lease))

    async def renew(self, leases: Iterable[str], lease_s: float) -> None:
        kept = list(leases)
        await self._do(lambda c: tables.renew(c, self._clock.now(), kept, lease_s))

    async def read(self) -> dict[str, Standing]:
        return await self._do(lambda c: tables.read(c, self._clock.now()))

    async def probe(self) -> None:
        # A write: on a full disk everything can still be read.
        await self._do(lambda c: tables.bury(c, self._clock.now(), "probe"))

    async def close(self) -> None:
        self._queue.put(None)
        await asyncio.to_thread(self._thread.join, CLOSE_S)

    async def _do(self, work: Callable[[Connection], T]) -> T:
        future: Future[T] = Future()
        self._queue.put(_Work(work, future, time.monotonic() + self._timeout_s))
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
            batch: list[_Work] = [first]
            last = False
            with contextlib.suppress(queue.Empty):
                while len(batch) < BATCH:
                    more = self._queue.get_nowait()
                    if more is None:
                        last = True
                        break
                    batch.append(more)
            self._run([work for work in batch if work.future.set_running_or_notify_cancel()])
            self._keep_short()
            if last:
                break
        self._disconnect()

    def _run(self, batch: list[_Work]) -> None:
        """Do a batch; what has no more time gives way to the rest."""
        while batch:
            try:
                self._transact(batch)
            except Exception as error:  # noqa: BLE001 - whatever it is, somebody waits for it
                self._disconnect()  # which rolls back
                late = [work for work in batch if not _locked(error) or _is_late(work)]
                for work in late:
                    work.future.set_exception(error)
                batch = [work for work in batch if work not in late]
            else:
                return

    def _transact(self, batch: list[_Work]) -> None:
        """Do all of a batch in one transaction, and tell only when it is committed."""
        connection = self._connect()
        _begin(connection, batch[0].until - ANSWER_S)
        tables.expire(connection, self._clock.now())
        results = [work.do(connection) for work in batch]
        connection.execute("COMMIT")
        for work, result in zip(batch, results, strict=True):
            work.future.set_result(result)

    def _connect(self) -> Connection:
        if self._connection is None:
            # Half the time: so that the answer of a file that is locked comes within all of it.
            connection = sqlite3.connect(
                self._path, timeout=self._timeout_s / 2, isolation_level=None
            )
            try:
                connection.execute("PRAGMA journal_mode = WAL")
                connection.execute("PRAGMA synchronous = NORMAL")
                connection.executescript(tables.SCHEMA)
                connection.execute("PRAGMA busy_timeout = 0")  # `_begin` waits
                connection.execute("PRAGMA wal_autocheckpoint = 0")  # `_keep_short` does it
                connection.execute(f"PRAGMA journal_size_limit = {LONG_WAL_BYTES}")
            except BaseException:
                connection.close()
                raise
            self._connection = connection
        return self._connection

    def _keep_short(self) -> None:
        """Have a long log written into the file beside us, as that waits for the disk.

        Under load that never gets to the end of it: then, when it is too long, here.
        """
        if self._connection is None or (self._checkpoint and self._checkpoint.is_alive()):
            return
        with contextlib.suppress(OSError, sqlite3.Error):
            size = os.stat(f"{self._path}-wal").st_size  # noqa: PTH116 - a third of the time
            if size > MAX_WAL_BYTES:
                self._connection.execute(CHECKPOINT)
            elif size > LONG_WAL_BYTES:
                self._checkpoint = threading.Thread(
                    target=_checkpoint, args=(self._path,), name="quota-checkpoint", daemon=True
                )
                self._checkpoint.start()

    def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(sqlite3.Error):
                connection.close()


def _begin(connection: Connection, until: float) -> None:
    """Begin to write, as soon as nobody else does.

    Raises:
        sqlite3.OperationalError: the file is locked, and was until then.
    """
    while True:
        try:
            connection.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError as error:
            if not _locked(error) or time.monotonic() >= until:
                raise
        else:
            return
        time.sleep(LOCK_POLL_S)


def _locked(error: Exception) -> bool:
    return (
        isinstance(error, sqlite3.OperationalError)
        and error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_BUSY
    )


def _is_late(work: _Work) -> bool:
    return time.monotonic() >= work.until - ANSWER_S


def _checkpoint(path: Path) -> None:
    """Write the log into the file, as far as nobody reads from it; the next writer begins it anew."""
    with (
        contextlib.suppress(sqlite3.Error),
        contextlib.closing(sqlite3.connect(path)) as connection,
    ):
        connection.execute(CHECKPOINT)
