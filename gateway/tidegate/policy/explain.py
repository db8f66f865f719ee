"""Explains a decision: what each policy saw, said and changed. No secret is shown.

What an edit took out is shown only where it is a number or a single word in front of the
policies that change prompts: everything else may be what had to go.
"""

import re
from collections.abc import Callable, Iterable, Iterator

import msgspec

from tidegate.pipeline.host import NOT_EVALUATED
from tidegate.plugin import Admit, Stage
from tidegate.policy.rehearsal import Step, Trial
from tidegate.record import DecisionRecord
from tidegate.wire.body import Edit

Paint = Callable[[str, str], str]

CONTEXT_BYTES = 24
"""Shown of what leaves, on either side of an edit."""

_PLAIN = re.compile(rb'-?[0-9]{1,12}|true|false|null|"claude-[A-Za-z0-9._:@\[\]-]{1,80}"')


class EditShown(msgspec.Struct, frozen=True):
    """One edit, with nothing in it that it took out."""

    pointer: str
    rule: str
    before: str
    after: str


class StepShown(msgspec.Struct, frozen=True):
    """One policy's part."""

    plugin: str
    stage: str
    verdict: str
    mode: str
    rule: str
    pointer: str
    us: int
    message: str
    edits: tuple[EditShown, ...] = ()
    notes: tuple[str, ...] = ()


class Change(msgspec.Struct, frozen=True):
    """A place of the bytes that leave where something was edited, with what is around it."""

    at: int
    """Byte offset in what leaves."""
    text: str
    """`before[-taken out-]{+put in+}after`"""


class Explanation(msgspec.Struct, frozen=True):
    """What would become of a request, and why."""

    route: str
    team: str
    principal: str
    verdict: str
    refused_by: str
    status: int | None
    message: str
    steps: tuple[StepShown, ...]
    headers: dict[str, str]
    bytes_before: int
    bytes_after: int | None
    changes: tuple[Change, ...]


def explain(trial: Trial, stages: dict[str, Stage], bytes_before: int) -> Explanation:
    """Return the explanation of a trial; `stages` is where each policy stands, in order."""
    asked = {step.name: _step(step, stages, trial.decisions) for step in trial.steps}
    by, refusal = trial.refused_by, trial.refusal
    return Explanation(
        route=trial.exchange.route.kind.value,
        team=trial.principal.team,
        principal=trial.principal.id,
        verdict=trial.verdict,
        refused_by=f"{by.plugin}:{by.rule}" if by is not None else "",
        status=refusal.status if refusal is not None else None,
        message=refusal.message if refusal is not None else "",
        steps=tuple(asked.get(name) or _left_out(name, stage) for name, stage in stages.items()),
        headers=dict(trial.headers),
        bytes_before=bytes_before,
        bytes_after=len(trial.sent.raw) if trial.sent is not None else None,
        changes=tuple(_changes(trial)),
    )


def _left_out(name: str, stage: Stage) -> StepShown:
    known = stage is Stage.IDENTIFY
    why = "who it is is given" if known else "it takes something, and is not asked here"
    return StepShown(name, stage.name.lower(), NOT_EVALUATED, "enforce", "", "", 0, why)


def _step(step: Step, stages: dict[str, Stage], records: Iterable[DecisionRecord]) -> StepShown:
    record = step.record
    own = [r for r in records if r.plugin == step.name and r is not record]
    return StepShown(
        plugin=step.name,
        stage=stages[step.name].name.lower() if step.name in stages else "",
        verdict=record.verdict,
        mode=record.mode,
        rule=record.rule,
        pointer=record.pointer,
        us=record.us,
        message=step.error or getattr(step.decision, "message", ""),
        edits=tuple(_edit(step, edit) for edit in _edits(step)),
        notes=tuple(f"{r.rule} {r.verdict} {r.pointer}".strip() for r in own),
    )


def _edits(step: Step) -> tuple[Edit, ...]:
    return step.decision.edits if isinstance(step.decision, Admit) else ()


