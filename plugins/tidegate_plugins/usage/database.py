"""The database: sums by bin, added in one transaction with a serial number, and undone by it.

The core saves the state that `flush` returns after the database has committed. If it dies
between the two, the records since then come again. So each commit has a serial number and
is kept, for a while, as a delta of its own: what the saved state does not know of yet is
taken away again before anything is added. Each exchange counts once, whenever what dies.
"""

import logging
import secrets
import sqlite3
import zlib
from collections.abc import Iterable, Sequence
from pathlib import Path

import msgspec

from tidegate_plugins.usage.batch import HOUR_S, MINUTE_S, Delta
from tidegate_plugins.usage.facts import AMOUNTS, GROUP

log = logging.getLogger(__name__)

VERSION = 1
"""Of the tables. A database of another version is set aside."""

DELTAS_KEPT = 64
"""More commits than that are never ahead of the saved state: each tries to save it."""

BUSY_S = 5.0

_GROUP = ", ".join(GROUP)
_SUMS = ", ".join(f"{name} = {name} + excluded.{name}" for name in AMOUNTS)
SCHEMA = f"""
CREATE TABLE meta (database TEXT NOT NULL, serial INTEGER NOT NULL, began REAL NOT NULL);
CREATE TABLE usage (
  step INTEGER NOT NULL, at INTEGER NOT NULL,
  {", ".join(f"{name} TEXT NOT NULL" for name in GROUP)},
  {", ".join(f"{name} INTEGER NOT NULL" for name in AMOUNTS)},
  PRIMARY KEY (step, at, {_GROUP})
) WITHOUT ROWID;
CREATE TABLE reasons (
  step INTEGER NOT NULL, at INTEGER NOT NULL, kind TEXT NOT NULL, name TEXT NOT NULL,
  count INTEGER NOT NULL, PRIMARY KEY (step, at, kind, name)
) WITHOUT ROWID;
CREATE TABLE latency (
  step INTEGER NOT NULL, at INTEGER NOT NULL, measure TEXT NOT NULL, model TEXT NOT NULL,
  bucket INTEGER NOT NULL, count INTEGER NOT NULL,
  PRIMARY KEY (step, at, measure, model, bucket)
) WITHOUT ROWID;
CREATE TABLE latest (id TEXT PRIMARY KEY, at REAL NOT NULL, record BLOB NOT NULL) WITHOUT ROWID;
CREATE INDEX latest_at ON latest (at);
CREATE TABLE deltas (serial INTEGER PRIMARY KEY, delta BLOB NOT NULL);
PRAGMA user_version = {VERSION};
"""
TABLES = ("usage", "reasons", "latency")

_ADD_USAGE = f"""
INSERT INTO usage VALUES ({", ".join("?" * (2 + len(GROUP) + len(AMOUNTS)))})
ON CONFLICT (step, at, {_GROUP}) DO UPDATE SET {_SUMS}
"""  # noqa: S608 - the names are ours
_ADD_REASON = """
INSERT INTO reasons VALUES (?, ?, ?, ?, ?)
ON CONFLICT (step, at, kind, name) DO UPDATE SET count = count + excluded.count
"""
_ADD_LATENCY = """
INSERT INTO latency VALUES (?, ?, ?, ?, ?, ?)
ON CONFLICT (step, at, measure, model, bucket) DO UPDATE SET count = count + excluded.count
"""


class Mark(msgspec.Struct, frozen=True):
    """The state of the observer: which database, and which of its commits was the last."""

    database: str
    serial: int


