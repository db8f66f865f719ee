"""The contract as pure functions: a value in, what is wrong with it out."""

import re
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from tidegate.exchange import Principal, Request
from tidegate.plugin import Admit, Answer, Decision, Note, PluginConfig, PluginSpec, Refuse, Stage
from tidegate.wire.body import BodyError, Edit, escape, parse, splice

MAX_MESSAGE = 2000
_HEADER = re.compile(r"x-tidegate-[a-z0-9-]+")
_HEADER_VALUE = re.compile(r"[\x21-\x7e]([\x20-\x7e]*[\x21-\x7e])?")
_ERROR_TYPE = re.compile(r"[a-z]+(_[a-z]+)*")


def spec_problems(spec: object) -> Iterator[str]:
    """What is wrong with what an entry point names."""
    if not isinstance(spec, PluginSpec):
        yield f"the entry point must name a PluginSpec, not {type(spec).__name__}"
        return
    # Nobody but a type checker has looked at these yet, and not every author runs one.
    opener: object = spec.open
    stage: object = spec.stage
    config: object = spec.config
    if not callable(opener):
        yield "open must be callable: open(config, host)"
    if stage is not None and not isinstance(stage, Stage):
        yield "stage must be a Stage, or None for an observer"
    if not spec.summary.strip():
        yield "summary is empty: `tidegate plugins` has nothing to say about it"
    if isinstance(config, type) and issubclass(config, PluginConfig):
        yield from _config_problems(config)
    else:
        yield "config must be a subclass of PluginConfig"


def _config_problems(config: type[PluginConfig]) -> Iterator[str]:
    """Every table of the configuration must be frozen, and must not swallow a misspelt key."""
    try:
        schema = msgspec.json.schema(config)
        kinds = list(_structs(msgspec.inspect.type_info(config)))
    except TypeError as error:
        yield f"config has no JSON Schema: {error}"
        return
    if not schema:
        yield "config has an empty JSON Schema"
    for kind in kinds:
        if not kind.__struct_config__.frozen:
            yield f"config: {kind.__name__} is not frozen; declare it with frozen=True"
        if not kind.__struct_config__.forbid_unknown_fields:
            yield f"config: {kind.__name__} takes unknown keys; forbid_unknown_fields=True"


def _structs(info: object, seen: set[int] | None = None) -> Iterator[type[msgspec.Struct]]:
    """Yield every Struct type within a type, wherever it is nested."""
    seen = set() if seen is None else seen
    if id(info) in seen:
        return
    seen.add(id(info))
    if isinstance(info, msgspec.inspect.StructType):
        yield info.cls
        for field in info.fields:
            yield from _structs(field.type, seen)
        return
    if isinstance(info, msgspec.inspect.Type):
        for name in ("item_type", "item_types", "key_type", "value_type", "types", "type"):
            inner = getattr(info, name, ())
            for item in inner if isinstance(inner, tuple) else (inner,):
                yield from _structs(item, seen)


def decision_problems(
    decision: object, request: Request, stage: Stage, secrets: Sequence[str] = ()
) -> Iterator[str]:
    """What is wrong with a decision about `request`.

    `secrets` must not appear in anything that the decision says: they are what the caller
    presented, and what stands in the prompt.
    """
    if type(decision) is Admit:
        yield from _admit_problems(decision, request, stage)
    elif type(decision) is Refuse:
        yield from _refuse_problems(decision)
    elif type(decision) is Answer:
        yield from _answer_problems(decision, stage)
    else:
        yield f"returned {type(decision).__name__}, not Admit, Refuse or Answer"
        return
    yield from _note_problems(decision.notes)
    yield from _header_problems(decision.headers)
    if decision.hold is not None and not callable(getattr(decision.hold, "settle", None)):
        yield "gives a hold without `settle`"
    said = list(_said(decision))
    for secret in secrets:
        if secret and any(secret in text for text in said):
            yield "repeats the caller's credential or content in its decision"
            return


def note_problems(notes: object, secrets: Sequence[str] = ()) -> Iterator[str]:
    """What is wrong with the notes of an inspection; `secrets` stood in the answer."""
    found = list(_note_problems(notes))
    yield from found
    if found or not isinstance(notes, tuple):
        return
    said = [text for note in notes for text in (note.rule, note.verdict, note.pointer)]
    if any(secret in text for secret in secrets for text in said):
        yield "repeats content of the answer in its notes"


def _refuse_problems(decision: Refuse) -> Iterator[str]:
    if type(decision.status) is not int or not 400 <= decision.status <= 599:
        yield f"refuses with status {decision.status!r}; 4xx and 5xx are refusals"
    if not _ERROR_TYPE.fullmatch(decision.error_type):
        yield f"refuses with error type {decision.error_type!r}; see tidegate.wire.errors"
    if not decision.rule:
        yield "refuses without naming the rule"
    if not decision.message.strip():
        yield "refuses without a message; say what the caller can change"
    if len(decision.message) > MAX_MESSAGE:
        yield f"refuses with a message of more than {MAX_MESSAGE} characters"
    if not decision.message.replace("\n", "").isprintable():
        yield "refuses with control characters in its message"
    if decision.pointer and not decision.pointer.startswith("/"):
        yield f"points with {decision.pointer!r}; a JSON pointer begins with /"
    wait = decision.retry_after_s
    if wait is not None and (type(wait) is not int or wait < 0):
        yield f"refuses with retry_after_s={wait!r}; whole seconds"


