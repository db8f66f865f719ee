"""Show tokens, cost and requests by team, model, day, from the local usage database."""

import argparse
import csv
import json
import re
import sys
import tomllib
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tidegate.clock import SystemClock
from tidegate.errors import PluginError
from tidegate_plugins.usage import queries
from tidegate_plugins.usage.batch import HOUR_S, MINUTE_S
from tidegate_plugins.usage.config import UsageConfig, database_path
from tidegate_plugins.usage.facts import TOKENS
from tidegate_plugins.usage.queries import COLUMNS, DAY_S, Span, Sums, cache_hits
from tidegate_plugins.usage.table import table

NANO = 1_000_000_000
UNITS_S = {"m": MINUTE_S, "h": HOUR_S, "d": DAY_S, "w": 7 * DAY_S}

ABOUT = """\
show tokens, cost and requests from the local usage database

The gateway keeps that database if its configuration has the plugin `usage`; it does without a
file. It can be asked while the gateway runs, and after. Exchanges count when they are over;
days and hours are UTC. Tokens are in disjoint classes: their sum is all that was processed.
Refused requests cost nothing; errors are those of the upstream or on the way to it.
"""
EXAMPLES = """\
examples:
  tidegate usage                                    by team and model, the last 7 days
  tidegate usage --by day --since 30d               a line a day
  tidegate usage --by principal --team search       who in one team
  tidegate usage --by model,outcome --since 2h      the last two hours
  tidegate usage --by team,month --since 2026-10-01 --format csv > costs.csv
"""
ENABLE = """\
{reason}
The gateway writes it when its configuration has

    [[plugins]]
    use = "usage"

and a first exchange is over. Name the journal's directory with --dir, or the configuration
with --config."""


