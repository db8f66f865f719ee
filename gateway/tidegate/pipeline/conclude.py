"""Conclusion: what happened to one exchange, gathered on the way and written down at its end."""

import hashlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec
from msgspec.structs import replace

from tidegate.errors import place_of
from tidegate.exchange import Exchange, Principal
from tidegate.openai.client import Caller, How
from tidegate.pipeline.admission import Admission
from tidegate.plugin import Hold
from tidegate.record import (
    Bytes,
    ClientRecord,
    EditRecord,
    ExchangeRecord,
    Intent,
    ModelRecord,
    PrincipalRecord,
    RefusedBy,
    Sha256,
    Shape,
    Timing,
    TraceRecord,
    Usage,
)
from tidegate.wire.answer import limits_of
from tidegate.wire.capture import Capture
from tidegate.wire.counts import counts
from tidegate.wire.meter import Reading
from tidegate.wire.routes import Kind, Route

log = logging.getLogger(__name__)

MOST_EDITS = 200
"""That a record lists one by one: a body can hold a hundred thousand secrets."""


class Stamps(msgspec.Struct):
    """Monotonic nanoseconds; 0 where it has not come to that."""

    start: int = 0
    body: int = 0
    admitted: int = 0
    connected: int = 0
    dispatched: int = 0
    upstream_head: int = 0
    first_byte: int = 0
    first_token: int = 0
    last_byte: int = 0
    end: int = 0
    longest_gap: int = 0
    """Not a moment but a time: between two pieces of a stream, from its first token on."""


@dataclass(slots=True)
class Digests:
    """Running SHA-256 of the three bodies."""

    request_in: str | None = None
    request_out: str | None = None
    response: Any = field(default_factory=hashlib.sha256)


class Course(msgspec.Struct):
    """The course of one exchange, filled in by handler and relay as it goes."""

    exchange: Exchange
    worker: int
    config: str = ""
    admission: Admission | None = None
    principal: Principal | None = None
    asked: str | None = None
    """The model as the caller wrote it."""
    outline: dict[str, Any] = {}
    """The request as the caller wrote it, without its content."""
    dispatched: bool = False
    upstream: str | None = None
    """Name of the upstream that it goes to."""
    origin: str | None = None
    provider: str | None = None
    scheme: str = "http"
    """As the client speaks with the gateway."""
    caller: Caller | None = None
    """Of a client that speaks the OpenAI format."""
    status: int | None = None
    outcome: str = "failed"
    refused_by: RefusedBy | None = None
    error_type: str | None = None
    error: str | None = None
    reading: Reading | None = None
    upstream_request_id: str | None = None
    upstream_limits: bytes = b""
    """Lines, as in `Answer.limits`."""
    request_in: int = 0
    request_out: int = 0
    response: int = 0
    digests: Digests | None = None
    capture: Capture | None = None
    """The answer's copy, where a policy inspects answers."""
    intent: Intent | None = None
    """Once it is written, or kept to be."""
    record: ExchangeRecord | None = None
    """Once it is written."""
    at: Stamps = msgspec.field(default_factory=Stamps)


def intent_of(course: Course, request_out: int) -> Intent:
    """Return the record that is written before anything leaves."""
    admission = course.admission
    exchange = course.exchange
    return Intent(
        id=exchange.id,
        at=exchange.at,
        worker=course.worker,
        config=course.config,
        route=exchange.route.recorded,
        principal=principal_of(course),
        model=_model(course, None),
        stream=admission.request.view.stream if admission is not None else False,
        upstream=course.upstream,
        client=_client(exchange),
        trace=_trace(exchange),
        edits=bounded(admission.edits) if admission is not None else (),
        bytes=Bytes(course.request_in, request_out),
    )


