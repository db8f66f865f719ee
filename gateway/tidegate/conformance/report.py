"""What the command prints: a line a case, and the score."""

import json
import textwrap
from collections import Counter
from collections.abc import Sequence

from tidegate.conformance.case import Score

_MARKS = {"pass": ("✓", "32"), "fail": ("✗", "31"), "skip": ("–", "33")}


def line(score: Score, *, colour: bool) -> str:
    """Return how one case went."""
    mark, code = _MARKS[score.result]
    shown = f"\x1b[{code}m{mark}\x1b[0m" if colour else mark
    case = score.case
    text = f"{shown} {case.contract:8} {case.name:18} {case.claim}"
    if not score.reason:
        return text
    indent = " " * 30
    return text + "\n" + textwrap.fill(score.reason, 100, initial_indent=indent, subsequent_indent=indent)  # fmt: skip


def total(scores: Sequence[Score]) -> str:
    """Return the score in one line."""
    counted = Counter(score.result for score in scores)
    played = counted["pass"] + counted["fail"]
    skipped = f", {counted['skip']} not applicable" if counted["skip"] else ""
    return f"{counted['pass']} of {played}{skipped}"


def as_json(scores: Sequence[Score]) -> str:
    """Return everything for machines."""
    cases = [
        {
            "name": score.case.name,
            "contract": score.case.contract.split(),
            "claim": score.case.claim,
            "result": score.result,
            "reason": score.reason,
        }
        for score in scores
    ]
    counted = Counter(score.result for score in scores)
    return json.dumps({"score": {kind: counted[kind] for kind in _MARKS}, "cases": cases}, indent=1)
