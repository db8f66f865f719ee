"""An upstream whose streams end when the test says so, clients of it, and what they saw."""

import asyncio
import contextlib
import json
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from support.gateway import Process, read_records
from support.raw import ask, post, read_answer, read_head
from tidegate.journal.verify import Report, verify
from tidegate.testing.upstream import Call, ScriptedUpstream, scripted_upstream

MODEL = "claude-sonnet-4-6"
PATIENCE_S = 30.0

ANSWER = json.dumps(
    {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": MODEL,
        "content": [{"type": "text", "text": "yes"}],
        "stop_reason": "end_turn",
        "usage": {"input_tokens": 11, "cache_read_input_tokens": 5, "output_tokens": 3},
    }
).encode()


def _event(kind: str, **fields: Any) -> bytes:
    return f"event: {kind}\ndata: {json.dumps({'type': kind, **fields})}\n\n".encode()


FIRST_HALF = _event(
    "message_start",
    message={"id": "m", "model": MODEL, "usage": {"input_tokens": 7, "output_tokens": 1}},
) + _event("content_block_delta", index=0, delta={"type": "text_delta", "text": "one "})
SECOND_HALF = (
    _event("content_block_delta", index=0, delta={"type": "text_delta", "text": "two"})
    + _event("message_delta", delta={"stop_reason": "end_turn"}, usage={"output_tokens": 9})
    + _event("message_stop")
)
STREAM = FIRST_HALF + SECOND_HALF
HEAD = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nrequest-id: r\r\n"
    b"transfer-encoding: chunked\r\n\r\n"
)


def request(*, stream: bool = False, model: str = MODEL) -> bytes:
    """A POST of a small message."""
    body = {"model": model, "max_tokens": 9, "stream": stream}
    return post(json.dumps(body | {"messages": [{"role": "user", "content": "hi"}]}).encode())


@dataclass
class Tide:
    """The upstream: streams stop half way until `rise` is set."""

    server: ScriptedUpstream | None = None
    rise: asyncio.Event = field(default_factory=asyncio.Event)
    waiting: int = 0

    @property
    def url(self) -> str:
        assert self.server is not None
        return self.server.url

    async def answer(self, call: Call) -> None:
        if not json.loads(call.heard.body).get("stream"):
            await call.answer(ANSWER)
            return
        await call.say(HEAD)
        await call.chunk(FIRST_HALF)
        self.waiting += 1
        await self.rise.wait()
        await call.chunk(SECOND_HALF)
        await call.say(b"0\r\n\r\n")


_opened: list[asyncio.StreamWriter] = []


@asynccontextmanager
async def tide() -> AsyncGenerator[Tide, None]:
    """Run the upstream; at the end, streams that are still open are left by their clients."""
    water = Tide()
    try:
        async with scripted_upstream(water.answer) as server:
            water.server = server
            yield water
    finally:
        while _opened:
            _opened.pop().close()
        await asyncio.sleep(0)


@dataclass
class OpenStream:
    """A client in the middle of a stream."""

    id: str
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    seen: bytes

    async def rest(self) -> bytes:
        """Read on to the end and return the whole body; IncompleteReadError if it is cut."""
        try:
            while True:
                size = int(await self.reader.readuntil(b"\r\n"), 16)
                self.seen += (await self.reader.readexactly(size + 2))[:-2]
                if not size:
                    return self.seen
        finally:
            self.writer.close()