def record_of(course: Course) -> ExchangeRecord:
    """Return the record of a concluded exchange."""
    admission, exchange, reading = course.admission, course.exchange, course.reading or Reading()
    view = admission.request.view if admission is not None else None
    intent = course.intent or intent_of(course, course.request_out)  # what both say is made once
    return ExchangeRecord(
        id=exchange.id,
        at=exchange.at,
        worker=course.worker,
        config=course.config,
        principal=intent.principal,
        route=exchange.route.recorded,
        model=_model(course, reading.model),
        stream=view.stream if view is not None else False,
        upstream=course.upstream,
        origin=course.origin,
        provider=course.provider,
        scheme=course.scheme,
        status=course.status,
        outcome=course.outcome,
        dispatched=course.dispatched,
        refused_by=course.refused_by,
        decisions=tuple(admission.decisions) if admission is not None else (),
        edits=intent.edits,
        usage=usage_of(reading.usage) if reading.usage is not None else None,
        usage_source=reading.source,
        stop_reason=reading.stop_reason,
        error_type=course.error_type or reading.error_type,
        error=course.error,
        upstream_request_id=course.upstream_request_id,
        response_id=reading.id,
        client=intent.client,
        trace=intent.trace,
        timing_ms=_timing(course.at),
        bytes=Bytes(course.request_in, course.request_out, course.response),
        sha256=_sha256(course.digests),
        events=reading.events,
        meter=reading.stopped,
        shape=_shape(course),
        upstream_limits=limits_of(course.upstream_limits.splitlines()),
        chat=_chat(course.caller),
    )


def _chat(caller: Caller | None) -> str | None:
    return None if caller is None or caller.how is How.NONE else caller.how.value


def bounded(edits: Sequence[EditRecord]) -> tuple[EditRecord, ...]:
    """Return the edits as a record lists them: the first ones, and the rest counted by rule."""
    rest: dict[tuple[str, str], EditRecord] = {}
    for edit in edits[MOST_EDITS:]:
        name = edit.plugin, edit.rule
        known = rest.get(name) or EditRecord("", edit.rule, 0, 0, edit.plugin, count=0)
        rest[name] = replace(
            known,
            bytes_before=known.bytes_before + edit.bytes_before,
            bytes_after=known.bytes_after + edit.bytes_after,
            count=known.count + 1,
        )
    return (*edits[:MOST_EDITS], *rest.values())


def outcome_of(course: Course) -> str:
    """Return how an answer that came to its end has ended."""
    reading = course.reading
    if course.status is not None and course.status >= 400:
        return "upstream_error"
    if reading is not None and reading.error_event:
        return "upstream_error_event"
    if reading is not None and reading.error_type is not None:
        return "upstream_error"  # some providers send their errors with 200
    if reading is not None and not reading.complete and reading.stopped is None:
        course.error = "the stream ended without its closing event"
        return "upstream_cut"
    return "complete"


async def settle(holds: Sequence[Hold], record: ExchangeRecord) -> None:
    """Settle every hold once, the last taken first; one that fails does not stop the others."""
    for hold in reversed(holds):
        try:
            await hold.settle(record)
        except Exception as error:  # noqa: BLE001 - a plugin may raise anything
            log.error("a hold could not be settled: %s (%s)", place_of(error), record.id)  # noqa: TRY400


def usage_of(raw: dict[str, Any]) -> Usage:
    """Return the API's usage object in disjoint classes (messages-api sheet, section 3.2).

    Writes to the cache are split by lifetime where the answer splits them. Where its final
    sum is larger than the split, which only the first event carries, the rest goes to the
    longer lifetime if that is the only one seen, and to the shorter one otherwise.
    """
    plain, read, write, output = counts(raw, *_COUNTS)
    short, long = counts(raw.get("cache_creation"), *_LIFETIMES)
    if "cache_creation_input_tokens" in raw:
        rest = write - short - long
        if rest < 0:
            short, long = (write, 0) if not long else (0, write) if not short else (short, long)
        elif long and not short:
            long += rest
        else:
            short += rest
    searches, fetches = counts(raw.get("server_tool_use"), *_TOOLS)
    (thinking,) = counts(raw.get("output_tokens_details"), "thinking_tokens")
    iterations = raw.get("iterations")
    return Usage(
        input=plain,
        cache_read=read,
        cache_write_5m=short,
        cache_write_1h=long,
        output=output,
        thinking=thinking,
        web_search_requests=searches,
        web_fetch_requests=fetches,
        service_tier=_word(raw, "service_tier"),
        speed=_word(raw, "speed"),
        inference_geo=_word(raw, "inference_geo"),
        iterations=tuple([i for i in iterations if isinstance(i, dict)])
        if isinstance(iterations, list)
        else (),
    )


