"""What the store in a file keeps, and what is done to it within a transaction."""

import json
import sqlite3
from collections.abc import Sequence

from tidegate_plugins.quota.stores import GONE_S, Charge, Reply, Standing, Take, fits, standing

Connection = sqlite3.Connection

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


def reserve(
    connection: Connection, now: float, lease: str, takes: Sequence[Take], lease_s: float
) -> Reply:
    """Take every amount, or none; after `expire`, as all of these."""
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


def settle(
    connection: Connection, now: float, lease: str, charges: Sequence[Charge], again: bool
) -> tuple[Standing, ...]:
    """Give a lease back and charge; return how the counters are."""
    known = (
        _give_back(connection, lease)
        or connection.execute("DELETE FROM gone WHERE id = ?", (lease,)).rowcount
    )
    if known or not again:
        alive = [c for c in charges if c.amount and (c.dies == 0 or c.dies > now)]
        connection.executemany(ADD, [(c.counter, c.dies, c.amount, 0) for c in alive])
    return tuple(_standing(connection, charge.counter, now) for charge in charges)


def cancel(connection: Connection, now: float, lease: str) -> None:
    """Give a lease back, or remember that it must not be taken."""
    if not _give_back(connection, lease):
        bury(connection, now, lease)


def renew(connection: Connection, now: float, leases: Sequence[str], lease_s: float) -> None:
    """Keep leases that have not expired."""
    rows = [(now + lease_s, lease) for lease in leases]
    connection.executemany("UPDATE leases SET expires = ? WHERE id = ?", rows)


def read(connection: Connection, now: float) -> dict[str, Standing]:
    """Return every counter that has anything in it."""
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


def expire(connection: Connection, now: float) -> None:
    """Give back what was reserved by leases that nobody renewed."""
    due = connection.execute("SELECT id FROM leases WHERE expires <= ?", (now,)).fetchall()
    for (lease,) in due:
        _give_back(connection, lease)
        bury(connection, now, lease)


def bury(connection: Connection, now: float, lease: str) -> None:
    """Remember a lease that is over before it was settled."""
    connection.execute("DELETE FROM gone WHERE at <= ?", (now - GONE_S,))
    connection.execute("INSERT OR REPLACE INTO gone VALUES (?, ?)", (lease, now))
