"""Values to test a plugin with: exchanges, requests, a host, a clock that stands still."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from tidegate.exchange import (
    ANONYMOUS,
    Client,
    Credential,
    Exchange,
    Principal,
    Request,
    Trace,
)
from tidegate.plugin import Host, PluginSpec
from tidegate.wire.body import EMPTY, parse
from tidegate.wire.capture import Capture, Room
from tidegate.wire.messages import EMPTY_VIEW, view
from tidegate.wire.routes import WITH_BODY, Kind, resolve
from tidegate.wire.transcript import Transcript, read

EPOCH = 1_795_000_000.0
"""Where `FakeClock` starts: a Wednesday in November 2026, 11:06:40 UTC."""

DOCUMENT: Mapping[str, Any] = {
    "model": "claude-sonnet-4-6",
    "max_tokens": 1024,
    "messages": [{"role": "user", "content": "Hello"}],
}
"""The smallest request that the API would answer."""

BATCH: Mapping[str, Any] = {"requests": [{"custom_id": "first", "params": DOCUMENT}]}
"""The smallest batch."""

_TARGETS = {
    Kind.MESSAGES: ("POST", "/v1/messages"),
    Kind.COUNT_TOKENS: ("POST", "/v1/messages/count_tokens"),
    Kind.CHAT: ("POST", "/v1/chat/completions"),
    Kind.MODELS: ("GET", "/v1/models"),
    Kind.MODEL: ("GET", "/v1/models/claude-sonnet-4-6"),
    Kind.BATCHES: ("POST", "/v1/messages/batches"),
    Kind.BATCH_LIST: ("GET", "/v1/messages/batches"),
    Kind.BATCH: ("GET", "/v1/messages/batches/msgbatch_1"),
    Kind.BATCH_CANCEL: ("POST", "/v1/messages/batches/msgbatch_1/cancel"),
    Kind.BATCH_DELETE: ("DELETE", "/v1/messages/batches/msgbatch_1"),
    Kind.BATCH_RESULTS: ("GET", "/v1/messages/batches/msgbatch_1/results"),
    Kind.FILE_LIST: ("GET", "/v1/files"),
    Kind.FILE: ("GET", "/v1/files/file_1"),
    Kind.FILE_CONTENT: ("GET", "/v1/files/file_1/content"),
    Kind.FILE_DELETE: ("DELETE", "/v1/files/file_1"),
    Kind.PROBE: ("HEAD", "/"),
    Kind.OPTIONS: ("OPTIONS", "/v1/messages"),
    Kind.NONE: ("GET", "/v1/unknown"),
}


@dataclass(slots=True)
class FakeClock:
    """A clock that goes only when told to."""

    seconds: float = EPOCH

    def now(self) -> float:
        """Seconds since the epoch."""
        return self.seconds

    def monotonic_ns(self) -> int:
        """Nanoseconds; starts at 0 when the clock starts at `EPOCH`."""
        return round((self.seconds - EPOCH) * 1e9)

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self.seconds += seconds


class Headers(Mapping[str, str]):
    """Request headers as a plugin sees them: read-only, names in any case."""

    def __init__(self, headers: Mapping[str, str] | None = None) -> None:
        self._values = {name.lower(): value for name, value in (headers or {}).items()}

    def __getitem__(self, name: str) -> str:
        return self._values[name.lower()]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)


def make_exchange(
    kind: Kind = Kind.MESSAGES,
    *,
    target: str | None = None,
    peer: str = "192.0.2.7",
    headers: Mapping[str, str] | None = None,
    client: Client | None = None,
    exchange_id: str = "tg_test",
    at: float = EPOCH,
) -> Exchange:
    """Return an exchange of that kind; `target` replaces its usual path and query."""
    method, usual = _TARGETS[kind]
    return Exchange(
        id=exchange_id,
        at=at,
        route=resolve(method, target or usual),
        peer=peer,
        headers=Headers({"anthropic-version": "2023-06-01", **(headers or {})}),
        client=client or Client(session="session-1", app="test/1.0"),
        trace=Trace(trace_id="0af7651916cd43dd8448eb211c80319c", span_id="b7ad6b7169203331"),
    )


def make_request(
    document: Mapping[str, Any] | bytes | None = None,
    *,
    kind: Kind = Kind.MESSAGES,
    principal: Principal = ANONYMOUS,
    credential: Credential | str | None = None,
) -> Request:
    """Return a request with that body: a document, or bytes to have every one as given.

    The body goes through the parser of the gateway, so that what it would refuse cannot
    reach the plugin here either. Kinds without a body get none.

    Raises:
        tidegate.wire.body.BodyError: the gateway refuses such a body before any plugin.
    """
    if isinstance(credential, str):
        credential = Credential(credential, "x-api-key")
    if kind not in WITH_BODY:
        return Request(body=EMPTY, view=EMPTY_VIEW, principal=principal, credential=credential)
    if not isinstance(document, bytes):
        usual = BATCH if kind is Kind.BATCHES else DOCUMENT
        document = json.dumps(usual if document is None else document).encode()
    body = parse(document)
    seen = view(body.document, kind)
    return Request(body=body, view=seen, principal=principal, credential=credential)


def make_answer(
    document: Mapping[str, Any] | bytes, *, media: str = "application/json", coding: str = ""
) -> Transcript:
    """Return an answer as `Inspector.inspect` sees it: of a document, or of bytes as they came."""
    payload = document if isinstance(document, bytes) else json.dumps(document).encode()
    capture = Capture(Room())
    capture.media, capture.coding = media, coding
    capture.feed(payload)
    return read(capture)


@dataclass(slots=True)
class Background:
    """What plugins spawn, as a generation would own it: `close` cancels all of it."""

    tasks: list[asyncio.Task[None]] = field(default_factory=list)

    def spawn(self, work: Awaitable[None], name: str) -> None:
        """Run `work` until it ends or `close` is called."""

        async def run() -> None:
            await work

        self.tasks.append(asyncio.get_running_loop().create_task(run(), name=name))

    async def close(self) -> list[BaseException]:
        """Cancel what still runs; return what the others failed with."""
        for task in self.tasks:
            task.cancel()
        results = await asyncio.gather(*self.tasks, return_exceptions=True)
        self.tasks.clear()
        return [result for result in results if isinstance(result, Exception)]


def make_host(
    state_dir: Path,
    *,
    name: str = "plugin",
    clock: FakeClock | None = None,
    background: Background | None = None,
    worker: int = 0,
    forwards_credential: bool = False,
    state: bytes = b"",
) -> Host:
    """Return a host for `PluginSpec.open`; pass a `Background` to close what was spawned."""
    return Host(
        name=name,
        clock=clock or FakeClock(),
        spawn=(background or Background()).spawn,
        state_dir=state_dir,
        worker=worker,
        forwards_credential=forwards_credential,
        state=state,
        info=(("version", "0.0.0"),),
        digest=lambda: "000000000000",
    )


@asynccontextmanager
async def open_plugin(
    spec: PluginSpec[Any],
    config: Mapping[str, Any] | None = None,
    *,
    state_dir: Path,
    clock: FakeClock | None = None,
    worker: int = 0,
    forwards_credential: bool = False,
    state: bytes = b"",
) -> AsyncIterator[Any]:
    """Open a plugin as the gateway would, with what a user writes under `[plugins.config]`.

    On leaving, the plugin is closed and what it spawned is cancelled.

    Raises:
        msgspec.ValidationError: the configuration does not fit the plugin's type.
        tidegate.errors.PluginError: the plugin refuses it.
    """
    background = Background()
    host = make_host(
        state_dir,
        clock=clock,
        background=background,
        worker=worker,
        forwards_credential=forwards_credential,
        state=state,
    )
    values = spec.default if config is None else config
    try:
        async with spec.open(msgspec.convert(values, spec.config), host) as plugin:
            yield plugin
    finally:
        await background.close()
