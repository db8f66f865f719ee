"""The life of one exchange, from the request's head to its record. Read `exchange` first."""

import asyncio
import contextlib
import hashlib
import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass

from aiohttp import web

from tidegate.clock import Clock
from tidegate.errors import JournalError, place_of
from tidegate.exchange import ANONYMOUS
from tidegate.http import reply
from tidegate.http.callers import (
    ANSWERED,
    outlined,
    own_edits,
    policys_answer,
    recognize,
    relay_for,
)
from tidegate.http.connection import ClientConnection
from tidegate.http.head import Head, head_of
from tidegate.http.pool import Pool
from tidegate.http.relay import Relay
from tidegate.http.reply import Refusal, Written, refuse
from tidegate.http.request import check_length, exchange_of, no_exchange, read_body
from tidegate.http.sending import own_headers, own_lines, request_head, target_of
from tidegate.http.upstream import UpstreamError
from tidegate.journal.writer import Writer
from tidegate.pipeline import conclude
from tidegate.pipeline.admission import (
    Admission,
    admit,
    bad_body,
    bodiless_request,
    read_in_turns,
    still_says,
)
from tidegate.pipeline.conclude import Course, Digests
from tidegate.pipeline.generation import Generation
from tidegate.pipeline.ledger import Ledger
from tidegate.pipeline.targets import Target
from tidegate.pipeline.turns import in_turns
from tidegate.plugin import Answer
from tidegate.record import RefusedBy
from tidegate.wire.body import BodyError
from tidegate.wire.headers import Pair
from tidegate.wire.outline import outlining
from tidegate.wire.routes import GOVERNED_BODIES, LOCAL, WITH_BODY, Kind

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Serving:
    """What new exchanges run under: a generation, and its connections."""

    generation: Generation
    pools: Mapping[str, Pool]
    """By the upstream's name."""


