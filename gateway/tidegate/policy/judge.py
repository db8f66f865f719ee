"""Compares what became of a case with what was expected."""

from collections.abc import Iterator
from typing import Any

import msgspec

from tidegate.policy.cases import Expect, Prepared
from tidegate.policy.rehearsal import Rehearsal, Trial

NOTHING = "(nothing)"


class Difference(msgspec.Struct, frozen=True):
    """One expectation that does not hold."""

    what: str
    expected: Any
    found: Any


class Result(msgspec.Struct, frozen=True):
    """What came of one case."""

    name: str
    differences: tuple[Difference, ...]
    decided: str
    """By whom and why, in words."""

    @property
    def ok(self) -> bool:
        """Whether everything was as expected."""
        return not self.differences


async def run(rehearsal: Rehearsal, cases: tuple[Prepared, ...]) -> list[Result]:
    """Run the cases one by one."""
    return [judge(case, await rehearsal.run(case.given)) for case in cases]


def judge(case: Prepared, trial: Trial) -> Result:
    """Return how the trial differs from the case's expectations."""
    return Result(case.name, tuple(_differences(case.expect, trial)), decided(trial))


def decided(trial: Trial) -> str:
    """Return in words what became of the request."""
    refusal, by = trial.refusal, trial.refused_by
    if refusal is not None and by is not None:
        where = f" at {by.pointer}" if by.pointer else ""
        return f"{by.plugin}:{by.rule} refuses with {refusal.status}{where}: {refusal.message}"
    edits = [step.name for step in trial.steps if step.record.verdict == "edit"]
    if trial.answer is not None:
        return f"answered here with {trial.answer.status} ({trial.answer.rule})"
    return f"leaves, edited by {', '.join(edits)}" if edits else f"{trial.verdict}, unedited"


def _differences(expect: Expect, trial: Trial) -> Iterator[Difference]:
    for what, found in _facts(trial).items():
        expected = getattr(expect, what)
        if expected is not None and expected != found:
            yield Difference(what, expected, found)
    if expect.message is not None:
        message = trial.refusal.message if trial.refusal is not None else None
        if message is None or expect.message not in message:
            yield Difference("message", f"… {expect.message} …", message or NOTHING)
    yield from _body(expect, trial)
    yield from _notes(expect, trial)
    headers = {name.lower(): value for name, value in trial.headers}
    for name, value in expect.headers.items():
        if headers.get(name.lower()) != value:
            yield Difference(f"header {name}", value, headers.get(name.lower(), NOTHING))


def _facts(trial: Trial) -> dict[str, Any]:
    """Return what is compared as it is, by the name of its expectation."""
    refusal, by = trial.refusal, trial.refused_by
    document = trial.sent.document if trial.sent is not None else {}
    rule = trial.answer.rule if trial.answer is not None else None
    return {
        "verdict": trial.verdict,
        "by": by.plugin if by is not None else None,
        "rule": by.rule if by is not None else rule,
        "status": refusal.status if refusal is not None else None,
        "type": refusal.error_type if refusal is not None else None,
        "pointer": by.pointer if by is not None else None,
        "model": document.get("model"),
        "max_tokens": document.get("max_tokens"),
        "edited": tuple(step.name for step in trial.steps if step.record.verdict == "edit"),
        "team": trial.principal.team,
        "principal": trial.principal.id,
    }


def _body(expect: Expect, trial: Trial) -> Iterator[Difference]:
    if not (expect.sent or expect.holds or expect.lacks):
        return
    if trial.sent is None:
        yield Difference("sent", "a request that leaves", NOTHING)
        return
    for pointer, value in expect.sent.items():
        found = resolve(trial.sent.document, pointer)
        if found != value or type(found) is not type(value):
            yield Difference(f"sent {pointer}", value, found)
    text = msgspec.json.encode(trial.sent.document).decode()
    raw = trial.sent.raw.decode("utf-8", "replace")
    for part in expect.holds:
        if part not in raw and part not in text:
            yield Difference("holds", part, NOTHING)
    for part in expect.lacks:
        if part in raw or part in text:
            yield Difference("lacks", f"no {part!r}", "it is still there")


def resolve(document: Any, pointer: str) -> Any:
    """Return the value at a JSON pointer (RFC 6901), or `NOTHING`."""
    value = document
    for token in pointer.split("/")[1:]:
        key = token.replace("~1", "/").replace("~0", "~")
        if isinstance(value, dict) and key in value:
            value = value[key]
        elif isinstance(value, list) and key.isdigit() and int(key) < len(value):
            value = value[int(key)]
        else:
            return NOTHING
    return value


def _notes(expect: Expect, trial: Trial) -> Iterator[Difference]:
    found = [(d.plugin, d.rule, d.verdict) for d in trial.decisions]
    for note in expect.notes:
        wanted = note.split(":")
        # A rule may hold colons itself, as in `deny:claude-opus-*`.
        if not any(note in (f"{p}:{r}", f"{p}:{r}:{v}") for p, r, v in found):
            near = [f"{p}:{r}:{v}" for p, r, v in found if p == wanted[0]]
            yield Difference("notes", note, near or NOTHING)
