"""`tidegate journal`: read a journal."""

import argparse
import datetime
import json
import os
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import msgspec

from tidegate.cli.parser import Commands, command
from tidegate.errors import ConfigError, Problem
from tidegate.journal import show
from tidegate.journal.stats import Stats, count
from tidegate.journal.verify import Report, verify

TOP = 10
"""So many teams and models are printed."""

ABOUT_TAIL = """\
Prints a line for each exchange, in the order in which they ended: when, its id, how it
ended, the status, the team, the model, tokens (input + cached → output), how long it took,
which rule refused it.

  tidegate journal tail --follow             watch the traffic
  tidegate journal tail --last 0 --json      every record there is, for other programs
  tidegate journal tail --json | jq 'select(.kind == "exchange").usage'

NO_COLOR in the environment means no colours; a pipe gets none either."""

ABOUT_SHOW = """\
Prints every record of one exchange as it was written: its intent, written before the request
left, and its exchange, written when it was over. The id is in the answer's header
x-tidegate-id, in every span and log, and in each line of `tidegate journal tail`."""

ABOUT_STATS = """\
Counts exchanges by how they ended, by team and by model; tokens; sizes; and what is missing:
requests without an end (in flight, if the gateway runs), exchanges lost with a worker, records
that retention removed, and those that an observer had not read by then."""

ABOUT_VERIFY = """\
Every line of a writer carries a hash over itself and the line before. This reads the whole
journal and says, with file and line, where something was changed, cut out, moved or put in;
which segments are missing, though retention did not remove them; and which id has two
exchanges. It may be run while the gateway runs. What it cannot see: lines cut off at the very
end of a writer that has not ended, unless an observer had read them; and a journal rewritten
as a whole by somebody who may write these files. Keep copies elsewhere against that.

Exit code 0: all is as it was written. 1: it is not. 2: there is no journal."""


def add(commands: Commands) -> None:
    """Add the command."""
    group = command(commands, "journal", lambda _: 2, "read a journal")
    verbs = group.add_subparsers(title="verbs", metavar="VERB", required=True)
    tail = command(verbs, "tail", _journal_tail, "print a line for each exchange")
    tail.add_argument("--follow", action="store_true", help="wait for more")
    tail.add_argument("--json", action="store_true", help="the records themselves, of every kind")
    tail.add_argument(
        "--last", type=int, default=1000, metavar="N",
        help="begin so many exchanges ago; 0: with the first, by worker (default 1000)",
    )  # fmt: skip
    shown = command(verbs, "show", _journal_show, "print all records of one id")
    shown.add_argument("id", help="as in the response header x-tidegate-id")
    stats = command(verbs, "stats", _journal_stats, "count what is in it")
    stats.add_argument("--json", action="store_true", help="all counts, for programs")
    checked = command(verbs, "verify", _journal_verify, "prove that nothing was changed or cut out")
    checked.add_argument("--json", action="store_true", help="the findings, for programs")
    about = {tail: ABOUT_TAIL, shown: ABOUT_SHOW, stats: ABOUT_STATS, checked: ABOUT_VERIFY}
    for verb, text in about.items():
        verb.description = text
        verb.formatter_class = argparse.RawDescriptionHelpFormatter
        verb.add_argument(
            "--dir", type=Path, default=Path("tidegate-journal"), metavar="DIR",
            help="the journal (default ./tidegate-journal)",
        )  # fmt: skip


def _journal_tail(options: argparse.Namespace) -> int:
    colour = sys.stdout.isatty() and "NO_COLOR" not in os.environ
    found = show.tail(_directory(options), last=max(0, options.last), follow=options.follow)
    for line in found:
        text = line.decode(errors="replace").rstrip("\n") if options.json else None
        text = text if options.json else show.summary(line, colour=colour)
        if text is not None:
            print(text, flush=options.follow)
    return 0


def _journal_show(options: argparse.Namespace) -> int:
    found = show.records_of(_directory(options), options.id)
    for record in found:
        print(json.dumps(record, indent=2))
    if not found:
        print(f"no record of {options.id} in {options.dir}", file=sys.stderr)
    return 0 if found else 1


def _journal_stats(options: argparse.Namespace) -> int:
    stats = count(_directory(options))
    if options.json:
        print(msgspec.json.encode(stats).decode())
        return 0
    for line in _stats_lines(stats):
        print(line)
    return 0


def _stats_lines(stats: Stats) -> Iterator[str]:
    size, plain = stats.bytes / 1e6, stats.plain_bytes / 1e6
    yield f"{stats.segments} segments, {size:.1f} MB on disk, {plain:.1f} MB unpacked"
    if stats.first_at is not None and stats.last_at is not None:
        yield f"from {_time(stats.first_at)} to {_time(stats.last_at)}"
    for title, counts in (
        *(("records", stats.kinds), ("outcomes", stats.outcomes), ("teams", stats.teams)),
        *(("models", stats.models), ("tokens", stats.tokens)),
    ):
        yield from _table(title, counts)
    yield f"{stats.open_intents} open intents, {stats.outcomes['worker_lost']} lost with a worker"
    yield f"{stats.removed_records} records in {stats.removed_segments} segments removed by retention"
    if stats.unreadable or stats.given_up_records:
        yield f"{stats.unreadable} lines are not records, {stats.given_up_records} were given up"
    for observer, lost in stats.observers_lost.items():
        if lost:
            yield f"{lost} records were removed before observer {observer} had read them"


def _table(title: str, counts: Counter[str]) -> Iterator[str]:
    if counts:
        yield title
    yield from (f"{number:>12}  {name}" for name, number in counts.most_common(TOP))
    if len(counts) > TOP:
        rest = counts.total() - sum(number for _, number in counts.most_common(TOP))
        yield f"{rest:>12}  ({len(counts) - TOP} more)"


def _time(at: float) -> str:
    return datetime.datetime.fromtimestamp(at).astimezone().isoformat(" ", "seconds")


def _journal_verify(options: argparse.Namespace) -> int:
    report = verify(_directory(options))
    if options.json:
        found = msgspec.to_builtins(report)
        print(json.dumps({"sound": report.sound, **found}))
        return 0 if report.sound else 1
    for line in _verify_lines(report):
        print(line)
    return 0 if report.sound else 1


def _verify_lines(report: Report) -> Iterator[str]:
    audit = report.audit
    yield f"intents {report.intents}, exchanges {report.exchanges}, open {len(report.open)}"
    if report.removed_segments:
        yield f"{report.removed_segments} segments were removed by retention"
    yield from (f"{id_} has more than one exchange" for id_ in report.repeated)
    yield from map(str, audit.faults)
    if audit.unchained:
        yield f"{audit.unchained} lines are from before there were chains: they prove nothing"
    if audit.unended:
        names = ", ".join(audit.unended)
        yield f"not ended: {names} (in use, or for recovery at the next start)"
    verdict = "all is as it was written" if report.sound else "NOT as it was written"
    yield f"{audit.lines} lines in {report.segments} segments: {verdict}"


def _directory(options: argparse.Namespace) -> Path:
    directory: Path = options.dir
    if not directory.is_dir():
        message = "is no directory; name the journal with --dir"
        raise ConfigError([Problem(str(directory), message)])
    return directory