def add(commands: Any) -> None:
    """Add `tidegate usage` to the commands of the gateway."""
    parser = commands.add_parser(
        "usage",
        help=ABOUT.partition("\n")[0],
        description=ABOUT,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(run=_run)
    names = ", ".join(COLUMNS)
    parser.add_argument("--by", type=_by, default=("team", "model"), metavar="LIST", help=f"columns to break sums down by, of {names}; commas between (team,model)")  # fmt: skip
    parser.add_argument("--since", default="7d", metavar="TIME", help="30m, 12h, 7d, 4w, a date (2026-11-23) or a time (2026-11-23T08:00), UTC (7d)")  # fmt: skip
    parser.add_argument("--until", metavar="TIME", help="the same; the end of the stretch (now)")
    for name in ("team", "principal", "model"):
        parser.add_argument(f"--{name}", help=f"only this {name}")
    parser.add_argument("--format", choices=("table", "csv", "json"), default="table")
    place = parser.add_mutually_exclusive_group()
    place.add_argument("--dir", type=Path, metavar="DIR", help="the journal (./tidegate-journal)")
    place.add_argument("--config", type=Path, metavar="FILE", help="the gateway's configuration")


def _by(text: str) -> tuple[str, ...]:
    names = tuple(dict.fromkeys(name.strip() for name in text.split(",")))
    unknown = [name for name in names if name not in COLUMNS]
    if unknown:
        message = f"{unknown[0]!r} is no column; there are {', '.join(COLUMNS)}"
        raise argparse.ArgumentTypeError(message)
    return names


def _run(options: argparse.Namespace) -> int:
    now = SystemClock().now()
    since = moment(options.since, now, "--since")
    until = now if options.until is None else moment(options.until, now, "--until")
    if since >= until:
        raise PluginError("--since: must be before --until")
    where = {n: v for n in ("team", "principal", "model") if (v := getattr(options, n)) is not None}
    try:
        with queries.reading(_database(options)) as db:
            rows = queries.sums(db, _span(since, until, now), options.by, where)
    except queries.NoDatabase as error:
        raise PluginError(ENABLE.format(reason=error)) from None
    _print(options, rows, since, until)
    return 0


def moment(text: str, now: float, flag: str) -> float:
    """Return the time that a user names, in seconds since the epoch.

    Raises:
        PluginError: it is none.
    """
    match = re.fullmatch(r"(\d{1,6})([mhdw])", text)
    if match is not None:
        return now - int(match[1]) * UNITS_S[match[2]]
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        message = f"{flag}: {text!r} is no time; write 30m, 12h, 7d, 2026-11-23 or 2026-11-23T08:00"
        raise PluginError(message) from None
    return (found if found.tzinfo is not None else found.replace(tzinfo=UTC)).timestamp()


def _span(since: float, until: float, now: float) -> Span:
    """Return the stretch; by the minute where it is short and recent enough to be kept so."""
    recent = now - since <= UsageConfig().keep_hours * HOUR_S / 2
    return Span(since, until, MINUTE_S if recent else HOUR_S)


def _database(options: argparse.Namespace) -> Path:
    if options.config is None:
        return database_path(options.dir or Path("tidegate-journal"), "usage")
    try:
        document = tomllib.loads(options.config.read_text())
        directory = Path(document.get("journal", {}).get("dir", "tidegate-journal"))
        entries = [p for p in document.get("plugins", ()) if p.get("use") == "usage"]
        name = entries[0].get("name", "usage") if entries else None
    except OSError as error:
        raise PluginError(f"{options.config}: {error.strerror}") from None
    except (ValueError, AttributeError, TypeError) as error:
        message = f"{options.config}: {error}; `tidegate check` says more"
        raise PluginError(message) from None
    if name is None:
        raise PluginError(ENABLE.format(reason=f"{options.config}: has no plugin `usage`"))
    return database_path(directory, name)


# printing

_HEADS = {
    "requests": "requests",
    "refused": "refused",
    "errors": "errors",
    "redactions": "redactions",
    "input": "input",
    "cache_read": "cache read",
    "cache_write_5m": "write 5m",
    "cache_write_1h": "write 1h",
    "output": "output",
    "hits": "cache hits",
    "cost": "cost USD",
}


_SELDOM = ("redactions", "cache_write_5m", "cache_write_1h")
"""Left out where there are none."""


def _print(options: argparse.Namespace, rows: Sequence[Sums], since: float, until: float) -> None:
    if options.format == "json":
        document = {
            "since": since,
            "until": until,
            "by": options.by,
            "rows": [_machine(row, options.by) for row in rows],
        }
        print(json.dumps(document, indent=2))
    elif options.format == "csv":
        writer = csv.DictWriter(sys.stdout, [*options.by, *_FIGURES], lineterminator="\n")
        writer.writeheader()
        writer.writerows(_machine(row, options.by) for row in rows)
    else:
        print(f"{_day(since)} to {_day(until)} UTC\n")
        for line in _table(rows, options.by) if rows else ["nothing was recorded then"]:
            print(line)


_FIGURES = (
    *("requests", "refused", "errors", "partial", "redactions"),
    *TOKENS,
    *("thinking", "web_searches", "cache_hit_ratio", "cost_usd", "unpriced"),
)


def _machine(row: Sums, by: Iterable[str]) -> dict[str, Any]:
    """Return a row for programs: plain numbers, money as exact decimal text."""
    hits = cache_hits(row)
    figures = row | {
        "cache_hit_ratio": None if hits is None else round(hits, 4),
        "cost_usd": f"{row['nano_usd'] // NANO}.{row['nano_usd'] % NANO:09d}",
    }
    return {name: figures[name] for name in (*by, *_FIGURES)}


def _table(rows: Sequence[Sums], by: Sequence[str]) -> list[str]:
    total: Sums = dict.fromkeys(by, "")
    for name in rows[0]:
        if name not in by:
            total[name] = sum(row[name] for row in rows)
    total[by[0]] = "total"
    ordered = (
        sorted(rows, key=lambda row: row[by[0]]) if by[0] in ("day", "hour", "month") else rows
    )
    figures = [name for name in _HEADS if name not in _SELDOM or total[name]]
    shown = [[_cell(row, name) for name in (*by, *figures)] for row in [*ordered, total]]
    heads = [*by, *(_HEADS[name] for name in figures)]
    lines = table(heads, shown, left=len(by), total=True)
    if total["unpriced"]:
        lines += ["", f"{total['unpriced']:,} answers of models without a price are counted at the default one"]  # fmt: skip
    if total["partial"]:
        lines += ["", f"{total['partial']:,} answers broke off: their output is at least what is shown"]  # fmt: skip
    return lines


def _cell(row: Sums, name: str) -> str:
    if name == "hits":
        hits = cache_hits(row)
        return "-" if hits is None else f"{hits:.1%}"
    if name == "cost":
        return f"{row['nano_usd'] / NANO:,.4f}"
    value = row[name]
    return f"{value:,}" if isinstance(value, int) else str(value)


def _day(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M")
