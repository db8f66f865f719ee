"""The chain of a configuration, asked about a request that nobody sends.

It is the real one: the same plugins, opened as a gateway opens them, and the same admission.
Left out is what takes something (stage RESERVE), as what is left of a quota says nothing
about a policy; and IDENTIFY where the principal is given.
"""

import os
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field, replace
from tempfile import TemporaryDirectory
from typing import Any

from msgspec.structs import replace as changed

from tidegate.clock import SystemClock
from tidegate.config import Config
from tidegate.errors import place_of
from tidegate.exchange import ANONYMOUS, Exchange, Principal, Request
from tidegate.http import reply
from tidegate.http.reply import Refusal, refuse
from tidegate.http.request import (
    Fields,
    check_body_headers,
    check_length,
    check_overrides,
    client_of,
    credential_of,
    exchange_from,
    fields_of,
)
from tidegate.openai.client import Caller, caller_of
from tidegate.pipeline.admission import (
    Admission,
    admit,
    bad_body,
    bodiless_request,
    read_request,
    still_says,
)
from tidegate.pipeline.generation import open_policy
from tidegate.pipeline.host import Link
from tidegate.plugin import Answer, Decision, PluginSpec, Refuse, Stage
from tidegate.record import DecisionRecord, RefusedBy
from tidegate.registry import Chosen
from tidegate.wire.body import EMPTY, Body, BodyError
from tidegate.wire.routes import LOCAL, WITH_BODY, Kind

PEER = "127.0.0.1"
SECRET = "0" * 64
"""What a secret of the environment is here, where it is not set."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """A request as it would come."""

    raw: bytes = field(default=b"", repr=False)
    method: str = "POST"
    target: str = "/v1/messages"
    headers: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    peer: str = PEER
    principal: Principal | None = None
    """Whose it is; None: the configuration's IDENTIFY policies find that out."""


@dataclass(frozen=True, slots=True)
class Step:
    """What one policy was asked, and what it said."""

    name: str
    before: Body
    """The body as it saw it."""
    decision: Decision | None
    """None: it was not asked, or failed."""
    record: DecisionRecord
    error: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """What would have become of a request."""

    exchange: Exchange
    principal: Principal
    steps: tuple[Step, ...] = ()
    decisions: tuple[DecisionRecord, ...] = ()
    refusal: Refuse | None = None
    refused_by: RefusedBy | None = None
    answer: Answer | None = None
    headers: tuple[tuple[str, str], ...] = ()
    sent: Body | None = None
    """What would leave; None where nothing does."""

    @property
    def verdict(self) -> str:
        """`admit`, `refuse`, or `answer` where the gateway or a policy answers itself."""
        if self.refusal is not None:
            return "refuse"
        return "answer" if self.sent is None else "admit"


class Rehearsal:
    """An opened configuration to ask about requests."""

    def __init__(self, config: Config, chain: Sequence[Link]) -> None:
        self.config = config
        self._chain = chain

    async def run(self, given: Given) -> Trial:
        """Return what would become of the request."""
        headers = fields_of(given.headers)
        exchange = exchange_from(
            given.method,
            given.target,
            headers,
            client_of(headers),
            peer=given.peer,
            at=SystemClock().now(),
        )
        exchange, caller = self._recognized(exchange, headers)
        who = given.principal or ANONYMOUS
        if exchange.route.kind in LOCAL:
            return Trial(exchange=exchange, principal=who)
        try:
            first = self._read(given, exchange, who, caller)
        except Refusal as refusal:
            by = RefusedBy(refusal.plugin, refusal.refuse.rule, refusal.refuse.pointer)
            return Trial(exchange=exchange, principal=who, refusal=refusal.refuse, refused_by=by)
        return await self._ask(given, exchange, Admission(first))

    def _recognized(self, exchange: Exchange, headers: Fields) -> tuple[Exchange, Caller | None]:
        """Return the exchange as it is served, and its caller if that speaks the OpenAI format."""
        settings = self.config.openai
        route, caller = caller_of(
            exchange.route,
            headers,
            chat=settings.chat_completions,
            default_max_tokens=settings.default_max_tokens,
            created=int(exchange.at),
        )
        return changed(exchange, route=route), caller

    def _read(
        self, given: Given, exchange: Exchange, who: Principal, caller: Caller | None
    ) -> Request:
        """Return what the first policy sees.

        Raises:
            Refusal: the gateway itself refuses, before any policy.
        """
        route = exchange.route
        check_overrides(fields_of(given.headers))
        if route.kind is Kind.NONE:
            raise reply.unknown_route(route)
        credential = credential_of(
            [(name.encode(), value.encode("latin-1", "replace")) for name, value in given.headers]
        )
        if route.kind not in WITH_BODY:
            return bodiless_request(who, credential)
        limit = self.config.listen.max_body_bytes
        fields = fields_of(given.headers)
        check_body_headers(fields)
        check_length(fields, limit)
        if len(given.raw) > limit:
            raise refuse(413, f"the request body is larger than {limit} bytes", "body_too_large")
        try:
            raw = given.raw if caller is None else caller.request(given.raw)
            return read_request(raw, route.kind, who, credential)
        except BodyError as error:
            raise Refusal(bad_body(error)) from None

    async def _ask(self, given: Given, exchange: Exchange, admission: Admission) -> Trial:
        asked: dict[str, _Asked] = {}
        chain = [
            replace(link, policy=_Watched(link, asked))
            for link in self._chain
            if given.principal is None or link.stage is not Stage.IDENTIFY
        ]
        await admit(chain, exchange, admission)
        leaves = admission.refusal is None and admission.answer is None
        body = admission.request.body
        if (
            leaves
            and admission.edits
            and not still_says(body.raw, admission.request, exchange.route.kind)
        ):
            broken = refuse(500, "the edited request is not what was approved", "final_check")
            admission.refuse(broken.refuse, "gateway")
            leaves = False
        return Trial(
            exchange=exchange,
            principal=admission.request.principal,
            steps=tuple(_steps(asked, admission.decisions)),
            decisions=tuple(admission.decisions),
            refusal=admission.refusal,
            refused_by=admission.refused_by,
            answer=None if admission.refusal is not None else admission.answer,
            headers=tuple(admission.headers),
            sent=body if leaves else None,
        )