def _admit_problems(decision: Admit, request: Request, stage: Stage) -> Iterator[str]:
    if decision.principal is not None:
        yield from _principal_problems(decision.principal, stage)
    if decision.consumes_credential and stage is not Stage.IDENTIFY:
        yield "consumes the credential, which only IDENTIFY policies may"
    if decision.opens and stage is not Stage.AUTHORIZE:
        yield "opens an endpoint, which only AUTHORIZE policies may"
    if not decision.evaluated and (decision.edits or decision.hold is not None):
        yield "has not evaluated the request, but takes or edits something"
    yield from edit_problems(request.body.raw, decision.edits)


def _answer_problems(decision: Answer, stage: Stage) -> Iterator[str]:
    if stage is Stage.IDENTIFY:
        yield "answers, which IDENTIFY policies may not"
    if type(decision.status) is not int or not 200 <= decision.status <= 299:
        yield f"answers with status {decision.status!r}; what is no success is a Refuse"
    if not decision.rule:
        yield "answers without naming the rule"
    if not _HEADER_VALUE.fullmatch(decision.content_type):
        yield "answers with a content type that is no header value"


def _header_problems(headers: Sequence[tuple[str, str]]) -> Iterator[str]:
    for name, value in headers:
        if not _HEADER.fullmatch(name):
            yield f"sets the header {name!r}; the names are x-tidegate-…, in lower case"
        if not _HEADER_VALUE.fullmatch(value):
            yield f"sets the header {name!r} to something that is no header value"


def _principal_problems(principal: Principal, stage: Stage) -> Iterator[str]:
    if stage is not Stage.IDENTIFY:
        yield "sets the principal, which only IDENTIFY policies may"
    if not principal.id or not principal.team:
        yield "sets a principal without id or team"


def _note_problems(notes: object) -> Iterator[str]:
    if type(notes) is not tuple or not all(type(note) is Note for note in notes):
        yield "notes must be a tuple of Note"
        return
    for note in notes:
        if not note.rule or not note.verdict:
            yield "gives a note without rule or verdict"
        if note.pointer and not note.pointer.startswith("/"):
            yield f"points with {note.pointer!r}; a JSON pointer begins with /"


def _said(decision: Decision) -> Iterator[str]:
    """Every text of a decision that is recorded or sent back."""
    yield decision.rule
    for header in decision.headers:
        yield from header
    for note in decision.notes:
        if type(note) is Note:
            yield from (note.rule, note.verdict, note.pointer)
    if isinstance(decision, Refuse):
        yield from (decision.message, decision.error_type, decision.pointer)
        return
    if isinstance(decision, Answer):
        yield decision.body.decode("utf-8", "replace")
        return
    for edit in decision.edits:
        yield from (edit.pointer, edit.rule)
    if decision.principal is not None:
        yield from (decision.principal.id, decision.principal.team)
        yield from decision.principal.labels.values()


def edit_problems(raw: bytes, edits: Sequence[Edit]) -> Iterator[str]:
    """What is wrong with edits of a body: where they lie, and what they make of it."""
    if not edits:
        return
    if any(not edit.rule for edit in edits):
        yield "edits without naming the rule"
    if not raw:
        yield "edits a request that has no body"
        return
    try:
        edited = parse(splice(raw, edits))
    except ValueError as error:
        yield f"edits: {error}"
        return
    except BodyError as error:
        yield f"edits break the body: {error.message}"
        return
    yield from _misplaced(raw, edits)
    new = _inserted(raw, edits)
    for pointer in new - {value.pointer for value in edited.values()}:
        yield f"edits {pointer!r}, which is not in the body, and does not bring it in"
    at = shape_difference(parse(raw).document, edited.document, new=new)
    if at is not None:
        yield f"edits change the structure of the body at {at or 'its top'}"


def _inserted(raw: bytes, edits: Sequence[Edit]) -> frozenset[str]:
    """The pointers of members that the edits bring in."""
    there = {value.pointer for value in parse(raw).values()}
    return frozenset(edit.pointer for edit in edits if edit.start == edit.end) - there


def _misplaced(raw: bytes, edits: Sequence[Edit]) -> Iterator[str]:
    spans = {value.pointer: value for value in parse(raw).values()}
    for edit in edits:
        value = spans.get(edit.pointer)
        holder = spans.get(edit.pointer.rpartition("/")[0])
        if value is not None:
            if not value.start <= edit.start <= edit.end <= value.end:
                yield f"edits {edit.start}-{edit.end}, outside of the value at {edit.pointer!r}"
        elif edit.start != edit.end or holder is None or raw[holder.start] != 0x7B:
            yield f"edits {edit.pointer!r}, which is not in the body"


def shape_difference(
    before: Any, after: Any, pointer: str = "", *, new: frozenset[str] = frozenset()
) -> str | None:
    """Return where two documents differ in keys, lengths or types; None if nowhere.

    `new` are pointers of members that `after` may have beyond those of `before`.
    """
    if type(before) is not type(after):
        return pointer
    if type(before) is dict:
        added = [key for key in after if key not in before]
        if any(f"{pointer}/{escape(key)}" not in new for key in added):
            return pointer
        if list(before) != [key for key in after if key in before]:
            return pointer
        keys: list[Any] = list(before)
    elif type(before) is list:
        if len(before) != len(after):
            return pointer
        keys = list(range(len(before)))
    else:
        return None
    for key in keys:
        token = escape(key) if type(key) is str else key
        found = shape_difference(before[key], after[key], f"{pointer}/{token}", new=new)
        if found is not None:
            return found
    return None
