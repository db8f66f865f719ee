"""Stands on both sides of a gateway: a client in front of it, a scripted upstream behind."""

import asyncio
import contextlib
import json
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp
from yarl import URL

from tidegate.testing.upstream import Call, Heard, Script, ScriptedUpstream

ANSWER_S = 10
"""For an answer that its upstream gives at once."""

Pair = tuple[str, str]


class Failed(Exception):
    """The gateway breaks the contract; the message says where."""


class Skipped(Exception):
    """The point cannot be played against this gateway; the message says why."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer, as the client got it. The body is not decoded."""

    status: int
    headers: tuple[Pair, ...]
    body: bytes

    def header(self, name: str) -> str | None:
        """Return the first header of that name, any case."""
        return next((v for k, v in self.headers if k.lower() == name), None)


@dataclass(slots=True)
class Probe:
    """What every case is given."""

    session: aiohttp.ClientSession
    upstream: ScriptedUpstream
    base_url: str
    key: str
    bearer: bool
    model: str
    extra: tuple[Pair, ...] = ()
    """Headers that this gateway wants with every request."""
    heard: list[Heard] = field(default_factory=list)

    def head(self, *more: Pair, credential: Sequence[Pair] | None = None) -> list[Pair]:
        """Return the headers of a request as an SDK sends it."""
        form = (
            [("authorization", f"Bearer {self.key}")] if self.bearer else [("x-api-key", self.key)]
        )
        given = form if credential is None else credential
        names = {name.lower() for name, _ in more}
        usual = [("content-type", "application/json"), ("anthropic-version", "2023-06-01")]
        kept = [pair for pair in usual if pair[0] not in names]
        return [*kept, *given, *self.extra, *more]

    def body(self, **fields: Any) -> bytes:
        """Return a small request."""
        usual = {"model": self.model, "max_tokens": 64}
        messages = [{"role": "user", "content": "Hello"}]
        return json.dumps({**usual, "messages": messages, **fields}).encode()

    async def ask(
        self,
        script: Script,
        body: bytes | None = None,
        *,
        target: str = "/v1/messages",
        method: str = "POST",
        headers: Sequence[Pair] | None = None,
        within_s: float = ANSWER_S,
    ) -> Answer:
        """Return the gateway's answer, while the upstream plays `script`; `heard` is what it got.

        Raises:
            Failed: there was none, or it broke off.
        """
        try:
            async with (
                asyncio.timeout(within_s),
                self.open(
                    script, body, target=target, method=method, headers=headers, begin_s=within_s
                ) as response,
            ):
                return Answer(response.status, pairs(response), await response.read())
        except TimeoutError:
            raise Failed(f"no whole answer within {within_s:g} s") from None

    @asynccontextmanager
    async def open(
        self,
        script: Script,
        body: bytes | None = None,
        *,
        target: str = "/v1/messages",
        method: str = "POST",
        headers: Sequence[Pair] | None = None,
        begin_s: float = ANSWER_S,
    ) -> AsyncGenerator[aiohttp.ClientResponse, None]:
        """Open an exchange whose answer the case reads itself.

        Raises:
            Failed: no answer began, or it broke off while it was read.
        """
        self.upstream.script = script
        self.upstream.heard.clear()
        self.heard = self.upstream.heard
        if body is None and method == "POST":
            body = self.body()
        url = URL(self.base_url + target, encoded=True)
        sent = headers if headers is not None else self.head()
        request = self.session.request(method, url, data=body, headers=sent, allow_redirects=False)
        try:
            async with asyncio.timeout(begin_s):
                response = await request
        except TimeoutError:
            raise Failed(f"no answer began within {begin_s:g} s") from None
        except aiohttp.ClientError as error:
            raise Failed(f"the connection broke: {type(error).__name__}") from None
        try:
            async with response:
                yield response
        except aiohttp.ClientError as error:
            raise Failed(f"the connection broke: {type(error).__name__}") from None

    def arrived(self, answer: Answer | None = None) -> Heard:
        """Return the one request that the upstream was sent.

        Raises:
            Failed: there was none, or more than one.
        """
        if not self.heard:
            status = f"; the gateway answered {answer.status}" if answer is not None else ""
            raise Failed(f"nothing arrived upstream{status}")
        if len(self.heard) > 1:
            raise Failed(f"the upstream was asked {len(self.heard)} times")
        return self.heard[0]

    async def forwarded(
        self,
        body: bytes,
        *more: Pair,
        target: str = "/v1/messages",
        within_s: float = ANSWER_S,
    ) -> Heard:
        """Send a request that has to pass; return what arrived.

        Raises:
            Failed: it did not pass.
        """
        headers = self.head(*more)
        answer = await self.ask(message, body, target=target, headers=headers, within_s=within_s)
        heard = self.arrived(answer)
        if answer.status != 200:
            raise Failed(f"answered {answer.status}: {brief(answer.body)}")
        return heard