class Database:
    """The writing side. Used in one thread."""

    def __init__(self, connection: sqlite3.Connection, mark: Mark) -> None:
        # The state is saved after the commit: it may not know of one that a power cut undoes.
        connection.execute("PRAGMA synchronous = FULL")
        self._connection = connection
        self.mark = mark

    @classmethod
    def open(cls, path: Path, mark: Mark | None, now: float) -> "Database":
        """Open the database at `path` as it was at `mark`; one that does not fit is set aside.

        Raises:
            OSError, sqlite3.Error: it cannot be had.
        """
        path.parent.mkdir(mode=0o750, parents=True, exist_ok=True)
        if path.exists():
            found = _fitting(path, mark)
            if found is not None:
                return found
            _set_aside(path)
        elif mark is not None:
            log.warning("%s is gone; a new one begins with what comes now", path)
        return cls._create(path, now)

    @classmethod
    def _create(cls, path: Path, now: float) -> "Database":
        path.touch(mode=0o640)  # as the journal's own files
        connection = _connect(path)
        mark = Mark(secrets.token_hex(8), 0)
        connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
        connection.execute("PRAGMA journal_mode = WAL")
        connection.executescript(SCHEMA)
        connection.execute("INSERT INTO meta VALUES (?, 0, ?)", (mark.database, now))
        return cls(connection, mark)

    def close(self) -> None:
        """Leave it in order."""
        self._connection.close()

    def add(self, delta: Delta, latest: Sequence[tuple[str, float, bytes]], keep: int) -> None:
        """Add sums and exchanges, in one transaction.

        Raises:
            sqlite3.Error: nothing was added.
        """
        serial = self.mark.serial + 1
        packed = zlib.compress(msgspec.msgpack.encode(delta), 1)
        with _transaction(self._connection) as do:
            _apply(do, delta)
            do.execute("INSERT INTO deltas VALUES (?, ?)", (serial, packed))
            do.execute("DELETE FROM deltas WHERE serial <= ?", (serial - DELTAS_KEPT,))
            do.executemany("INSERT OR REPLACE INTO latest VALUES (?, ?, ?)", latest)
            do.execute(
                "DELETE FROM latest WHERE id IN (SELECT id FROM latest ORDER BY at DESC LIMIT -1 OFFSET ?)",
                (keep,),
            )
            do.execute("UPDATE meta SET serial = ?", (serial,))
        self.mark = Mark(self.mark.database, serial)

    def undo_to(self, serial: int) -> None:
        """Take away what was added after the commit `serial`.

        Raises:
            sqlite3.Error: nothing was taken away.
        """
        with _transaction(self._connection) as do:
            rows = do.execute("SELECT delta FROM deltas WHERE serial > ?", (serial,)).fetchall()
            for (packed,) in rows:
                delta = msgspec.msgpack.decode(zlib.decompress(packed), type=Delta)
                _apply(do, delta.reversed())
            do.execute("DELETE FROM deltas WHERE serial > ?", (serial,))
            for table, count in (("usage", "requests"), ("reasons", "count"), ("latency", "count")):
                do.execute(f"DELETE FROM {table} WHERE {count} <= 0")  # noqa: S608
            do.execute("UPDATE meta SET serial = ?", (serial,))
        if len(rows) < self.mark.serial - serial:
            log.warning("usage: some exchanges may be counted twice; the saved state is too old")
        self.mark = Mark(self.mark.database, serial)

    def groups(self, hour: int) -> set[tuple[str, ...]]:
        """Return the groups that an hour has already.

        Raises:
            sqlite3.Error: it cannot be read.
        """
        query = f"SELECT {_GROUP} FROM usage WHERE step = ? AND at = ?"  # noqa: S608
        return set(self._connection.execute(query, (HOUR_S, hour)))

    def prune(self, *, minutes_before: float, hours_before: float, max_bytes: int) -> None:
        """Remove what is too old; if the database is still too large, the oldest hours too.

        Raises:
            sqlite3.Error: it will be tried again.
        """
        self._remove(MINUTE_S, minutes_before)
        self._remove(HOUR_S, hours_before)
        while self.size() > max_bytes:
            (oldest, newest) = self._connection.execute(
                "SELECT min(at), max(at) FROM usage WHERE step = ?", (HOUR_S,)
            ).fetchone()
            if oldest is None or oldest >= newest:
                break
            self._remove(HOUR_S, oldest + max(HOUR_S, (newest - oldest) // 10))
            self._remove(MINUTE_S, oldest)
        self._connection.execute("PRAGMA incremental_vacuum")

    def size(self) -> int:
        """Return the bytes in use."""
        pages, free, size = (
            self._connection.execute(f"PRAGMA {name}").fetchone()[0]
            for name in ("page_count", "freelist_count", "page_size")
        )
        return int((pages - free) * size)

    def _remove(self, step: int, before: float) -> None:
        with _transaction(self._connection) as do:
            for table in TABLES:
                do.execute(f"DELETE FROM {table} WHERE step = ? AND at < ?", (step, before))  # noqa: S608


def _connect(path: Path) -> sqlite3.Connection:
    # Opened in the observer's thread, closed perhaps by another.
    return sqlite3.connect(path, timeout=BUSY_S, isolation_level=None, check_same_thread=False)


def _fitting(path: Path, mark: Mark | None) -> Database | None:
    """Return the database as it was at `mark`, or None if it is not the one of the mark.

    Raises:
        sqlite3.OperationalError: it cannot be read now; perhaps later.
    """
    connection = _connect(path)
    try:
        found = _mark_of(connection)
        if found is not None and mark is not None and found.database == mark.database:
            database = Database(connection, found)
            if found.serial > mark.serial:
                database.undo_to(mark.serial)
            return database
        log.warning("%s belongs to another journal, or to another version", path)
    except sqlite3.OperationalError:
        connection.close()
        raise
    except (sqlite3.DatabaseError, msgspec.MsgspecError, zlib.error) as error:
        log.warning("%s: %s", path, error)
    connection.close()
    return None


def _mark_of(connection: sqlite3.Connection) -> Mark | None:
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version != VERSION:
        return None
    row = connection.execute("SELECT database, serial FROM meta").fetchone()
    return Mark(*row) if row is not None else None


def _set_aside(path: Path) -> None:
    old = path.with_suffix(".old.sqlite")
    log.warning("%s is kept as %s; a new one begins", path, old.name)
    for suffix in ("-wal", "-shm"):
        Path(f"{path}{suffix}").unlink(missing_ok=True)
        Path(f"{old}{suffix}").unlink(missing_ok=True)
    path.replace(old)


class _transaction:  # noqa: N801 - reads as a function
    """Commit at the end, or roll back."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def __enter__(self) -> sqlite3.Connection:
        self._connection.execute("BEGIN IMMEDIATE")
        return self._connection

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        self._connection.execute("COMMIT" if kind is None else "ROLLBACK")


def _apply(do: sqlite3.Connection, delta: Delta) -> None:
    do.executemany(_ADD_USAGE, _flat(delta.usage))
    do.executemany(_ADD_REASON, ((*at, *rest) for at, *rest in delta.reasons))
    do.executemany(_ADD_LATENCY, ((*at, *rest) for at, *rest in delta.latency))


def _flat(
    rows: Iterable[tuple[tuple[int, int], tuple[str, ...], tuple[int, ...]]],
) -> Iterable[tuple[object, ...]]:
    return ((*at, *group, *amounts) for at, group, amounts in rows)