class Handler:
    """Serves the exchanges of one worker. `serving` is replaced whole on a reload."""

    def __init__(self, serving: Serving, writer: Writer, clock: Clock, worker: int) -> None:
        self.serving = serving
        self.inflight = 0
        self.draining = False
        self._ledger = Ledger(writer, clock)
        self._clock = clock
        self._worker = worker
        self._idle = asyncio.Event()
        self._idle.set()

    async def exchange(self, request: web.BaseRequest) -> web.StreamResponse:
        """Serve one exchange: admit, forward, relay, conclude."""
        serving = self.serving
        serving.generation.lease()
        self.inflight += 1
        self._idle.clear()
        head = head_of(request)
        course = self._begin(request, head, serving.generation)
        try:
            if course.exchange.route.kind in LOCAL:
                return self._answer_locally(request, course)
            answer = await self._admit(request, head, course, serving.generation)
            if answer is not None:
                return self._answer_for(request, course, answer)
            return await self._forward(request, head, course, serving)
        except Refusal as refusal:
            return self._refuse(request, course, refusal)
        except asyncio.CancelledError:
            course.outcome = "drained" if self.draining else "client_gone"
            raise
        except Exception as error:  # noqa: BLE001 - no content and no credential may reach a traceback
            log.error("exchange %s failed: %s", course.exchange.id, place_of(error))  # noqa: TRY400
            return self._fail(request, course)
        finally:
            self.inflight -= 1
            if not self.inflight:
                self._idle.set()
            course.at.end = course.at.end or time.monotonic_ns()
            self._ledger.conclude(course, serving.generation)

    def _begin(self, request: web.BaseRequest, head: Head, generation: Generation) -> Course:
        """Fix what is known from the head: route, ids, what the client says of itself."""
        start = time.monotonic_ns()
        exchange = exchange_of(request, head.client, self._clock.now())
        course = Course(exchange, self._worker, generation.digest)
        course.at.start = course.at.body = start
        if exchange.route.kind not in GOVERNED_BODIES:
            recognize(course, generation.config.openai, request.headers)
        if generation.config.listen.tls_cert:
            course.scheme = "https"
        if generation.config.journal.digests:
            course.digests = Digests()
        return course

    def record_malformed(self) -> str:
        """Write the record of something that was not an HTTP request; return its id."""
        now = time.monotonic_ns()
        nothing = no_exchange(self._clock.now())
        course = Course(nothing, self._worker, self.serving.generation.digest)
        course.at.start = now
        course.status, course.outcome = 400, "refused"
        course.error_type, course.refused_by = "invalid_request_error", RefusedBy("gateway", "http")
        self._ledger.record(course)
        return nothing.id

    async def _admit(
        self, request: web.BaseRequest, head: Head, course: Course, generation: Generation
    ) -> Answer | None:
        """Read the request and ask every policy; return the answer, if one of them gave it.

        Raises:
            Refusal: it does not leave.
        """
        route = course.exchange.route
        head.check(request.headers)
        if route.kind is Kind.NONE:
            raise reply.unknown_route(route)
        credential = head.credential()
        if route.kind in WITH_BODY:
            head.check_body(request.headers)
            raw = await self._read(request, course, generation.config.listen.max_body_bytes)
            try:
                if course.caller is not None:
                    raw = course.caller.request(raw)
                first = await read_in_turns(raw, route.kind, ANONYMOUS, credential)
            except BodyError as error:
                raise Refusal(bad_body(error)) from None
        else:
            first = bodiless_request(ANONYMOUS, credential)
        course.asked = first.view.model
        course.outline = await in_turns(outlining(outlined(course, first)))
        course.admission = admission = Admission(first, edits=own_edits(course))
        try:
            await admit(generation.chain, course.exchange, admission)
        finally:
            course.principal = admission.request.principal
            course.at.admitted = time.monotonic_ns()
        self._ledger.compare(course, first, generation)
        if admission.refusal is not None and admission.refused_by is not None:
            raise Refusal(admission.refusal, plugin=admission.refused_by.plugin)
        return admission.answer

    async def _read(self, request: web.BaseRequest, course: Course, max_body_bytes: int) -> bytes:
        check_length(request.headers, max_body_bytes)
        raw = await read_body(request, max_body_bytes)
        course.at.body = time.monotonic_ns()
        course.request_in = len(raw)
        if course.digests is not None:
            course.digests.request_in = hashlib.sha256(raw).hexdigest()
        return raw

    async def _forward(
        self, request: web.BaseRequest, head: Head, course: Course, serving: Serving
    ) -> web.StreamResponse:
        """Write the intent, send the request, pass the answer on."""
        generation, admission = serving.generation, course.admission
        if admission is None:
            raise AssertionError("only admitted exchanges are forwarded")
        body = admission.request.body.raw
        kind = course.exchange.route.kind
        if admission.edits and not still_says(body, admission.request, kind):
            raise refuse(500, "the edited request is not what was approved", "final_check")
        target = target_of(generation.targets, course, admission)
        if course.digests is not None:
            course.digests.request_out = hashlib.sha256(body).hexdigest()
        await self._intend(course, generation, len(body))
        if (generation.inspectors or generation.redactors) and kind in ANSWERED:
            course.capture = self._ledger.capture()
        relay = self._relay(request, course, target)
        pool = serving.pools[target.name]
        try:
            connection = pool.reuse()
            if connection is None:
                connection = await pool.connect()
            course.at.connected = time.monotonic_ns()
            lines = request_head(head, course, admission, target, pool)
            course.at.dispatched = time.monotonic_ns()
            _attach(request, relay, lasting=admission.request.view.stream)
            relay.send(connection, lines, body)
            del lines, body
            admission.headers.clear()  # the relay has them
            if not generation.redactors:  # else it is to be written down
                admission.forget_body()
            await relay.answered()
        except UpstreamError as error:
            return self._upstream_failed(course, relay, error)
        finally:
            _attach(request, None)
        course.outcome = conclude.outcome_of(course)
        return Written(course.status or 200, keep_alive=relay.keep_alive)

    async def _intend(self, course: Course, generation: Generation, request_out: int) -> None:
        """Write down that a request is about to leave.

        Raises:
            Refusal: that failed, and what cannot be recorded does not leave.
        """
        must = generation.config.journal.on_failure == "refuse"
        try:
            await self._ledger.intend(course, request_out, must=must)
        except JournalError as error:
            log.error("journal: %s (%s)", error, course.exchange.id)  # noqa: TRY400
            message = (
                "the gateway cannot write its journal, and does not forward what it cannot record"
            )
            raise refuse(503, message, "journal", retry_after_s=5) from None

    def _relay(self, request: web.BaseRequest, course: Course, target: Target) -> Relay:
        transport = request.transport
        if transport is None:
            raise asyncio.CancelledError  # the client left while its request was admitted
        return relay_for(course)(
            transport,
            course,
            own_lines=own_lines(course),
            http10=request.version < (1, 1),
            keep_alive=request.keep_alive and not self.draining,
            first_byte_timeout_s=target.config.first_byte_timeout_s,
            idle_timeout_s=target.config.idle_timeout_s,
            usage=target.profile.usage,
        )

    def _upstream_failed(self, course: Course, relay: Relay, error: UpstreamError) -> Written:
        """The upstream has let us down: tell the client if that is still possible."""
        course.outcome = error.outcome
        course.error = str(error)
        if relay.begun:
            relay.cut()
            return Written(course.status or 200, keep_alive=False)
        status = 504 if error.outcome == "upstream_timeout" else 502
        raise refuse(status, f"gateway: {error}", error.outcome, retry_after_s=1)

    def _answer_locally(self, request: web.BaseRequest, course: Course) -> Written:
        route = course.exchange.route
        status, fields = 200, own_headers(course)
        if route.kind is Kind.OPTIONS:
            status = 204
            fields.append((b"allow", ", ".join((*route.allowed, "OPTIONS")).encode()))
        course.outcome = "complete"
        return self._send(request, course, status, b"", fields)

    def _answer_for(self, request: web.BaseRequest, course: Course, answer: Answer) -> Written:
        """Send what a policy answers in the upstream's place."""
        fields = [*own_headers(course), *reply.answer_fields(answer, course.exchange.id)]
        course.outcome = "answered"
        return self._send(request, course, answer.status, policys_answer(course, answer), fields)

    def _refuse(self, request: web.BaseRequest, course: Course, refusal: Refusal) -> Written:
        """Answer with the refusal, and record who refused and why."""
        decision = refusal.refuse
        if course.outcome == "failed":
            course.outcome = "refused"
            course.refused_by = RefusedBy(refusal.plugin, decision.rule, decision.pointer)
        course.error_type = decision.error_type
        body, fields = reply.refusal_answer(
            refusal, course.exchange.id, openai=course.caller is not None
        )
        return self._send(request, course, decision.status, body, fields)

    def _fail(self, request: web.BaseRequest, course: Course) -> Written:
        course.outcome = "failed"
        if course.at.first_byte:
            return Written(course.status or 500, keep_alive=False)
        refusal = refuse(500, "the gateway failed on this request", "internal", retry_after_s=1)
        body, fields = reply.refusal_answer(
            refusal, course.exchange.id, openai=course.caller is not None
        )
        return self._send(request, course, 500, body, fields)

    def _send(
        self,
        request: web.BaseRequest,
        course: Course,
        status: int,
        body: bytes,
        fields: list[Pair],
    ) -> Written:
        """Send an answer of our own; the record comes first, so that every id seen has one."""
        unread = not request.content.is_eof()
        keep_alive = request.keep_alive and not unread and not self.draining
        course.status = status
        course.response = len(body)
        if course.digests is not None:
            course.digests.response.update(body)
        course.at.first_byte = course.at.last_byte = time.monotonic_ns()
        course.at.end = time.monotonic_ns()
        self._ledger.record(course)
        if request.transport is not None:
            bodiless = request.method == "HEAD"
            request.transport.write(
                reply.answer(status, body, fields, keep_alive=keep_alive, bodiless=bodiless)
            )
        return Written(status, keep_alive=keep_alive)

    async def idle(self, timeout_s: float) -> None:
        """Wait until nothing is in flight, for no longer than `timeout_s`."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._idle.wait()

    async def settled(self) -> None:
        """Wait until everything taken has been settled, and answers have been inspected."""
        await self._ledger.settled()


def _attach(request: web.BaseRequest, relay: Relay | None, *, lasting: bool = False) -> None:
    """Let the client's connection tell the relay when it must wait."""
    protocol = request.protocol
    if isinstance(protocol, ClientConnection):
        protocol.attach(relay, lasting=lasting)