_COUNTS = (
    "input_tokens",
    "cache_read_input_tokens",
    "cache_creation_input_tokens",
    "output_tokens",
)
_LIFETIMES = ("ephemeral_5m_input_tokens", "ephemeral_1h_input_tokens")
_TOOLS = ("web_search_requests", "web_fetch_requests")


def _word(raw: dict[str, Any], key: str) -> str | None:
    value = raw.get(key)
    return value if isinstance(value, str) else None


def principal_of(course: Course) -> PrincipalRecord:
    """Return whom the exchange is accounted to, as records have it."""
    principal = course.principal
    return PrincipalRecord() if principal is None else PrincipalRecord(principal.id, principal.team)


def _model(course: Course, answered: str | None) -> ModelRecord:
    sent = course.admission.request.view.model if course.admission is not None else None
    return ModelRecord(course.asked, sent if course.dispatched else None, answered)


def _client(exchange: Exchange) -> ClientRecord:
    client = exchange.client
    return ClientRecord(
        client.session or None,
        client.agent or None,
        client.parent_agent or None,
        client.app or None,
    )


def _trace(exchange: Exchange) -> TraceRecord:
    trace = exchange.trace
    return TraceRecord(trace.trace_id, trace.span_id, trace.parent_id or None, trace.flags)


ACCOUNT_HEADERS = ("anthropic-workspace-id", "anthropic-user-profile-id")


def _shape(course: Course) -> Shape:
    if course.admission is None:
        return Shape()
    view = course.admission.request.view
    headers = course.exchange.headers
    betas = headers.get("anthropic-beta", "")
    return Shape(
        max_tokens=view.max_tokens,
        messages=view.messages,
        tools=view.tools,
        version=headers.get("anthropic-version"),
        betas=tuple(beta.strip() for beta in betas.split(",")) if betas else (),
        headers=tuple(name for name in ACCOUNT_HEADERS if name in headers),
        outline=course.outline or _named(course.exchange.route),
    )


def _named(route: Route) -> dict[str, Any]:
    """Return the outline of a request without a body, which may name a model in its path."""
    return {"model": route.path.rpartition("/")[2]} if route.kind is Kind.MODEL else {}


def _sha256(digests: Digests | None) -> Sha256 | None:
    if digests is None:
        return None
    return Sha256(digests.request_in, digests.request_out, digests.response.hexdigest())


def _timing(at: Stamps) -> Timing:
    start = at.start
    request = _between(at.body, at.admitted) + _between(at.connected, at.dispatched)
    response = _between(at.upstream_head, at.first_byte)
    admit, dispatched, head, byte, token, last, total = [
        (stamp - start) // 1000 / 1000 if stamp else None  # to the microsecond
        for stamp in (
            at.admitted,
            at.dispatched,
            at.upstream_head,
            at.first_byte,
            at.first_token,
            at.last_byte,
            at.end,
        )
    ]
    return Timing(
        admit=admit,
        dispatched=dispatched,
        upstream_head=head,
        first_byte=byte,
        first_token=token,
        last_byte=last,
        total=total or 0.0,
        overhead=round(request + response, 3),
        overhead_request=request,
        overhead_response=response,
        connect=_between(at.admitted, at.connected) if at.connected else None,
        longest_gap=at.longest_gap // 1000 / 1000 if at.longest_gap else None,
    )


def _between(earlier: int, later: int) -> float:
    return (later - earlier) // 1000 / 1000 if later and earlier else 0.0
