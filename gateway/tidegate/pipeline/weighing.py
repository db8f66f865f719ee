"""One policy's verdict: how it takes effect on a request, and what of it is written down."""

from collections.abc import Sequence

import msgspec
from msgspec.structs import replace

from tidegate.exchange import Exchange, Request
from tidegate.pipeline.host import NOT_EVALUATED, Link, Verdict
from tidegate.plugin import Admit, Answer, Hold, Note, Refuse, Stage
from tidegate.record import DecisionRecord, EditRecord, RefusedBy
from tidegate.wire.body import EMPTY, Body, BodyError, Edit, parse, splice
from tidegate.wire.messages import view_of
from tidegate.wire.outline import outline_of
from tidegate.wire.routes import Kind


class Admission(msgspec.Struct):
    """What admission has come to so far. Grows while policies are asked.

    It is filled in place, so that what was taken and decided is known even if the asking
    is cancelled half way.
    """

    request: Request
    holds: list[Hold] = []
    decisions: list[DecisionRecord] = []
    edits: list[EditRecord] = []
    headers: list[tuple[str, str]] = []
    credential_consumed: bool = False
    credential_forwarded: bool = False
    """It leaves with the caller's own credential or not at all."""
    consumed_headers: frozenset[str] = frozenset()
    opened: bool = False
    """A policy has opened an endpoint that is closed otherwise."""
    refusal: Refuse | None = None
    refused_by: RefusedBy | None = None
    answer: Answer | None = None
    """The first answer by a policy, which stands if nobody refuses."""
    answered_at: Stage = Stage.TRANSFORM

    @property
    def admitted(self) -> bool:
        """Whether every policy asked so far has admitted."""
        return self.refusal is None

    def forget_body(self) -> None:
        """Let go of what has been sent: conversations are large, and answers take minutes."""
        self.request = replace(self.request, body=EMPTY, credential=None)

    def refuse(self, refusal: Refuse, plugin: str) -> None:
        """End here."""
        self.refusal = refusal
        self.refused_by = RefusedBy(plugin, refusal.rule, refusal.pointer)


def bad_body(error: BodyError) -> Refuse:
    """Return the refusal of a body that the gateway cannot work with."""
    return Refuse(
        status=400,
        error_type="invalid_request_error",
        message=error.message,
        rule="body",
        pointer=error.pointer,
    )


def not_asked(link: Link) -> DecisionRecord:
    """Return what is written of a policy that it did not come to."""
    return DecisionRecord(link.name, "", NOT_EVALUATED, link.mode)


def weigh(link: Link, verdict: Verdict, exchange: Exchange, admission: Admission) -> Refuse | None:
    """Let the verdict take effect; return the refusal, if it is one."""
    decision = verdict.decision
    if decision.hold is not None:
        admission.holds.append(decision.hold)  # in shadow too: it counts, and is settled
    if isinstance(decision, Admit):
        if decision.consumes_credential:
            admission.credential_consumed = True
        if decision.consumes_headers:
            admission.consumed_headers |= decision.consumes_headers
        if decision.opens and link.stage is Stage.AUTHORIZE and not link.shadow:
            admission.opened = True
        return None if link.shadow else _apply(link, decision, exchange, admission)
    if isinstance(decision, Answer):
        if not link.shadow and admission.answer is None:
            admission.answer, admission.answered_at = decision, link.stage
        return None
    failed = verdict.word != "refuse"
    if link.shadow or (failed and link.admit_on_error):
        return None
    return decision


def record(link: Link, verdict: Verdict, admission: Admission) -> None:
    """Write the verdict down, with what the policy found besides."""
    decision = verdict.decision
    mode = link.mode
    if link.admit_on_error and not link.shadow and verdict.word in ("error", "timeout"):
        mode = "admit"
    pointer = decision.pointer if type(decision) is Refuse else ""
    first = DecisionRecord(link.name, decision.rule, verdict.word, mode, pointer, verdict.us)
    admission.decisions.append(first)
    admission.decisions += [_note(link.name, note, mode) for note in decision.notes]


def _note(name: str, note: Note, mode: str) -> DecisionRecord:
    return DecisionRecord(name, note.rule, note.verdict, mode, note.pointer)


def _apply(link: Link, decision: Admit, exchange: Exchange, admission: Admission) -> Refuse | None:
    """Take the decision in; return a refusal if it cannot be applied."""
    if decision.principal is None and not decision.edits and not decision.headers:
        return None
    request = admission.request
    if decision.principal is not None:
        request = replace(request, principal=decision.principal)
        admission.credential_forwarded = decision.forwards_credential
    if decision.edits:
        try:
            request = _edited(link, request, decision.edits, exchange.route.kind)
        except (BodyError, ValueError):
            return bad_edit(link)
        admission.edits += [edit_record(link.name, edit) for edit in decision.edits]
    admission.headers += decision.headers
    admission.request = request
    return None


def _edited(link: Link, request: Request, edits: Sequence[Edit], kind: Kind) -> Request:
    """Return the request with the edits applied.

    Raises:
        BodyError, ValueError: the result is no request, or not the one that was authorized.
    """
    body = apply_edits(request.body, edits)
    seen = view_of(body, kind)
    if link.stage > Stage.AUTHORIZE and (
        seen != request.view or outline_of(body) != outline_of(request.body)
    ):
        raise ValueError("an edit after authorization changes what was authorized")
    return replace(request, body=body, view=seen)


def bad_edit(link: Link) -> Refuse:
    """Return the refusal where a policy's edits cannot be applied."""
    return Refuse(
        status=500,
        error_type="api_error",
        message=f"the gateway's policy `{link.name}` made an edit that breaks the request",
        rule="bad_edit",
    )


def apply_edits(body: Body, edits: Sequence[Edit]) -> Body:
    """Return the body with the edits spliced in, read anew.

    Raises:
        BodyError: the result is not a body any more.
        ValueError: the edits overlap or lie outside of it.
    """
    return parse(splice(body.raw, edits))


def edit_record(name: str, edit: Edit) -> EditRecord:
    """Return what is written of an edit by the policy of that name."""
    return EditRecord(
        pointer=edit.pointer,
        rule=edit.rule,
        bytes_before=edit.end - edit.start,
        bytes_after=len(edit.replacement),
        plugin=name,
        offset=edit.start,
    )
