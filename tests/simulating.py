"""What the tests of the simulator share: a request, sent over a plain socket."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

SECRET = "-".join(("sk", "test", "0" * 8))
HELLO: dict[str, Any] = {
    "model": "sim-echo",
    "max_tokens": 1000,
    "messages": [{"role": "user", "content": "hello"}],
}
VERSION = "2026-10-21"


@dataclass(frozen=True)
class Raw:
    """An answer, byte by byte."""

    status: int
    headers: list[tuple[str, str]]
    rest: bytes
    """All after the head, chunk sizes included."""

    def values(self, name: str) -> list[str]:
        return [value for key, value in self.headers if key.lower() == name]

    @property
    def chunks(self) -> list[bytes]:
        found, rest = [], self.rest
        while rest:
            size, _, rest = rest.partition(b"\r\n")
            found.append(rest[: int(size, 16)])
            rest = rest[int(size, 16) + 2 :]
        return found

    @property
    def whole(self) -> bool:
        return self.rest.endswith(b"0\r\n\r\n")

    @property
    def body(self) -> bytes:
        chunked = "chunked" in self.values("transfer-encoding")
        return b"".join(self.chunks) if chunked else self.rest

    def json(self) -> Any:
        return json.loads(self.body)


def head(
    method: str, target: str, headers: dict[str, str] | None = None, body: bytes = b""
) -> bytes:
    given = {"x-api-key": SECRET, "anthropic-version": VERSION, "connection": "close"}
    given |= {"content-length": str(len(body))} if body else {}
    lines = [f"{name}: {value}" for name, value in (given | (headers or {})).items() if value]
    return "\r\n".join((f"{method} {target} HTTP/1.1", "Host: sim", *lines, "", "")).encode()


@asynccontextmanager
async def connection(
    url: str,
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    host, _, port = url.removeprefix("http://").rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        yield reader, writer
    finally:
        writer.close()


async def ask(
    url: str,
    document: Any = None,
    *,
    target: str = "/v1/messages",
    method: str = "POST",
    **headers: str,
) -> Raw:
    """Send one request and read until the simulator closes the connection."""
    body = document if isinstance(document, bytes) else b""
    if isinstance(document, dict):
        body = json.dumps(document).encode()
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    async with connection(url) as (reader, writer):
        writer.write(head(method, target, named, body) + body)
        return parsed(await reader.read())


def parsed(answer: bytes) -> Raw:
    start, _, rest = answer.partition(b"\r\n\r\n")
    line, *lines = start.decode().split("\r\n")
    pairs = [(name, value.strip()) for name, _, value in (each.partition(":") for each in lines)]
    return Raw(int(line.split(" ")[1]), pairs, rest)


def events(body: bytes) -> list[dict[str, Any]]:
    """Return the data of the events of a stream, checked against the wire grammar."""
    found = []
    for block in body.decode().replace("\r\n", "\n").split("\n\n")[:-1]:
        name, data = block.split("\n")
        value = json.loads(data.removeprefix("data: "))
        assert name == f"event: {value['type']}"
        found.append(value)
    return found
