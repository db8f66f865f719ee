"""Clients that speak the OpenAI format, as the handler meets them."""

from collections.abc import Mapping

from msgspec import structs

from tidegate.config import OpenAI
from tidegate.exchange import Request
from tidegate.http.converting import ConvertingRelay, PassingRelay
from tidegate.http.relay import Relay
from tidegate.openai.client import caller_of
from tidegate.pipeline.conclude import Course
from tidegate.pipeline.weighing import edit_record
from tidegate.plugin import Answer
from tidegate.record import EditRecord
from tidegate.wire.body import Body, BodyError
from tidegate.wire.routes import Kind

ANSWERED = frozenset((Kind.MESSAGES, Kind.CHAT))
"""Kinds whose answers are inspected and kept."""


def recognize(course: Course, settings: OpenAI, headers: Mapping[str, str]) -> None:
    """Note in its course whether an exchange is such a client's, and under which route it is served."""
    exchange = course.exchange
    route, course.caller = caller_of(
        exchange.route,
        headers,
        chat=settings.chat_completions,
        default_max_tokens=settings.default_max_tokens,
        created=int(exchange.at),
    )
    if route is not exchange.route:
        course.exchange = structs.replace(exchange, route=route)


def outlined(course: Course, first: Request) -> Body:
    """Return the body whose outline is recorded: the one that policies decide on."""
    if course.caller is None:
        return first.body
    try:
        return Body(b"", course.caller.governed(first.body.document))
    except BodyError:
        return first.body  # about to be refused


def own_edits(course: Course) -> list[EditRecord]:
    """Return the gateway's own edits for the record."""
    edits = course.caller.edits if course.caller is not None else ()
    return [edit_record("gateway", edit) for edit in edits]


def relay_for(course: Course) -> type[Relay]:
    """Return the kind of relay that an exchange needs."""
    if course.caller is None:
        return Relay
    return ConvertingRelay if course.caller.converts else PassingRelay


def policys_answer(course: Course, answer: Answer) -> bytes:
    """Return what a policy answers, in the client's format."""
    if course.caller is None:
        return answer.body
    return course.caller.answered(answer.body, answer.content_type)
