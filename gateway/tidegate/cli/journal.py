"""`tidegate journal`: read a journal."""

import argparse
import json
import os
import sys
from pathlib import Path

from tidegate.cli.parser import Commands, command
from tidegate.errors import ConfigError, Problem
from tidegate.journal import show
from tidegate.journal.verify import verify


def add(commands: Commands) -> None:
    """Add the command."""
    group = command(commands, "journal", lambda _: 2, "read a journal")
    verbs = group.add_subparsers(title="verbs", metavar="VERB", required=True)
    tail = command(verbs, "tail", _journal_tail, "print a line for each exchange")
    tail.add_argument("--follow", action="store_true", help="wait for more")
    tail.add_argument("--json", action="store_true", help="the records themselves")
    show = command(verbs, "show", _journal_show, "print all records of one id")
    show.add_argument("id", help="as in the response header x-tidegate-id")
    stats = command(verbs, "stats", _journal_stats, "count what is in it")
    verify = command(verbs, "verify", _journal_verify, "check that each intent has one exchange")
    for verb in (tail, show, stats, verify):
        verb.add_argument("--dir", type=Path, default=Path("tidegate-journal"), metavar="DIR")


def _journal_tail(options: argparse.Namespace) -> int:
    colour = sys.stdout.isatty() and "NO_COLOR" not in os.environ
    for line in show.tail(_directory(options), follow=options.follow):
        text = line.decode().rstrip("\n") if options.json else show.summary(line, colour=colour)
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
    for line in show.stats(_directory(options)):
        print(line)
    return 0


def _journal_verify(options: argparse.Namespace) -> int:
    report = verify(_directory(options))
    print(f"intents {report.intents}, exchanges {report.exchanges}, open {len(report.open)}")
    for id_ in report.repeated:
        print(f"{id_} has more than one exchange")
    if report.unreadable:
        print(f"{report.unreadable} lines are not records")
    return 0 if report.sound else 1


def _directory(options: argparse.Namespace) -> Path:
    directory: Path = options.dir
    if not directory.is_dir():
        message = "is no directory; name the journal with --dir"
        raise ConfigError([Problem(str(directory), message)])
    return directory
