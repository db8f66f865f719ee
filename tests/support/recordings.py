"""Answers of the real API, as others recorded them, and the official SDK's reading of them."""

import asyncio
import base64
import gzip
import json
import re
import zlib
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from anthropic import AsyncAnthropic

from support.caches import unavailable
from tidegate.testing.upstream import Call, ScriptedUpstream, scripted_upstream

FOLDER = Path(__file__).parents[3] / "shared" / "recordings"
GZIP_MAGIC = b"\x1f\x8b"
NOT_TRAVELLING = frozenset(("connection", "transfer-encoding", "content-length", "keep-alive"))
KEY = "-".join(("sk", "ant", "api03", "r" * 20))

Headers = list[tuple[str, str]]


@dataclass(frozen=True)
class Recording:
    """One exchange with the API."""

    name: str
    target: str
    sent_headers: Headers = field(repr=False)
    sent: bytes = field(repr=False)
    status: int
    headers: Headers = field(repr=False)
    body: bytes = field(repr=False)
    """As on the wire: compressed if `headers` say so."""

    @property
    def coding(self) -> str:
        return dict(self.headers).get("content-encoding", "")

    @property
    def is_stream(self) -> bool:
        return dict(self.headers)["content-type"].startswith("text/event-stream")

    @property
    def plain(self) -> bytes:
        return gzip.decompress(self.body) if self.coding == "gzip" else self.body

    @property
    def pieces(self) -> list[bytes]:
        """The plain body by events; of JSON, as one."""
        return (
            re.findall(rb".+?(?:\n\n|\Z)", self.plain, re.DOTALL)
            if self.is_stream
            else [self.plain]
        )

    def in_coding(self, coding: str) -> "Recording":
        """The same with its body in another coding, or as it is if that is `recorded`."""
        if coding in ("recorded", self.coding or "identity"):
            return self
        headers = [(k, v) for k, v in self.headers if k != "content-encoding"]
        if coding == "identity":
            return replace(self, headers=headers, body=self.plain)
        headers.append(("content-encoding", "gzip"))
        return replace(self, headers=headers, body=b"".join(compressed(self.pieces)))

    def split(self, chunking: str) -> list[bytes]:
        """Return the body in the pieces in which it is sent."""
        if chunking != "event":
            size = int(chunking)
            return [self.body[at : at + size] for at in range(0, len(self.body), size)]
        if not self.coding:
            return self.pieces
        parts = compressed(self.pieces)
        return parts if b"".join(parts) == self.body else _by_flush(self.body)


def compressed(pieces: list[bytes]) -> list[bytes]:
    """Compress piece by piece, each flushed, as the API does."""
    encoder = zlib.compressobj(wbits=31)
    parts = [encoder.compress(piece) + encoder.flush(zlib.Z_SYNC_FLUSH) for piece in pieces]
    return [*parts[:-1], parts[-1] + encoder.flush()]


def _by_flush(body: bytes) -> list[bytes]:
    """Split what another encoder has flushed after each event."""
    return re.findall(rb".+?(?:\x00\x00\xff\xff|\Z)", body, re.DOTALL)


def load() -> list[Recording]:
    """Return all recordings; skip the test if they are not beside the repository."""
    if not FOLDER.is_dir():
        unavailable("the recordings are not beside the repository")
    found = []
    for path in sorted(FOLDER.glob("*.jsonl.gz")):
        with gzip.open(path) as lines:
            found += [_read(f"{path.stem.split('.')[0]}-{n}", line) for n, line in enumerate(lines)]
    return found


def _read(name: str, line: bytes) -> Recording:
    document = json.loads(line)
    request, response = document["request"], document["response"]
    body = base64.b64decode(response["body_b64"])
    parts = urlsplit(request["url"])
    decoded = not body.startswith(GZIP_MAGIC)  # some recorders did, and left the header
    return Recording(
        name=name,
        target=parts.path + ("?" + parts.query if parts.query else ""),
        sent_headers=_pairs(request["headers"], NOT_TRAVELLING | {"host"}),
        sent=base64.b64decode(request["body_b64"]),
        status=response["status"],
        headers=_pairs(
            response["headers"], NOT_TRAVELLING | ({"content-encoding"} if decoded else set())
        ),
        body=body,
    )


def _pairs(headers: dict[str, list[str]], dropped: frozenset[str]) -> Headers:
    return [(k, v) for k, values in headers.items() for v in values if k.lower() not in dropped]


def of_stream(name: str, body: bytes, *, coding: str = "") -> Recording:
    """A recording of nothing but the bytes of a stream."""
    asked = {"model": "claude-x", "max_tokens": 1024, "messages": [], "stream": True}
    return Recording(
        name=name,
        target="/v1/messages",
        sent_headers=[("anthropic-version", "2023-06-01"), ("content-type", "application/json")],
        sent=json.dumps(asked).encode(),
        status=200,
        headers=[
            ("content-type", "text/event-stream; charset=utf-8"),
            *([("content-encoding", coding)] if coding else []),
            ("request-id", "req_1"),
        ],
        body=body,
    )


NUMBER = "x-recording"


@dataclass(frozen=True)
class Replay:
    """How the bodies are sent."""

    coding: str
    """`recorded`, `gzip` or `identity`."""
    chunking: str
    """`event`, or a number of bytes."""
    framed: bool = True
    """In chunks; otherwise with a length."""


@asynccontextmanager
async def replaying(
    recordings: list[Recording], replay: Replay
) -> AsyncGenerator[ScriptedUpstream, None]:
    """An upstream that answers a request numbered in a header with that recording."""

    async def script(call: Call) -> None:
        chosen = recordings[int(call.heard.header(NUMBER) or "")].in_coding(replay.coding)
        lines = [f"HTTP/1.1 {chosen.status} OK", *(f"{k}: {v}" for k, v in chosen.headers)]
        how = (
            "Transfer-Encoding: chunked" if replay.framed else f"Content-Length: {len(chosen.body)}"
        )
        await call.say("\r\n".join((*lines, how, "", "")).encode("latin-1"))
        for piece in chosen.split(replay.chunking):
            await (call.chunk(piece) if replay.framed else call.say(piece))
            await asyncio.sleep(0)  # let the gateway read it by itself
        if replay.framed:
            await call.say(b"0\r\n\r\n")

    async with scripted_upstream(script) as upstream:
        yield upstream


@dataclass(frozen=True)
class Reading:
    """What the SDK makes of an answer."""

    usage: dict[str, Any]
    stop_reason: str | None
    model: str


async def sdk_readings(recordings: list[Recording]) -> list[Reading | None]:
    """Let the official SDK read every answer; None where it cannot."""
    async with (
        replaying(recordings, Replay("recorded", "65536")) as upstream,
        AsyncAnthropic(api_key=KEY, base_url=upstream.url, max_retries=0) as client,
    ):
        return [await _reading(client, n, each) for n, each in enumerate(recordings)]


async def _reading(client: AsyncAnthropic, number: int, recording: Recording) -> Reading | None:
    asked: dict[str, Any] = {"model": "m", "max_tokens": 1, "messages": []}
    asked["extra_headers"] = {NUMBER: str(number)}
    messages = client.beta.messages
    try:
        if recording.is_stream:
            async with messages.stream(**asked) as stream:
                message = await stream.get_final_message()
        else:
            message = await messages.create(**asked)
    except ValueError:
        return None  # a tool's input that is no JSON
    return Reading(message.usage.to_dict(), message.stop_reason, message.model)