def pairs(response: aiohttp.ClientResponse) -> tuple[Pair, ...]:
    """Return an answer's headers, as written."""
    return tuple((k.decode("latin-1"), v.decode("latin-1")) for k, v in response.raw_headers)


def brief(body: bytes) -> str:
    """Return the beginning of a body, for a reason."""
    return body[:160].decode("utf-8", "replace").replace("\n", " ")


MESSAGE: dict[str, Any] = {
    "id": "msg_01conformance",
    "type": "message",
    "role": "assistant",
    "model": "claude",
    "content": [{"type": "text", "text": "Hello."}],
    "stop_reason": "end_turn",
    "stop_sequence": None,
    "usage": {"input_tokens": 9, "output_tokens": 3},
}


async def message(call: Call) -> None:
    """The upstream's plain answer: a message, or the short stream of one."""
    if call.heard.line.startswith("HEAD "):
        await call.say(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
        return
    with contextlib.suppress(ValueError):
        asked = json.loads(call.heard.body or b"{}")
        if isinstance(asked, dict) and asked.get("stream") is True:
            await stream(call, EVENTS)
            return
    if call.heard.line.split()[1].partition("?")[0].endswith("/count_tokens"):
        await call.answer(b'{"input_tokens": 9}')
        return
    await call.answer(json.dumps(MESSAGE).encode())


async def stream(call: Call, pieces: Sequence[bytes]) -> None:
    """Answer with a stream, a chunk for each piece."""
    await begin_stream(call)
    for piece in pieces:
        await call.chunk(piece)
    await call.say(b"0\r\n\r\n")


async def begin_stream(call: Call, *fields: Pair) -> None:
    """Send the head of a stream."""
    more = "".join(f"{name}: {value}\r\n" for name, value in fields)
    head = f"content-type: text/event-stream; charset=utf-8\r\n{more}transfer-encoding: chunked\r\n\r\n"
    await call.say(b"HTTP/1.1 200 OK\r\n" + head.encode())


def event(kind: str, **data: Any) -> bytes:
    """Return one event as the API writes it."""
    return f"event: {kind}\ndata: {json.dumps({'type': kind, **data})}\n\n".encode()


def _events() -> tuple[bytes, ...]:
    empty = {**MESSAGE, "content": [], "stop_reason": None}
    text = {"type": "text", "text": ""}
    return (
        event("message_start", message=empty),
        event("content_block_start", index=0, content_block=text),
        *(
            event("content_block_delta", index=0, delta={"type": "text_delta", "text": word})
            for word in ("Good", " day", ".")
        ),
        event("content_block_stop", index=0),
        event(
            "message_delta",
            delta={"stop_reason": "end_turn", "stop_sequence": None},
            usage={"output_tokens": 3},
        ),
        event("message_stop"),
    )


EVENTS = _events()
"""A short stream, an event a piece."""
