"""Connections to the upstream: opened, kept alive, handed out, swept up."""

import asyncio
import ssl
import time
from collections import deque
from urllib.parse import urlsplit

from tidegate.http.upstream import Connection, UpstreamError
from tidegate.upstreams import Upstream

SWEEP_S = 1.0
"""How often connections are looked at. A timer for each answer would take time and 600 bytes."""


class Pool:
    """Connections to one upstream, for one generation."""

    def __init__(self, config: Upstream) -> None:
        parts = urlsplit(config.url)
        self.loop = asyncio.get_running_loop()
        self.host = parts.hostname or ""
        self.port = parts.port or (443 if parts.scheme == "https" else 80)
        self.prefix = parts.path.rstrip("/")
        self.authority = parts.netloc.encode("idna" if not parts.netloc.isascii() else "ascii")
        self._config = config
        self._tls = upstream_tls(config) if parts.scheme == "https" else None
        self._idle: deque[Connection] = deque()
        self._all: set[Connection] = set()
        shortest_s = min(config.first_byte_timeout_s, config.idle_timeout_s)
        self._sweep_s = min(SWEEP_S, shortest_s / 4)
        self._sweeper = self.loop.call_later(self._sweep_s, self._sweep)

    @property
    def idle(self) -> int:
        """Connections that wait for a request."""
        return len(self._idle)

    @property
    def open(self) -> int:
        """Connections in all."""
        return len(self._all)

    def reuse(self) -> Connection | None:
        """Return the connection used last, if one is idle: it is the least likely to be stale."""
        while self._idle:
            connection = self._idle.pop()
            if connection.transport is not None and not connection.transport.is_closing():
                return connection
        return None

    async def connect(self) -> Connection:
        """Open a connection.

        Raises:
            UpstreamError: that failed, or took longer than `connect_timeout_s`.
        """
        try:
            async with asyncio.timeout(self._config.connect_timeout_s):
                connection = await self._open()
        except TimeoutError:
            waited = f"{self._config.connect_timeout_s:g} s"
            raise UpstreamError(f"no connection within {waited}", "upstream_timeout") from None
        except ssl.SSLError as error:
            reason = error.reason or type(error).__name__
            message = getattr(error, "verify_message", "") or reason
            raise UpstreamError(f"TLS failed: {message}", "unreachable") from None
        except OSError as error:
            raise UpstreamError(f"no connection: {_os_reason(error)}", "unreachable") from None
        self._all.add(connection)
        return connection

    def put_back(self, connection: Connection) -> None:
        """Keep a connection for the next request."""
        connection.idle_since = self.loop.time()
        self._idle.append(connection)

    def forget(self, connection: Connection) -> None:
        """A connection is gone."""
        self._all.discard(connection)
        if connection in self._idle:
            self._idle.remove(connection)

    async def close(self) -> None:
        """Close what is idle; leases keep the rest alive until the generation ends."""
        self._sweeper.cancel()
        for connection in list(self._all):
            connection.abort()

    def _sweep(self) -> None:
        self._sweeper = self.loop.call_later(self._sweep_s, self._sweep)
        oldest = self.loop.time() - self._config.keep_alive_s
        while self._idle and self._idle[0].idle_since < oldest:
            self._idle.popleft().abort()
        now_ns = time.monotonic_ns()
        for connection in list(self._all):
            connection.check(now_ns)

    async def _open(self) -> Connection:
        if self._config.proxy is not None:
            return await self._open_through(self._config.proxy)
        _, connection = await self.loop.create_connection(
            lambda: Connection(self), self.host, self.port, ssl=self._tls
        )
        return connection

    async def _open_through(self, proxy: str) -> Connection:
        """Open a tunnel through an HTTP proxy (RFC 9110 section 9.3.6)."""
        parts = urlsplit(proxy)
        transport, tunnel = await self.loop.create_connection(
            _Tunnel, parts.hostname or "", parts.port or 3128
        )
        try:
            await tunnel.establish(transport, self.host, self.port)
            connection = Connection(self)
            if self._tls is None:
                transport.set_protocol(connection)
                connection.connection_made(transport)
                return connection
            secured = await self.loop.start_tls(
                transport, connection, self._tls, server_hostname=self.host
            )
        except BaseException:
            transport.abort()
            raise
        if secured is None:
            raise OSError("the tunnel was closed during the TLS handshake")
        connection.connection_made(secured)
        return connection


class _Tunnel(asyncio.Protocol):
    """Speaks with a proxy until the tunnel stands."""

    def __init__(self) -> None:
        self._answer = b""
        self._ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def establish(self, transport: asyncio.WriteTransport, host: str, port: int) -> None:
        """Ask for the tunnel and wait for it.

        Raises:
            OSError: the proxy refuses.
        """
        target = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        transport.write(f"CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n".encode())
        await self._ready

    def data_received(self, data: bytes) -> None:
        self._answer += data
        if b"\r\n\r\n" not in self._answer or self._ready.done():
            return
        status = self._answer[:12]
        if status.startswith(b"HTTP/1.") and status[8:10] == b" 2":
            self._ready.set_result(None)
        else:
            shown = status[9:12].decode("ascii", "replace")
            self._ready.set_exception(OSError(f"the proxy refused the tunnel with {shown}"))

    def connection_lost(self, exc: Exception | None) -> None:
        if not self._ready.done():
            self._ready.set_exception(OSError("the proxy closed the connection"))


def upstream_tls(config: Upstream) -> ssl.SSLContext:
    """Return the context that the upstream is verified with.

    Raises:
        OSError: a file cannot be used.
    """
    context = ssl.create_default_context(cafile=config.ca_file)
    context.set_alpn_protocols(["http/1.1"])
    if config.client_cert is not None:
        context.load_cert_chain(config.client_cert)
    return context


def _os_reason(error: OSError) -> str:
    return error.strerror or str(error) or type(error).__name__
