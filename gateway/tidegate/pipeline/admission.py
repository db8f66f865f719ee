"""Admission: the whole policy of "fail closed". A request leaves only if every policy says so."""

from collections.abc import Sequence

from tidegate.exchange import Credential, Exchange, Principal, Request
from tidegate.pipeline.batch import Batch
from tidegate.pipeline.host import Link, ask
from tidegate.pipeline.reading import Reading
from tidegate.pipeline.turns import in_turns
from tidegate.pipeline.weighing import Admission, bad_body, not_asked, record, weigh
from tidegate.plugin import Refuse, Stage
from tidegate.wire.body import EMPTY, Body, BodyError, alike, parse, parsing
from tidegate.wire.messages import EMPTY_VIEW, missing, view_of
from tidegate.wire.routes import CLOSED, Kind

__all__ = [
    "Admission",
    "admit",
    "bad_body",
    "bodiless_request",
    "read_in_turns",
    "read_request",
    "still_says",
]


def read_request(
    raw: bytes, kind: Kind, principal: Principal, credential: Credential | None
) -> Request:
    """Return the request that the first policy sees.

    Raises:
        BodyError: the body cannot be governed; the caller is told why.
    """
    return _request(parse(raw), kind, principal, credential)


async def read_in_turns(
    raw: bytes, kind: Kind, principal: Principal, credential: Credential | None
) -> Request:
    """Do the same, and let others have their turn meanwhile: megabytes take a while to read.

    Raises:
        BodyError: as `read_request` does.
    """
    return _request(await in_turns(parsing(raw)), kind, principal, credential)


def _request(
    body: Body, kind: Kind, principal: Principal, credential: Credential | None
) -> Request:
    seen = view_of(body, kind)
    return Request(body=body, view=seen, principal=principal, credential=credential)


def bodiless_request(principal: Principal, credential: Credential | None) -> Request:
    """Return the request of a route without a body."""
    return Request(body=EMPTY, view=EMPTY_VIEW, principal=principal, credential=credential)


async def admit(chain: Sequence[Link], exchange: Exchange, admission: Admission) -> None:
    """Ask every policy in order, until one refuses; `admission` says how it went.

    After an answer, only the rest of its stage is asked, as nothing leaves. Of a batch, the
    whole is put to policies that identify and authorize, and each request in it, as if it
    had come alone, to those that authorize, reserve and transform. Of a chat that its upstream
    converts, those that transform see its own bytes, and the others what it amounts to.
    """
    batch = Batch(exchange, admission) if exchange.route.kind is Kind.BATCHES else None
    chat = _reading(exchange, admission) if exchange.route.kind is Kind.CHAT else None
    authorized = False
    for at, link in enumerate(chain):
        if not authorized and link.stage > Stage.AUTHORIZE and admission.answer is None:
            authorized = True
            _check_authorized(exchange, admission)
        if admission.refusal is not None or link.stage > admission.answered_at:
            admission.decisions += map(not_asked, chain[at:])
            return
        if chat is not None:
            await chat.ask(link)
        elif batch is None or link.stage <= Stage.AUTHORIZE:
            await _ask(link, exchange, admission)
        if batch is not None and link.stage >= Stage.AUTHORIZE:
            await batch.ask(link)
    if not authorized and admission.refusal is None and admission.answer is None:
        _check_authorized(exchange, admission)


def _reading(exchange: Exchange, admission: Admission) -> Reading | None:
    """Return what the chat amounts to; one that amounts to nothing is refused."""
    try:
        return Reading(exchange, admission)
    except BodyError as error:
        admission.refuse(bad_body(error), "gateway")
        return None


async def _ask(link: Link, exchange: Exchange, admission: Admission) -> None:
    verdict = await ask(link, exchange, admission.request)
    record(link, verdict, admission)
    refusal = weigh(link, verdict, exchange, admission)
    if refusal is not None:
        admission.refuse(refusal, link.name)


def _check_authorized(exchange: Exchange, admission: Admission) -> None:
    """Refuse what nobody opened, and what lacks a field that nobody can put in any more."""
    if admission.refusal is not None:
        return
    kind = exchange.route.kind
    error = missing(admission.request.view, kind)
    if kind in CLOSED and not admission.opened:
        admission.refuse(_closed(kind), "gateway")
    elif error is not None:
        admission.refuse(bad_body(error), "gateway")


def _closed(kind: Kind) -> Refuse:
    what = "files" if "file" in kind else "batches"
    return Refuse(
        status=403,
        error_type="permission_error",
        message=f"{what} are not served here; the policy `features` can open them for a team",
        rule="endpoint",
    )


def still_says(dispatched: bytes, approved: Request, kind: Kind) -> bool:
    """Whether the bytes about to leave say what the policies approved, field by field.

    Only bodies that were edited need the question: the others were parsed as they leave.
    """
    try:
        body = parse(dispatched)
        return alike(body, approved.body) and view_of(body, kind) == approved.view
    except BodyError:
        return False
