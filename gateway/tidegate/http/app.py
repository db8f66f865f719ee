"""The data plane of one worker: sockets in front, the handler between, a pool behind."""

import asyncio
import contextlib
import logging
import socket
import ssl

from aiohttp import web

from tidegate.clock import Clock
from tidegate.config import Listen
from tidegate.errors import ConfigError, Problem
from tidegate.http.connection import ClientConnection, Server
from tidegate.http.handler import Handler, Serving
from tidegate.http.pool import Pool
from tidegate.journal.writer import Writer
from tidegate.pipeline.generation import Generation

log = logging.getLogger(__name__)

MAX_FIELD_BYTES = 32 * 1024
"""Of one request header. Bearer tokens with many claims reach 16 KB."""

CUT_S = 0.01
"""aiohttp takes 0 for "however long it takes"."""

FLUSH_LOOK_S = 0.02

READ_BUFFER_BYTES = 1024 * 1024
"""What is read of a body before its sender has to wait for us."""


class DataPlane:
    """Serves on a socket until it is drained."""

    def __init__(self, generation: Generation, writer: Writer, clock: Clock, worker: int) -> None:
        self.handler = Handler(_serving(generation), writer, clock, worker)
        self._server = Server(
            self.handler.exchange,
            record_malformed=self.handler.record_malformed,
            handler_cancellation=True,  # a client that leaves frees its upstream at once
            access_log=None,
            auto_decompress=False,
            read_bufsize=READ_BUFFER_BYTES,
            max_field_size=MAX_FIELD_BYTES,
            max_line_size=MAX_FIELD_BYTES,
            max_headers=256,
        )
        self._runner = web.ServerRunner(self._server)
        self._retiring: set[asyncio.Task[None]] = set()

    @property
    def generation(self) -> Generation:
        """What new exchanges run under."""
        return self.handler.serving.generation

    @property
    def pools(self) -> list[Pool]:
        """The current generation's connections, a pool for each upstream."""
        return list(self.handler.serving.pools.values())

    async def listen(self, listener: socket.socket, listen: Listen) -> None:
        """Begin to accept on a bound socket.

        Raises:
            ConfigError: the certificate cannot be used.
        """
        await self._runner.setup()
        site = web.SockSite(self._runner, listener, ssl_context=server_tls(listen), backlog=4096)
        await site.start()

    def swap(self, generation: Generation) -> None:
        """Run new exchanges under `generation`; the old one ends with its last exchange."""
        old = self.generation
        self.handler.serving = _serving(generation)
        task = asyncio.get_running_loop().create_task(old.retire(), name="retire")
        self._retiring.add(task)
        task.add_done_callback(self._retiring.discard)

    async def drain(self, drain_s: float) -> None:
        """Accept no more, let what is in flight finish, and close.

        What is not finished after `drain_s` is cut, with outcome `drained`.
        """
        self.handler.draining = True
        for site in list(self._runner.sites):
            await site.stop()
        for connection in self._server.connections:
            if isinstance(connection, ClientConnection):
                connection.close_if_idle()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(drain_s):
                await self.handler.idle(drain_s)
                await self._flushed()
        await self._server.shutdown(timeout=CUT_S)
        await self._runner.cleanup()
        await self.handler.settled()
        await asyncio.gather(*self._retiring, return_exceptions=True)
        await self.generation.retire()

    async def _flushed(self) -> None:
        """Wait until slow clients have taken what is over for us."""
        while any(  # noqa: ASYNC110 - transports tell nobody
            connection.transport is not None and connection.transport.get_write_buffer_size()
            for connection in self._server.connections
        ):
            await asyncio.sleep(FLUSH_LOOK_S)


def _serving(generation: Generation) -> Serving:
    pools = {target.name: Pool(target.config) for target in generation.targets}
    for pool in pools.values():
        generation.stack.push_async_callback(pool.close)
    return Serving(generation, pools)


def server_tls(listen: Listen) -> ssl.SSLContext | None:
    """Return the context that clients are served with, if TLS is configured.

    Raises:
        ConfigError: certificate or key cannot be read.
    """
    if listen.tls_cert is None or listen.tls_key is None:
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    try:
        context.load_cert_chain(listen.tls_cert, listen.tls_key)
    except OSError as error:  # ssl.SSLError is one
        raise ConfigError([Problem("listen.tls_cert", f"cannot be used: {error}")]) from None
    return context
