"""Show how much of budgets and rate limits is used."""

import argparse
import asyncio
import json
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import msgspec

from tidegate import record
from tidegate.clock import SystemClock
from tidegate.errors import PluginError
from tidegate_plugins.quota import open_store
from tidegate_plugins.quota.config import NANO, Config
from tidegate_plugins.quota.stores import Standing, StoreError
from tidegate_plugins.quota.stores.memory import Book
from tidegate_plugins.quota.wording import amount, timestamp

ABOUT = "show how much of budgets and rate limits is used"
SHOW = """\
show each limit: used, reserved, left, and when it resets

Reads the store that the configuration names. Of a store in memory it shows what each worker
wrote into the journal last, a few seconds ago; limits by key or label are not in there.
"""
TAIL_BYTES = 1 << 20


def add(commands: Any) -> None:
    """Add `tidegate quota` to the commands of the gateway."""
    parser = commands.add_parser("quota", help=ABOUT, description=ABOUT)
    verbs = parser.add_subparsers(title="verbs", metavar="VERB", required=True)
    show = verbs.add_parser(
        "show",
        help=SHOW.partition("\n")[0],
        description=SHOW,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    show.add_argument("--config", metavar="FILE", type=Path, default=Path("tidegate.toml"))
    show.add_argument("--team", metavar="NAME", help="only what counts for this team alone")
    show.add_argument("--json", action="store_true", help="for machines")
    show.set_defaults(run=_show)


@dataclass(frozen=True, slots=True)
class Row:
    """One counter. Dollars are in nanodollars."""

    plugin: str
    limit: str
    measure: str
    per: str
    subject: dict[str, str]
    most: int | None
    """None: no limit of the configuration."""
    used: int
    reserved: int
    resets: int | None
    """Seconds since the epoch."""
    worker: int | None = None
    """Whose count it is, where each worker counts alone."""

    @property
    def left(self) -> int | None:
        """What is neither used nor reserved."""
        return None if self.most is None else max(self.most - self.used - self.reserved, 0)

    def plain(self) -> dict[str, Any]:
        """Return it for machines."""
        resets = None if self.resets is None else timestamp(self.resets)
        return {**asdict(self), "left": self.left, "resets": resets}


def _show(options: argparse.Namespace) -> int:
    rows = []
    for name, config, journal in _instances(options.config):
        if config.store == "memory":
            rows += list(_told(name, config, journal))
        else:
            rows += asyncio.run(_read(name, config, journal))
    if options.team is not None:
        rows = [row for row in rows if row.subject.get("team") == options.team]
    rows.sort(key=lambda row: (row.plugin, row.limit, row.measure, sorted(row.subject.items())))
    if options.json:
        print(json.dumps([row.plain() for row in rows], indent=2))
    else:
        _print(rows)
    return 0


def _instances(path: Path) -> list[tuple[str, Config, Path]]:
    """Return each quota plugin of a configuration, and where its journal is."""
    try:
        document = tomllib.loads(path.read_text())
        entries = [entry for entry in document.get("plugins", ()) if entry.get("use") == "quota"]
        journal = Path(document.get("journal", {}).get("dir", "tidegate-journal"))
        found = [
            (
                entry.get("name") or "quota",
                msgspec.convert(entry.get("config", {}), Config),
                journal,
            )
            for entry in entries
            if entry.get("mode") != "off"
        ]
    except OSError as error:
        raise PluginError(f"{path}: {error.strerror}; name it with --config") from None
    except (ValueError, AttributeError, TypeError) as error:
        raise PluginError(f"{path}: {error}; `tidegate check` says more") from None
    if not found:
        raise PluginError(f'{path}: has no [[plugins]] use = "quota"')
    return found


async def _read(name: str, config: Config, journal: Path) -> list[Row]:
    store = open_store(config, journal, Book(), SystemClock())
    try:
        counters = await store.read()
    except StoreError as error:
        raise PluginError(f"{name}: the store fails: {error}") from None
    finally:
        await store.close()
    return list(_rows(name, config, counters))


def _rows(name: str, config: Config, counters: dict[str, Standing]) -> Iterator[Row]:
    most = {(limit.name, m): n for limit in config.limits for m, n in limit.amounts().items()}
    for counter, standing in counters.items():
        plugin, limit, measure, per, subject = counter.split("/", 4)
        if plugin == name:
            yield Row(
                plugin=name,
                limit=limit,
                measure=measure,
                per=per,
                subject=_subject(subject),
                most=most.get((limit, measure)),
                used=standing.used,
                reserved=standing.reserved,
                resets=standing.slots[-1][0] or None if standing.slots else None,
            )


def _subject(text: str) -> dict[str, str]:
    pairs = (part.partition("=") for part in text.split(",") if part)
    return {scope: unquote(value) for scope, _, value in pairs}


# a store in memory


def _told(name: str, config: Config, journal: Path) -> Iterator[Row]:
    """Yield what the workers have written of themselves last."""
    per = {limit.name: limit.per or "always" for limit in config.limits}
    for vitals in _vitals(journal).values():
        for policy in vitals.policies:
            counters = _by_counter(policy) if policy.plugin == name else {}
            for (limit, measure, subject), gauges in counters.items():
                unit = NANO if measure == "usd" else 1
                yield Row(
                    plugin=name,
                    limit=limit,
                    measure=measure,
                    per=per.get(limit, "?"),
                    subject={} if subject == "org" else _subject(subject),
                    most=round(gauges["quota_limit"] * unit),
                    used=round(gauges["quota_used"] * unit),
                    reserved=round(gauges["quota_reserved"] * unit),
                    resets=round(gauges.get("quota_reset_timestamp_seconds", 0)) or None,
                    worker=vitals.worker,
                )


def _by_counter(policy: record.PolicyVitals) -> dict[tuple[str, str, str], dict[str, float]]:
    found: dict[tuple[str, str, str], dict[str, float]] = {}
    for gauge in policy.gauges:
        labels = gauge.labels
        if "subject" in labels:
            counter = (labels["limit"], labels["measure"], labels["subject"])
            found.setdefault(counter, {})[gauge.name] = gauge.value
    return found


def _vitals(journal: Path) -> dict[int, record.Vitals]:
    newest: dict[int, record.Vitals] = {}
    for path in sorted(journal.glob("*.jsonl")):
        with path.open("rb") as file:
            file.seek(max(path.stat().st_size - TAIL_BYTES, 0))
            for line in file:
                found = _vitals_in(line)
                if found is not None and (
                    found.worker not in newest or newest[found.worker].at <= found.at
                ):
                    newest[found.worker] = found
    return newest


def _vitals_in(line: bytes) -> record.Vitals | None:
    if b'"vitals"' not in line:
        return None
    try:
        found = record.decode(line)
    except msgspec.MsgspecError:
        return None
    return found if isinstance(found, record.Vitals) else None


# the table


def _print(rows: Sequence[Row]) -> None:
    if not rows:
        print("Nothing is used or reserved.")
        return
    table = [("LIMIT", "WHO", "USED", "RESERVED", "LEFT", "OF", "RESETS")]
    table += [_cells(row) for row in rows]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    for line in table:
        left = (cell.ljust(width) for cell, width in zip(line[:2], widths[:2], strict=True))
        right = (cell.rjust(width) for cell, width in zip(line[2:6], widths[2:6], strict=True))
        print("  ".join((*left, *right, line[6])).rstrip())


def _cells(row: Row) -> tuple[str, str, str, str, str, str, str]:
    who = ", ".join(f"{scope} {_plain(value)}" for scope, value in row.subject.items()) or "org"
    if row.worker is not None:
        who += f" (worker {row.worker})"
    unit = "USD" if row.measure == "usd" else row.measure.replace("_", " ")
    return (
        f"{row.limit} ({unit})",
        who,
        amount(row.measure, row.used),
        amount(row.measure, row.reserved),
        "?" if row.left is None else amount(row.measure, row.left),
        "?" if row.most is None else amount(row.measure, row.most),
        "" if row.resets is None else timestamp(row.resets),
    )


def _plain(text: str) -> str:
    """Make what a caller may have chosen fit for a terminal."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)[:64]
