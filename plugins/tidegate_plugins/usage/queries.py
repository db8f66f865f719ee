"""What the database is asked: sums by some columns, series over time, percentiles, the latest."""

import sqlite3
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from tidegate_plugins.usage.batch import HOUR_S
from tidegate_plugins.usage.facts import AMOUNTS, lower_bound_ms
from tidegate_plugins.usage.latest import Latest

DAY_S = 86_400
BUSY_S = 2.0

ERRORS = (
    *("upstream_error", "upstream_error_event", "upstream_cut", "upstream_timeout"),
    *("unreachable", "worker_lost", "failed"),
)
_ERRORS = ", ".join(f"'{name}'" for name in ERRORS)
COLUMNS = {
    "team": "team",
    "principal": "principal",
    "model": "model",
    "route": "route",
    "outcome": "outcome",
    "hour": "strftime('%Y-%m-%dT%H:00Z', at, 'unixepoch')",
    "day": "date(at, 'unixepoch')",
    "month": "strftime('%Y-%m', at, 'unixepoch')",
}
"""What sums can be broken down by, and how SQL says it. Times are UTC."""

_SUMS = ", ".join(f"sum({name}) AS {name}" for name in AMOUNTS)
_ENDS = (
    "sum(CASE WHEN outcome = 'refused' THEN requests ELSE 0 END) AS refused, "
    f"sum(CASE WHEN outcome IN ({_ERRORS}) THEN requests ELSE 0 END) AS errors"
)

Sums = dict[str, Any]
"""A column of `COLUMNS` each, `AMOUNTS`, `refused` and `errors`."""


class NoDatabase(Exception):
    """There is none, or none that can be read; the text says why."""


@dataclass(frozen=True, slots=True)
class Span:
    """A stretch of time, and the bins it is made of."""

    since: float
    until: float
    """Exclusive."""
    step_s: int = HOUR_S
    """Of the bins that are read: a minute or an hour."""


@contextmanager
def reading(path: Path) -> Iterator[sqlite3.Connection]:
    """Open the database for reading, beside whoever writes.

    Raises:
        NoDatabase: there is none, or it cannot be read.
    """
    if not path.is_file():
        raise NoDatabase(f"{path}: there is no database yet")
    connection = None
    try:
        connection = sqlite3.connect(
            f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=BUSY_S
        )
        connection.row_factory = sqlite3.Row
        connection.execute("BEGIN")  # one moment for all that is asked
        yield connection
    except sqlite3.Error as error:
        raise NoDatabase(f"{path}: {error}") from error
    finally:
        if connection is not None:
            connection.close()


def began(db: sqlite3.Connection) -> float:
    """Return when the database was begun."""
    return float(db.execute("SELECT began FROM meta").fetchone()[0])


def sums(
    db: sqlite3.Connection, span: Span, by: Sequence[str], where: dict[str, str] | None = None
) -> list[Sums]:
    """Return sums by some of `COLUMNS`, the dearest first; `where` names values of columns."""
    names = "".join(f"{COLUMNS[name]} AS {name}, " for name in by)
    wanted = where or {}
    filters = "".join(f" AND {COLUMNS[name]} = ?" for name in wanted)
    query = (
        f"SELECT {names}{_SUMS}, {_ENDS} FROM usage "  # noqa: S608 - the names are ours
        f"WHERE step = ? AND at >= ? AND at < ?{filters}"
    )
    if by:
        query += f" GROUP BY {', '.join(by)} ORDER BY sum(nano_usd) DESC, sum(requests) DESC"
    rows = db.execute(query, (*_bounds(span), *wanted.values()))
    return [{key: row[key] or 0 for key in row.keys()} for row in rows]  # noqa: SIM118


