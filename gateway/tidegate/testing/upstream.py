"""A scripted upstream on loopback: says exactly the bytes it is told to, and hears exactly what came.

For tests of what HTTP libraries will not do: cut, stall, split anywhere, break the rules.
"""

import asyncio
import ssl
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field


@dataclass(slots=True)
class Heard:
    """One request, as it came."""

    line: str
    """Such as `POST /v1/messages HTTP/1.1`."""
    headers: list[tuple[str, str]]
    """In order, as written."""
    body: bytes

    def header(self, name: str) -> str | None:
        """Return the first header of that name, any case."""
        return next((v for k, v in self.headers if k.lower() == name.lower()), None)


@dataclass(slots=True)
class Call:
    """One request being answered; a script gets it."""

    heard: Heard
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def say(self, data: bytes) -> None:
        """Send bytes as they are."""
        self.writer.write(data)
        await self.writer.drain()

    async def answer(
        self, body: bytes, status: str = "200 OK", content_type: str = "application/json"
    ) -> None:
        """Send a whole answer with a length."""
        head = f"HTTP/1.1 {status}\r\ncontent-type: {content_type}\r\ncontent-length: {len(body)}\r\n\r\n"
        await self.say(head.encode() + body)

    async def chunk(self, payload: bytes) -> None:
        """Send one chunk."""
        await self.say(b"%x\r\n%s\r\n" % (len(payload), payload))

    def cut(self) -> None:
        """End the connection without a goodbye."""
        self.writer.transport.abort()

    async def gone(self) -> None:
        """Wait until the other side has left."""
        while await self.reader.read(65536):
            pass


Script = Callable[[Call], Awaitable[None]]


@dataclass(slots=True)
class ScriptedUpstream:
    """What was heard, and how many connections there are."""

    script: Script
    host: str = "127.0.0.1"
    port: int = 0
    heard: list[Heard] = field(default_factory=list)
    accepted: int = 0
    open: int = 0
    left: asyncio.Event = field(default_factory=asyncio.Event)
    """Set whenever a connection has ended."""

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://{self.host}:{self.port}"


@asynccontextmanager
async def scripted_upstream(
    script: Script,
    *,
    tls: ssl.SSLContext | None = None,
    host: str = "127.0.0.1",
    port: int = 0,
) -> AsyncGenerator[ScriptedUpstream, None]:
    """Serve `script`, on a free loopback port unless told otherwise. Each connection may carry several requests."""
    upstream = ScriptedUpstream(script, host)
    tasks: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is not None:
            tasks.add(task)
            task.add_done_callback(tasks.discard)
        upstream.accepted += 1
        upstream.open += 1
        try:
            while (heard := await _hear(reader)) is not None:
                upstream.heard.append(heard)
                await upstream.script(Call(heard, reader, writer))
                if writer.is_closing():
                    break
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass  # cancelled at the end of the test, whatever the script waits for
        finally:
            upstream.open -= 1
            upstream.left.set()
            writer.close()

    server = await asyncio.start_server(serve, host, port, ssl=tls)
    upstream.port = server.sockets[0].getsockname()[1]
    try:
        yield upstream
    finally:
        server.close()
        for task in list(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _hear(reader: asyncio.StreamReader) -> Heard | None:
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError:
        return None
    line, *fields = head.decode("latin-1").rstrip("\r\n").split("\r\n")
    headers = [(name, value.strip()) for name, _, value in (f.partition(":") for f in fields)]
    length = next((int(v) for k, v in headers if k.lower() == "content-length"), 0)
    return Heard(line, headers, await reader.readexactly(length))