async def open_stream(port: int, model: str = MODEL) -> OpenStream:
    """Ask for a stream and read its first half."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    _opened.append(writer)
    writer.write(request(stream=True, model=model))
    status, headers = await read_head(reader)
    assert status == 200
    size = int(await reader.readuntil(b"\r\n"), 16)
    seen = (await reader.readexactly(size + 2))[:-2]
    return OpenStream(id_of(headers), reader, writer, seen)


async def open_streams(port: int, count: int) -> list[OpenStream]:
    return list(await asyncio.gather(*(open_stream(port) for _ in range(count))))


async def say(port: int, model: str = MODEL) -> tuple[int, bytes, str]:
    """Ask once; return status, body and id."""
    status, headers, body = await ask(port, request(model=model))
    return status, body, id_of(headers)


def id_of(headers: list[tuple[str, str]]) -> str:
    return next((value for name, value in headers if name.lower() == "x-tidegate-id"), "")


@dataclass
class Load:
    """Clients that ask again and again; whatever ids they get to see."""

    ids: list[str] = field(default_factory=list)
    statuses: list[int] = field(default_factory=list)
    broken: int = 0

    async def seen(self, count: int) -> None:
        """Wait until that many more answers have come."""
        goal = len(self.ids) + count
        await until(lambda: len(self.ids) >= goal)


@asynccontextmanager
async def load(
    port: int, clients: int = 4, pause_s: float = 0.002, *, leave: bool = True
) -> AsyncGenerator[Load, None]:
    """Ask in turn for messages and a stream, of which they take only half if they `leave`."""
    seen = Load()
    tasks = [asyncio.create_task(_client(port, seen, pause_s, leave)) for _ in range(clients)]
    try:
        yield seen
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _client(port: int, seen: Load, pause_s: float, leave: bool) -> None:
    while True:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            await _exchange(port, seen, leave)
            await asyncio.sleep(pause_s)
            continue
        seen.broken += 1
        await asyncio.sleep(0.02)


async def _exchange(port: int, seen: Load, leave: bool) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(request(stream=len(seen.ids) % 3 == 0))
        status, headers = await read_head(reader)
        seen.ids.append(id_of(headers))
        seen.statuses.append(status)
        if any(value == "text/event-stream" for _, value in headers):
            if not leave:
                await reader.readuntil(b"\r\n0\r\n\r\n")
            return
        await reader.readuntil(b"}")
    finally:
        writer.close()


async def until(
    condition: Callable[[], Any] | Callable[[], Awaitable[Any]], timeout_s: float = PATIENCE_S
) -> Any:
    """Look again and again until `condition` holds; return what it says."""
    async with asyncio.timeout(timeout_s):
        while True:
            found = condition()
            if asyncio.iscoroutine(found):
                found = await found
            if found:
                return found
            await asyncio.sleep(0.02)


async def admin(running: Process, path: str) -> tuple[int, str]:
    """Ask the admin port; status 0 if nobody is there."""
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", running.admin_port)
    except OSError:
        return 0, ""
    try:
        writer.write(f"GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n".encode())
        status, _, body = await read_answer(reader)
    except (OSError, asyncio.IncompleteReadError):
        return 0, ""
    finally:
        writer.close()
    return status, body.decode()


async def is_ready(running: Process) -> bool:
    return (await admin(running, "/readyz"))[0] == 200


@dataclass(frozen=True)
class Totals:
    """What is counted: by the metrics observer, or in the journal."""

    requests: int
    tokens: dict[str, int]

    def covers(self, earlier: "Totals") -> bool:
        """Whether no counter has fallen since."""
        grown = all(self.tokens.get(k, 0) >= v for k, v in earlier.tokens.items())
        return grown and self.requests >= earlier.requests


async def scraped(running: Process) -> Totals:
    """What /metrics says, as soon as it says something."""

    async def answer() -> str:
        status, text = await admin(running, "/metrics")
        return text if status == 200 else ""

    text = await until(answer)
    requests, tokens = 0, dict[str, int]()
    for line in text.splitlines():
        name, _, rest = line.partition("{")
        value = int(float(line.rpartition(" ")[2])) if rest else 0
        if name == "tidegate_requests_total":
            requests += value
        elif name == "tidegate_tokens_total":
            kind = rest.partition('type="')[2].partition('"')[0]
            tokens[kind] = tokens.get(kind, 0) + value
    return Totals(requests, {kind: value for kind, value in tokens.items() if value})


def written(records: list[dict[str, Any]]) -> Totals:
    """What the journal's exchange records add up to."""
    tokens = dict[str, int]()
    for record in records:
        for kind in ("input", "cache_read", "cache_write_5m", "cache_write_1h", "output"):
            tokens[kind] = tokens.get(kind, 0) + (record["usage"] or {}).get(kind, 0)
    return Totals(len(records), {kind: value for kind, value in tokens.items() if value})


async def reconciled(directory: Path, seen: list[str]) -> Report:
    """Check that every intent and every id that was seen has exactly one exchange.

    A client has its answer a moment before the record of it is written.
    """
    await until(lambda: not verify(directory).open)
    report = verify(directory)
    assert report.sound, report
    found = {record["id"] for record in read_records(directory, "exchange")}
    assert set(seen) <= found
    return report