def series(db: sqlite3.Connection, span: Span, width_s: int) -> dict[tuple[int, str], Sums]:
    """Return sums by start of a stretch of `width_s` and outcome."""
    query = (
        f"SELECT at / ? * ? AS t, outcome, {_SUMS} FROM usage "  # noqa: S608
        "WHERE step = ? AND at >= ? AND at < ? GROUP BY t, outcome"
    )
    rows = db.execute(query, (width_s, width_s, *_bounds(span)))
    return {(row["t"], row["outcome"]): dict(row) for row in rows}


def reasons(
    db: sqlite3.Connection, span: Span, width_s: int, kind: str
) -> dict[str, dict[int, int]]:
    """Return counts by name and start of a stretch, the most frequent name first."""
    query = (
        "SELECT name, at / ? * ? AS t, sum(count) AS count FROM reasons "
        "WHERE step = ? AND at >= ? AND at < ? AND kind = ? GROUP BY name, t"
    )
    found: dict[str, dict[int, int]] = defaultdict(dict)
    for row in db.execute(query, (width_s, width_s, *_bounds(span), kind)):
        found[row["name"]][row["t"]] = row["count"]
    return dict(sorted(found.items(), key=lambda item: -sum(item[1].values())))


Histogram = list[tuple[int, int]]
"""Bucket and count, in order."""


def latencies(db: sqlite3.Connection, span: Span, width_s: int) -> dict[tuple[str, int], Histogram]:
    """Return histograms by measure and start of a stretch."""
    query = (
        "SELECT measure, at / ? * ? AS t, bucket, sum(count) AS count FROM latency "
        "WHERE step = ? AND at >= ? AND at < ? GROUP BY measure, t, bucket ORDER BY bucket"
    )
    found: dict[tuple[str, int], Histogram] = defaultdict(list)
    for row in db.execute(query, (width_s, width_s, *_bounds(span))):
        found[row["measure"], row["t"]].append((row["bucket"], row["count"]))
    return found


def latencies_by_model(db: sqlite3.Connection, span: Span) -> dict[tuple[str, str], Histogram]:
    """Return histograms by measure and model."""
    query = (
        "SELECT measure, model, bucket, sum(count) AS count FROM latency "
        "WHERE step = ? AND at >= ? AND at < ? GROUP BY measure, model, bucket ORDER BY bucket"
    )
    found: dict[tuple[str, str], Histogram] = defaultdict(list)
    for row in db.execute(query, _bounds(span)):
        found[row["measure"], row["model"]].append((row["bucket"], row["count"]))
    return found


def merged(histograms: Iterable[Histogram]) -> Histogram:
    """Return several histograms as one."""
    counts: dict[int, int] = defaultdict(int)
    for histogram in histograms:
        for bucket, count in histogram:
            counts[bucket] += count
    return sorted(counts.items())


def percentile_ms(histogram: Histogram, share: float) -> float | None:
    """Return the milliseconds below which `share` of the durations lie, to half a bucket.

    A bucket is a fifth wide (`STEPS_PER_OCTAVE`); within it they are taken to be spread evenly.
    """
    total = sum(count for _, count in histogram)
    rank, seen = share * total, 0
    for bucket, count in histogram:
        if seen + count >= rank and count:
            return lower_bound_ms(bucket + (rank - seen) / count)
        seen += count
    return None


def latest(db: sqlite3.Connection, limit: int) -> list[Latest]:
    """Return the latest exchanges, the last one first."""
    rows = db.execute("SELECT record FROM latest ORDER BY at DESC LIMIT ?", (limit,))
    return [msgspec.json.decode(row["record"], type=Latest) for row in rows]


def _bounds(span: Span) -> tuple[int, int, int]:
    """Return step, first and end of the bins; a bin that began before `since` belongs to it."""
    first = int(span.since) // span.step_s * span.step_s
    return span.step_s, first, int(span.until) + 1


def cache_hits(sums: Sums) -> float | None:
    """Return the share of the prompt that was read from the cache; None without a prompt."""
    written = sums["cache_write_5m"] + sums["cache_write_1h"]
    prompt = sums["input"] + sums["cache_read"] + written
    return sums["cache_read"] / prompt if prompt else None
