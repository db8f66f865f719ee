"""The simulator on a socket."""

import asyncio
import contextlib
import signal
from collections.abc import AsyncIterator, Awaitable, Callable

from aiohttp import web

from tidegate.simulator import delivery, replies
from tidegate.simulator.api import Api
from tidegate.simulator.checks import LARGEST_BODY
from tidegate.simulator.ledger import Ledger, Received, Stats
from tidegate.simulator.provider import Provider
from tidegate.simulator.replies import Reply

_OWN = "/_sim/"
_LONGEST_LINE = 65_536
Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]


class Simulator:
    """A running simulator: where it is, what it got, what it is doing."""

    def __init__(self, *, keep: int = 200, profile: str = "anthropic") -> None:
        self.url = ""
        self._api = Provider() if profile == "onedim" else Api()
        self._ledger = Ledger(keep)
        self._tasks: set[asyncio.Task[object]] = set()
        self._closing = False

    @property
    def requests(self) -> list[Received]:
        """The last requests, the oldest first."""
        return list(self._ledger.requests)

    @property
    def stats(self) -> Stats:
        """The numbers now."""
        return self._ledger.stats

    def clear(self) -> int:
        """Forget the requests; return how many there were. Counters go on."""
        count = len(self._ledger.requests)
        self._ledger.requests.clear()
        return count

    async def until(self, condition: Callable[[Stats], bool]) -> Stats:
        """Return the numbers as soon as they satisfy `condition`."""
        return await self._ledger.until(condition)

    async def idle(self) -> Stats:
        """Return the numbers as soon as no request is in flight."""
        return await self.until(lambda stats: not stats.in_flight)

    @contextlib.asynccontextmanager
    async def serving(self, host: str, port: int) -> AsyncIterator[None]:
        """Listen for as long as the context lasts; then cut off whoever is still there."""
        listener = _Listener(self._handle, self._ledger)
        runner = web.ServerRunner(listener, shutdown_timeout=0.1)
        await runner.setup()
        try:
            await web.TCPSite(runner, host, port).start()
            bound = runner.addresses[0][1]
            self.url = f"http://{f'[{host}]' if ':' in host else host}:{bound}"
            yield
        finally:
            self._closing = True
            for task in self._tasks:
                task.cancel()
            await runner.cleanup()

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        if request.path.startswith(_OWN):
            return await self._inspect(request)
        task = asyncio.current_task()
        if task is not None:
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        received = self._receive(request)
        with self._ledger.exchange(received):
            return await self._answer(request, received)

    def _receive(self, request: web.BaseRequest) -> Received:
        folded: dict[str, str] = {}
        for name in request.headers:
            folded[name.lower()] = ", ".join(request.headers.getall(name))
        return Received(
            id=self._ledger.stats.requests + 1,
            method=request.method,
            target=request.raw_path,
            raw_headers=tuple(request.raw_headers),
            headers=folded,
        )

    async def _answer(self, request: web.BaseRequest, received: Received) -> web.StreamResponse:
        response = web.StreamResponse()
        try:
            await _read_body(request, received)
            self._ledger.trim()
            reply = self._api.reply(received)
            await asyncio.sleep(reply.options.delay_ms / 1000)
            response = delivery.head(reply)
            await self._send(request, response, reply, received)
        except asyncio.CancelledError:
            received.disconnected = not self._closing
            raise
        except ConnectionError:
            received.disconnected = True
        return response

    async def _send(
        self,
        request: web.BaseRequest,
        response: web.StreamResponse,
        reply: Reply,
        received: Received,
    ) -> None:
        if reply.disconnect:
            delivery.close(request)
            return
        await response.prepare(request)
        received.status = reply.status
        if request.method == "HEAD" or reply.status in {204, 304}:
            return
        self._ledger.add("streams", int(reply.stream))
        try:
            await delivery.send(request, response, reply)
        finally:
            self._ledger.add("streams", -int(reply.stream))

    async def _inspect(self, request: web.BaseRequest) -> web.Response:
        match request.method, request.path:
            case "GET", "/_sim/requests":
                return _json({"requests": [received.describe() for received in self.requests]})
            case "DELETE", "/_sim/requests":
                return _json({"cleared": self.clear()})
            case "GET", "/_sim/stats":
                if request.query.get("wait") == "idle":
                    await self.idle()
                return _json(self.stats.describe())
            case _:
                return web.Response(status=404)


def _json(value: object) -> web.Response:
    return web.Response(body=replies.encode(value), content_type="application/json")


async def _read_body(request: web.BaseRequest, received: Received) -> None:
    """Read the body as it comes: all of it, so that a refusal reaches the caller."""
    if received.headers.get("expect", "").lower() == "100-continue":
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        request.writer.output_size = 0  # that was not the answer
    parts: list[bytes] = []
    async for part in request.content.iter_any():
        received.size += len(part)
        if received.size <= LARGEST_BODY:
            parts.append(part)
    received.body = b"".join(parts)


class _Listener(web.Server):
    """A server that counts its connections, and stops a handler whose client has left."""

    def __init__(self, handler: Handler, ledger: Ledger) -> None:
        super().__init__(
            handler,
            handler_cancellation=True,
            access_log=None,
            max_line_size=_LONGEST_LINE,
            max_field_size=_LONGEST_LINE,
            auto_decompress=False,
        )
        self._ledger = ledger

    def connection_made(self, handler: web.RequestHandler, transport: asyncio.Transport) -> None:
        super().connection_made(handler, transport)
        self._ledger.add("connections")

    def connection_lost(
        self, handler: web.RequestHandler, exc: BaseException | None = None
    ) -> None:
        super().connection_lost(handler, exc)
        self._ledger.add("connections", -1)


@contextlib.asynccontextmanager
async def serve_simulator(
    host: str = "127.0.0.1", port: int = 0, *, profile: str = "anthropic"
) -> AsyncIterator[Simulator]:
    """Run a simulator in this event loop; port 0 is any that is free.

    `profile` is whose API it plays: `anthropic` or `onedim`.
    """
    simulator = Simulator(profile=profile)
    async with simulator.serving(host, port):
        yield simulator


async def run(
    host: str, port: int, *, announce: Callable[[str], None], profile: str = "anthropic"
) -> None:
    """Serve until SIGINT or SIGTERM. `announce` gets the URL when requests are accepted.

    Both are taken over: a shell starts what runs in its background with SIGINT ignored, and a
    container's first process ignores SIGTERM.
    """
    told = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, told.set)
    async with serve_simulator(host, port, profile=profile) as simulator:
        announce(simulator.url)
        await told.wait()