def _edit(step: Step, edit: Edit) -> EditShown:
    after = edit.replacement.decode("utf-8", "replace")
    return EditShown(edit.pointer, edit.rule, taken_out(step, edit), after[:200])


def taken_out(step: Step, edit: Edit) -> str:
    """Return what an edit took out, if it can be shown, and its size otherwise."""
    before = step.before.raw[edit.start : edit.end]
    if not before:
        return ""
    return before.decode() if _PLAIN.fullmatch(before) else f"({len(before)} bytes)"


# the bytes that leave


class _Span(msgspec.Struct):
    """Where an edit's replacement stands now."""

    start: int
    end: int
    before: str


def _changes(trial: Trial) -> Iterator[Change]:
    """Yield the edited places of what leaves; context is of what leaves, never of what came."""
    if trial.sent is None:
        return
    raw = trial.sent.raw
    for span in _spans(trial.steps):
        left = raw[max(0, span.start - CONTEXT_BYTES) : span.start].decode("utf-8", "replace")
        inside = raw[span.start : span.end].decode("utf-8", "replace")
        right = raw[span.end : span.end + CONTEXT_BYTES].decode("utf-8", "replace")
        yield Change(span.start, f"{left}[-{span.before}-]{{+{inside}+}}{right}")


def _spans(steps: Iterable[Step]) -> list[_Span]:
    """Follow every edit through those that came after it, to the final offsets."""
    spans: list[_Span] = []
    for step in steps:
        if step.record.mode == "shadow":
            continue
        moved = 0
        for edit in sorted(_edits(step), key=lambda edit: edit.start):
            start = edit.start + moved
            grown = len(edit.replacement) - (edit.end - edit.start)
            spans = [s for s in spans if not start <= s.start < start + edit.end - edit.start]
            for span in spans:
                if span.start >= start:
                    span.start, span.end = span.start + grown, span.end + grown
            spans.append(_Span(start, start + len(edit.replacement), taken_out(step, edit)))
            moved += grown
    return sorted(spans, key=lambda span: span.start)


# as a tree


def tree(shown: Explanation, paint: Paint) -> Iterator[str]:
    """Yield the explanation as lines; `paint(text, colour)` colours, or does not."""
    who = f"{shown.principal} of team {shown.team}"
    yield f"{shown.route} as {who}, {shown.bytes_before} bytes"
    for step in shown.steps:
        yield from _branch(step, paint)
    if shown.verdict == "refuse":
        head = f"refused by {shown.refused_by} with {shown.status}"
        yield f"└─ {paint(head, 'red')}: {shown.message}"
        return
    if shown.bytes_after is None:
        yield f"└─ {paint('answered here', 'green')}, nothing leaves"
        return
    size = f"{shown.bytes_after} bytes" if shown.changes else "byte for byte as it came"
    yield f"└─ {paint('leaves', 'green')}, {size}"
    for name, value in shown.headers.items():
        yield f"     {name}: {value}"
    for change in shown.changes:
        yield f"     @{change.at}  {paint(change.text, 'yellow')}"


_COLOURS = {"refuse": "red", "error": "red", "timeout": "red", "edit": "yellow", "admit": "green"}


def _branch(step: StepShown, paint: Paint) -> Iterator[str]:
    verdict = paint(f"{step.verdict:<13}", _COLOURS.get(step.verdict, "grey"))
    rule = " ".join(part for part in (step.rule, step.pointer) if part)
    mode = f" [{step.mode}]" if step.mode != "enforce" else ""
    took = f"{step.us:>7} µs" if step.verdict != NOT_EVALUATED or step.us else ""
    yield f"├─ {step.plugin:<12} {verdict} {rule + mode:<40} {took}".rstrip()
    lines = [f"{e.pointer or '/'}  {e.before} → {e.after}  ({e.rule})" for e in step.edits]
    lines += step.notes
    lines += [step.message] if step.message else []
    for number, line in enumerate(lines, 1):
        yield f"│  {'└' if number == len(lines) else '├'}─ {line}"
