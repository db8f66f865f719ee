"""What is done about the secrets of a body: edits, notes, or a refusal."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Literal, NamedTuple

from tidegate.plugin import Admit, Decision, Note, Refuse
from tidegate.wire.body import Body, Edit
from tidegate_plugins.redact.config import RedactConfig
from tidegate_plugins.redact.engine import CATALOGUE
from tidegate_plugins.redact.locate import Check, inside, literals
from tidegate_plugins.redact.placeholder import digest, placeholder
from tidegate_plugins.redact.scan import Hit
from tidegate_plugins.redact.walk import Path, Place, pointer

MOST_NOTES = 200
"""Findings that one record names; that there were more is said in one line."""


@dataclass(frozen=True, slots=True)
class Rulebook:
    """The configuration, made ready to answer what to do about a hit."""

    config: RedactConfig
    key: bytes
    groups: dict[str, str]
    version: str
    """Names the rules and the key in records."""

    def action(self, rule: str, team: str) -> str:
        """Return the action for a rule: the most particular word on it counts."""
        special = self.config.teams.get(team)
        for actions in (special.actions if special else {}, self.config.actions):
            for name in (rule, self.groups.get(rule, CATALOGUE)):
                if name in actions:
                    return actions[name]
        return (special and special.action) or self.config.action

    def refuses(self, place: Place, action: str, team: str) -> bool:
        """Whether a hit in a place refuses the request."""
        if place is Place.SIGNED:
            special = self.config.teams.get(team)
            return ((special and special.assistant) or self.config.assistant) == "refuse"
        return action == "block" or (
            place is Place.FIXED and action == "mask" and self.config.fixed == "refuse"
        )


@dataclass(slots=True)
class _Outcome:
    notes: list[Note] = field(default_factory=list)
    edits: list[tuple[Hit, str, str]] = field(default_factory=list)
    """The hit, its pointer, and what replaces it."""


class Judgement(NamedTuple):
    """What is done about one secret."""

    action: Literal["mask", "block", "detect", "allowed", "off"]
    where: str
    digest: str
    """The HMAC of the value, in hex."""


def judge(book: Rulebook, hit: Hit, team: str, names: Mapping[str, str]) -> Judgement:
    """Return what is done about a hit. `names` replace object keys in its pointer."""
    rule, place = hit.secret.rule, hit.leaf.place
    where, name = pointer(hit.leaf.path, names), digest(book.key, hit.value)
    action = book.action(rule, team)
    if action == "off":
        return Judgement("off", where, name)
    if allowed(book.config, rule, where, name):
        return Judgement("allowed", where, name)
    if book.refuses(place, action, team):
        return Judgement("block", where, name)
    masked = place is Place.TEXT and action == "mask"
    return Judgement("mask" if masked else "detect", where, name)


def decide(
    book: Rulebook, body: Body, hits: Sequence[Hit], team: str, check: Check = lambda: None
) -> Decision:
    """Return the decision about a body in which these secrets were found.

    `check` is called now and then, and may raise.
    """
    outcome = _Outcome()
    names = key_names(book, hits)
    for hit in hits:
        check()
        action, where, name = judge(book, hit, team, names)
        match action:
            case "block":
                return _refusal(hit.secret.rule, where, hit.leaf.place, outcome.notes)
            case "mask":
                outcome.edits.append((hit, where, placeholder(hit.secret.label, name).decode()))
            case "detect":
                outcome.notes.append(Note(hit.secret.rule, "found", where))
            case "allowed":
                outcome.notes.append(Note(hit.secret.rule, "allowed", where))
            case "off":
                pass
    return Admit(
        edits=_edits(body, outcome, check), notes=_bounded(outcome.notes), rule=book.version
    )


def findings(book: Rulebook, hits: Sequence[Hit], team: str) -> tuple[Note, ...]:
    """Return what is said of the secrets of a document that can only be looked at."""
    names = key_names(book, hits)
    notes: list[Note] = []
    for hit in hits:
        action, where, _ = judge(book, hit, team, names)
        if action != "off":
            verdict = "allowed" if action == "allowed" else "found"
            notes.append(Note(hit.secret.rule, verdict, where))
    return _bounded(notes)


def key_names(book: Rulebook, hits: Sequence[Hit]) -> dict[str, str]:
    """Return what to call object keys that hold secrets: pointers are written down."""
    names: dict[str, str] = {}
    for hit in hits:
        if hit.leaf.path and hit.leaf.path[1] == hit.leaf.text:
            names[hit.leaf.text] = placeholder(
                hit.secret.label, digest(book.key, hit.value)
            ).decode()
    return names


def allowed(config: RedactConfig, rule: str, where: str, name: str) -> bool:
    """Whether the configuration lets this finding be."""
    allow = config.allow
    return (
        rule in allow.rules
        or any(name.startswith(known) for known in allow.digests)
        or any(_matches(pattern, where) for pattern in allow.pointers)
    )


def _matches(pattern: str, where: str) -> bool:
    text = re.escape(pattern).replace(r"\*\*", ".*").replace(r"\*", "[^/]*")
    return re.fullmatch(text, where) is not None


def _edits(body: Body, outcome: _Outcome, check: Check) -> tuple[Edit, ...]:
    if not outcome.edits:
        return ()
    by_string = {path: list(group) for path, group in groupby(outcome.edits, _path_of)}
    where = literals(body.raw, body.document, by_string)
    return tuple(
        Edit(pointed, hit.secret.rule, start, end, text.encode())
        for path, group in by_string.items()
        for (hit, pointed, text), (start, end) in zip(
            group,
            inside(body.raw, where[path], [hit.secret[:2] for hit, _, _ in group], check),
            strict=True,
        )
    )


def _path_of(edit: tuple[Hit, str, str]) -> Path:
    return edit[0].leaf.path


_WHY = {
    Place.TEXT: "Remove it and send the request again.",
    Place.FIXED: "It stands where it cannot be replaced. Remove it and send the request again.",
    Place.SIGNED: "It stands in content that must not be changed. Start a new conversation without it.",
}


def _refusal(rule: str, where: str, place: Place, notes: list[Note]) -> Refuse:
    return Refuse(
        status=400,
        error_type="invalid_request_error",
        message=f"the request holds a secret at {where} (rule {rule}). {_WHY[place]}",
        rule=rule,
        pointer=where,
        notes=(*_bounded(notes), Note(rule, "blocked", where)),
    )


def _bounded(notes: list[Note]) -> tuple[Note, ...]:
    if len(notes) <= MOST_NOTES:
        return tuple(notes)
    return (*notes[:MOST_NOTES], Note("more", "found"))
