"""What the page draws, as one JSON document: series, totals, tables, the latest exchanges."""

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from tidegate_plugins.usage import queries
from tidegate_plugins.usage.batch import HOUR_S, MINUTE_S
from tidegate_plugins.usage.facts import MEASURES
from tidegate_plugins.usage.queries import DAY_S, ERRORS, Histogram, Span, Sums

TOP = 10
"""Rows of a table."""
NAMED = 5
"""Series that have a name of their own; the others are `other`."""
LATEST = 30
SHARES = {"p50": 0.5, "p95": 0.95, "p99": 0.99}


@dataclass(frozen=True, slots=True)
class Range:
    """How far back, in how many whole steps, from which bins."""

    length_s: int
    width_s: int
    step_s: int


RANGES = {
    "15m": Range(15 * MINUTE_S, MINUTE_S, MINUTE_S),
    "1h": Range(HOUR_S, MINUTE_S, MINUTE_S),
    "6h": Range(6 * HOUR_S, 5 * MINUTE_S, MINUTE_S),
    "24h": Range(DAY_S, 15 * MINUTE_S, MINUTE_S),
    "7d": Range(7 * DAY_S, 2 * HOUR_S, HOUR_S),
    "30d": Range(30 * DAY_S, 6 * HOUR_S, HOUR_S),
    "1y": Range(52 * 7 * DAY_S, 7 * DAY_S, HOUR_S),
}
DEFAULT_RANGE = "1h"

ENDS = {
    "complete": ("complete",),
    "refused": ("refused",),
    "errors": ERRORS,
}
"""How outcomes are drawn; what is in none of them was broken off."""
TOKENS = {
    "input": ("input",),
    "cache_read": ("cache_read",),
    "cache_write": ("cache_write_5m", "cache_write_1h"),
    "output": ("output",),
}


def view(db: sqlite3.Connection, name: str, now: float) -> dict[str, Any]:
    """Return what the page shows of one of `RANGES`."""
    asked = RANGES.get(name, RANGES[DEFAULT_RANGE])
    # Whole steps, the one that is running now included.
    end = (int(now) // asked.width_s + 1) * asked.width_s
    starts = range(end - asked.length_s, end, asked.width_s)
    span = Span(starts[0], end - 1, asked.step_s)
    found = queries.series(db, span, asked.width_s)
    histograms = queries.latencies(db, span, asked.width_s)
    (totals,) = queries.sums(db, span, ())
    return {
        "now": now,
        "began": queries.began(db),
        "width_s": asked.width_s,
        "t": list(starts),
        "tokens": {kind: _line(found, starts, columns) for kind, columns in TOKENS.items()},
        "nano_usd": _line(found, starts, ("nano_usd",)),
        "requests": _ends(found, starts),
        "refusals": _named(queries.reasons(db, span, asked.width_s, "refused"), starts),
        "redactions": _named(queries.reasons(db, span, asked.width_s, "redacted"), starts),
        "stops": _named(queries.reasons(db, span, asked.width_s, "stopped"), starts),
        "latency": {each: _shares(histograms, each, starts) for each in MEASURES},
        "totals": totals | _whole(histograms) | {"cache_hits": queries.cache_hits(totals)},
        "teams": [_row(row) for row in queries.sums(db, span, ("team",))[:TOP]],
        "models": _models(db, span),
        "latest": [msgspec.structs.asdict(one) for one in queries.latest(db, LATEST)],
    }


Found = dict[tuple[int, str], Sums]


def _line(found: Found, starts: Sequence[int], columns: Sequence[str]) -> list[int]:
    sums = dict.fromkeys(starts, 0)
    for (start, _), row in found.items():
        if start in sums:
            sums[start] += sum(row[column] for column in columns)
    return list(sums.values())


def _ends(found: Found, starts: Sequence[int]) -> dict[str, list[int]]:
    places = {outcome: end for end, outcomes in ENDS.items() for outcome in outcomes}
    lines = {end: dict.fromkeys(starts, 0) for end in (*ENDS, "broken_off")}
    for (start, outcome), row in found.items():
        line = lines[places.get(outcome, "broken_off")]
        if start in line:
            line[start] += row["requests"]
    return {end: list(line.values()) for end, line in lines.items()}


def _named(found: dict[str, dict[int, int]], starts: Sequence[int]) -> dict[str, list[int]]:
    """Return a line for each name; beyond `NAMED` of them, one for the rest."""
    lines = {name: [counts.get(t, 0) for t in starts] for name, counts in found.items()}
    if len(lines) <= NAMED:
        return lines
    names = list(lines)
    rest = [sum(column) for column in zip(*(lines[n] for n in names[NAMED:]), strict=True)]
    return {name: lines[name] for name in names[:NAMED]} | {"other": rest}


def _shares(
    histograms: dict[tuple[str, int], Histogram], measure: str, starts: Sequence[int]
) -> dict[str, list[float | None]]:
    return {
        name: [queries.percentile_ms(histograms.get((measure, t), []), share) for t in starts]
        for name, share in SHARES.items()
    }


def _whole(histograms: dict[tuple[str, int], Histogram]) -> dict[str, float | None]:
    """Return the percentiles of the whole range, by names such as `first_token_p50`."""
    found = {}
    for measure in MEASURES:
        whole = queries.merged(h for (name, _), h in histograms.items() if name == measure)
        for name, share in SHARES.items():
            found[f"{measure}_{name}"] = queries.percentile_ms(whole, share)
    return found


def _row(row: Sums) -> Sums:
    return row | {"cache_hits": queries.cache_hits(row)}


def _models(db: sqlite3.Connection, span: Span) -> list[Sums]:
    rows = [_row(row) for row in queries.sums(db, span, ("model",))[:TOP]]
    histograms = queries.latencies_by_model(db, span)
    for row in rows:
        first = histograms.get(("first_token", row["model"]), [])
        row["first_token_p50"] = queries.percentile_ms(first, 0.5)
    return rows