@dataclass(slots=True)
class _Asked:
    before: Body
    decision: Decision | None = None
    error: str = ""


class _Watched:
    """A policy, and what it is asked and says."""

    def __init__(self, link: Link, asked: dict[str, _Asked]) -> None:
        self._link = link
        self._asked = asked

    async def admit(self, exchange: Exchange, request: Request) -> Decision:
        seen = self._asked[self._link.name] = _Asked(request.body)
        try:
            seen.decision = await self._link.policy.admit(exchange, request)
        except Exception as error:
            seen.error = place_of(error)
            raise
        return seen.decision


def _steps(asked: dict[str, _Asked], records: Iterable[DecisionRecord]) -> Iterator[Step]:
    """Yield a step for each policy: its first record is the verdict, the others are notes."""
    seen: set[str] = set()
    for record in records:
        if record.plugin in seen:
            continue
        seen.add(record.plugin)
        found = asked.get(record.plugin, _NOT_ASKED)
        yield Step(record.plugin, found.before, found.decision, record, found.error)


_NOT_ASKED = _Asked(EMPTY)


@asynccontextmanager
async def rehearsal(
    config: Config, chosen: Sequence[Chosen], wanted: Callable[[PluginSpec[Any]], bool]
) -> AsyncIterator[Rehearsal]:
    """Open a configuration's policies on a scratch directory: those that are `wanted`.

    Raises:
        ConfigError: one of them cannot be opened.
    """
    with TemporaryDirectory(prefix="tidegate-policy-") as scratch, _made_up_secrets(config):
        config = changed(config, journal=changed(config.journal, dir=scratch))
        async with AsyncExitStack() as stack:
            chain = [
                await open_policy(link, config, stack, SystemClock())
                for link in chosen
                if link.spec.stage is not None and wanted(link.spec)
            ]
            yield Rehearsal(config, chain)


def deciding(spec: PluginSpec[Any]) -> bool:
    """Whether a policy says something about a request: not about a quota, or who it is from."""
    return spec.stage not in (Stage.IDENTIFY, Stage.RESERVE)


def taking_nothing(spec: PluginSpec[Any]) -> bool:
    """Whether a policy leaves nothing behind when it is asked."""
    return spec.stage is not Stage.RESERVE


def replayable(spec: PluginSpec[Any]) -> bool:
    """Whether a policy can decide on what the journal keeps of a request."""
    return spec.replayable


@contextmanager
def _made_up_secrets(config: Config) -> Iterator[None]:
    """Let a build that has no secrets open plugins that name some: none leaves from here."""
    missing = {
        name
        for plugin in config.plugins
        for name in _environment(plugin.config)
        if name not in os.environ
    }
    os.environ.update(dict.fromkeys(missing, SECRET))
    try:
        yield
    finally:
        for name in missing:
            os.environ.pop(name, None)


def _environment(value: object) -> Iterator[str]:
    """Yield the variables named as `{ env = "NAME" }`, wherever they stand."""
    if isinstance(value, dict):
        name = value.get("env")
        if isinstance(name, str) and len(value) == 1:
            yield name
        for inner in value.values():
            yield from _environment(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _environment(inner)
