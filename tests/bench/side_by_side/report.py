"""What was measured, as tables to read and as JSON."""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bench.side_by_side.candidates import CANDIDATES
from bench.side_by_side.cases import CASES
from bench.side_by_side.figures import UNITS
from bench.side_by_side.summary import ENOUGH_ROUNDS, Figure, Round, Spread, Summary
from bench.side_by_side.targets import TARGETS, Target, against

SHOWN_RATIOS = ("nginx", "tidegate-1w")
NOTE = """\
A cell is the median over the rounds, then in brackets the ratio to nginx (for two workers: to one): the median of the
ratios inside each round, and the lowest and highest of them. Compare ratios only."""
QUICK = (
    "**A quick run: small loads, one round. It shows that the harness works, and nothing else.**"
)
AGREEMENT = """\
Means in µs: the histogram `tidegate_overhead_seconds`, what the load generator saw more than with
`direct`, and what it saw more with nginx: a second hop on loopback, waking up, reading a head."""


@dataclass(frozen=True)
class Result:
    """A whole run."""

    date: str
    quick: bool
    rounds: int
    machine: Mapping[str, str]
    versions: Mapping[str, str]
    samples: Mapping[str, Sequence[Round]]
    """By case."""
    summaries: Mapping[str, Summary]
    failures: Sequence[str]
    notes: Sequence[str] = ()
    """What was left out, and why."""

    @property
    def judged(self) -> bool:
        """Whether there is enough to say what was met."""
        return not self.quick and self.rounds >= ENOUGH_ROUNDS


def as_json(result: Result) -> dict[str, Any]:
    """Return everything, samples included."""
    found = dataclasses.asdict(result)
    found["targets"] = [_target_json(target, result) for target in TARGETS]
    return found


def _target_json(target: Target, result: Result) -> dict[str, Any]:
    reached = against(target, dict(result.summaries))
    return dataclasses.asdict(target) | {"reached": reached and dataclasses.asdict(reached)}


def as_markdown(result: Result) -> str:
    """Return the tables."""
    parts = [f"# Side by side, {result.date}", *([QUICK] if result.quick else []), _about(result)]
    parts += [f"## Targets\n\n{_targets(result)}", NOTE, _candidates(result)]
    for case in CASES:
        if case.name in result.summaries:
            table = _case_table(result.summaries[case.name], case.shown)
            parts.append(f"## {case.name}\n\n{case.about}\n\n{table}")
    if rows := _agreement(result):
        parts.append(f"## What the gateway says of itself\n\n{AGREEMENT}\n\n{rows}")
    if result.notes:
        parts.append("## Left out\n\n" + "\n".join(f"- {each}" for each in result.notes))
    if result.failures:
        parts.append("## Failed\n\n" + "\n".join(f"- {each}" for each in result.failures))
    return "\n\n".join(parts) + "\n"


def summary(result: Result) -> str:
    """Return what the README shows: the targets, and where the rest is."""
    run = f"results/{result.date}"
    about = f"{result.rounds} rounds, {result.date}, commit {result.versions['commit']}"
    on = f"{result.machine['cores']} cores {result.machine['cpu']}, {result.machine['kernel']}"
    return "\n\n".join(
        (
            f"{about}, on {on}. [All tables]({run}.md), [every sample]({run}.json).",
            _targets(result),
            f"![CPU as ratios to nginx]({run}-cpu.svg)",
            f"![Latency]({run}-latency.svg)",
        )
    )


def _about(result: Result) -> str:
    pairs = [("rounds", str(result.rounds)), *result.machine.items(), *result.versions.items()]
    return "\n".join(f"- {name}: {value}" for name, value in pairs if value)


def _candidates(result: Result) -> str:
    there = {name for summary in result.summaries.values() for name in summary}
    return "\n".join(f"- `{each.name}`: {each.about}" for each in CANDIDATES if each.name in there)


def _case_table(summary: Summary, shown: Sequence[str]) -> str:
    columns = [key for key in shown if any(key in figures for figures in summary.values())]
    rows = [
        [name, *(_cell(figures.get(key)) for key in columns)]
        for name, figures in summary.items()
        if figures
    ]
    return table(["", *(UNITS[key] for key in columns)], rows)


def _cell(figure: Figure | None) -> str:
    if figure is None:
        return "-"
    value = _number(figure.value.median)
    reference = next((name for name in SHOWN_RATIOS if name in figure.to), None)
    return f"{value} ({spread(figure.to[reference])})" if reference else value


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def spread(found: Spread) -> str:
    middle = f"{found.median:.2f}×"
    return middle if found.rounds < 2 else f"{middle}, {found.low:.2f}-{found.high:.2f}"


def _targets(result: Result) -> str:
    rows = [_target_row(target, result) for target in TARGETS]
    return table(["", "target", "reached", ""], rows)


def _target_row(target: Target, result: Result) -> list[str]:
    reached = against(target, dict(result.summaries))
    if reached is None:
        return [target.what, target.bound, "not measured", ""]
    verdict = "met" if target.met(reached) else "not met"
    found = f"{_number(reached.median)} ({_number(reached.low)}-{_number(reached.high)})"
    return [target.what, target.bound, found, verdict if result.judged else ""]


def _agreement(result: Result) -> str:
    """Return the gateway's own figure beside the one from outside."""
    comparable = [case.name for case in CASES if "inside_us" in case.shown]
    rows = [row for name in comparable if (row := _agreement_row(name, result))]
    head = ["", "`overhead`", "added, from outside", "nginx adds", "share"]
    return table(head, rows) if rows else ""


def _agreement_row(case: str, result: Result) -> list[str]:
    found = result.summaries.get(case, {})
    figures, nginx = found.get("tidegate", {}), found.get("nginx", {})
    if "inside_us" not in figures or "added_mean_us" not in figures:
        return []
    inside, outside = (figures[key].value.median for key in ("inside_us", "added_mean_us"))
    other = f"{nginx['added_mean_us'].value.median:,.0f}" if "added_mean_us" in nginx else "-"
    share = f"{inside / outside:.2f}" if outside > 0 else "-"
    return [case, f"{inside:,.0f}", f"{outside:,.0f}", other, share]


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [list(head), *map(list, rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    rule = ["-" * max(3, width) for width in widths]
    return "\n".join(_line(line, widths) for line in (lines[0], rule, *lines[1:]))


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    return "| " + " | ".join(map(str.ljust, cells, widths)) + " |"
