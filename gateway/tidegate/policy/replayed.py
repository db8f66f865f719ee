"""A replay's report, for people and for programs."""

from collections.abc import Callable, Iterator
from typing import Any

import msgspec

from tidegate.policy.replay import Report

Paint = Callable[[str, str], str]

ROWS = 40
"""Printed of each kind; `--json` has all."""

TITLES = {
    "refused": ("went through, and would be refused", "red"),
    "admitted": ("was refused, and would go through as far as can be told", "green"),
    "other_rule": ("was refused, and would be by another rule", "yellow"),
    "changed": ("went through, and would leave otherwise", "yellow"),
    "shadow": ("a policy in shadow would refuse", "grey"),
}


def document(report: Report, digest: str) -> dict[str, Any]:
    """Return the report for programs."""
    return {
        "config": digest,
        "exchanges": report.exchanges,
        "same": report.same,
        "differences": [
            {**msgspec.to_builtins(difference), **msgspec.to_builtins(found)}
            for what in TITLES
            for difference, found in report.of(what)
        ],
        "undecided": dict(report.undecided.most_common()),
        "not_asked": dict(report.not_asked.most_common()),
        "unreadable": report.unreadable,
    }


def lines_of(report: Report, paint: Paint) -> Iterator[str]:
    """Yield the report as lines."""
    yield f"{report.exchanges} exchanges, {report.same} decided as they were"
    for what, (title, colour) in TITLES.items():
        rows = report.of(what)
        if not rows:
            continue
        total = sum(found.count for _, found in rows)
        yield ""
        yield paint(f"{title}: {total}", colour)
        for difference, found in rows[:ROWS]:
            change = f"{difference.before} → {difference.after}"
            team, model = difference.team, difference.model
            yield f"{found.count:>8}  {team:<12} {model:<28} {change}"
            yield f"          {'e.g. ' + ' '.join(found.examples)}"
        if len(rows) > ROWS:
            yield f"          and {len(rows) - ROWS} more kinds; see --json"
    yield from _left_open(report, paint)


def _left_open(report: Report, paint: Paint) -> Iterator[str]:
    if not (report.undecided or report.not_asked or report.unreadable):
        return
    yield ""
    yield paint("could not be decided again", "bold")
    for reason, count in report.undecided.most_common():
        yield f"{count:>8}  {reason}"
    for name, count in report.not_asked.most_common():
        yield f"{count:>8}  {name} cannot be asked: it needs more than the journal keeps"
    if report.unreadable:
        yield f"{report.unreadable:>8}  lines are no records"
