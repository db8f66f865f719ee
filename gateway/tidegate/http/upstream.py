"""The client side: connections to the upstream, kept alive and handed out.

Written on asyncio protocols, with aiohttp's parser for response heads: what the upstream
sends goes to the receiver as it came, framing included, with nothing queued in between.
"""

import asyncio
import ssl
from collections import deque
from dataclasses import dataclass
from typing import Any, Protocol, cast
from urllib.parse import urlsplit

from aiohttp.http import HttpProcessingError, HttpResponseParser

from tidegate.config import Upstream
from tidegate.wire import headers
from tidegate.wire.framing import Chunked, Framing, FramingError, Length, UntilClose

MAX_HEAD_BYTES = 64 * 1024
"""More than any CDN in front of an API adds."""


class UpstreamError(Exception):
    """The upstream could not be asked, or its answer not be followed.

    `outcome` is the word for the record.
    """

    def __init__(self, message: str, outcome: str) -> None:
        super().__init__(message)
        self.outcome = outcome


@dataclass(frozen=True, slots=True)
class Head:
    """The head of an answer, its headers in order and as they were written."""

    status: int
    reason: str
    fields: headers.Answer
    framing: Framing


class Receiver(Protocol):
    """Gets one answer, called from the event loop's reader."""

    def head(self, head: Head, *, more: bool) -> None:
        """The head is here; `more` if body bytes follow at once."""
        ...

    def data(self, raw: bytes, payload: list[bytes]) -> None:
        """A part of the body: as on the wire, and the payload in it."""
        ...

    def ended(self) -> None:
        """The answer is whole."""
        ...

    def failed(self, error: UpstreamError) -> None:
        """The answer will not be whole."""
        ...


class Connection(asyncio.Protocol):
    """One connection to the upstream; one exchange at a time."""

    __slots__ = ("_buffer", "_close", "_framing", "_pool", "_receiver", "idle_since", "transport")

    def __init__(self, pool: "Pool") -> None:
        self._pool = pool
        self.transport: asyncio.Transport | None = None
        self.idle_since = 0.0
        self._receiver: Receiver | None = None
        self._framing: Framing | None = None
        self._buffer = b""
        self._close = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def send(self, head: bytes, body: bytes, receiver: Receiver) -> None:
        """Send a request; `receiver` gets the answer."""
        transport = self.transport
        if transport is None or transport.is_closing():
            receiver.failed(UpstreamError("the connection was closed", "unreachable"))
            return
        self._receiver = receiver
        self._framing = None
        if len(body) < 16 * 1024:
            transport.write(head + body)
        else:
            transport.write(head)
            transport.write(body)

    def abort(self) -> None:
        """Close at once; the receiver hears nothing more."""
        self._receiver = None
        if self.transport is not None:
            self.transport.abort()

    def pause_reading(self) -> None:
        """Let the upstream wait: the client does not take more now."""
        if self.transport is not None and not self.transport.is_closing():
            self.transport.pause_reading()

    def resume_reading(self) -> None:
        """Read on."""
        if self.transport is not None and not self.transport.is_closing():
            self.transport.resume_reading()

    def data_received(self, data: bytes) -> None:
        receiver = self._receiver
        if receiver is None:
            # Bytes that answer nothing: whatever comes next on here cannot be trusted.
            self.abort()
            return
        try:
            if self._framing is None:
                data = self._read_head(data, receiver)
            if self._framing is not None:
                self._read_body(self._framing, data, receiver)
        except (FramingError, HttpProcessingError, ValueError) as error:
            self._fail(UpstreamError(f"the answer is malformed: {_brief(error)}", "upstream_cut"))

    def connection_lost(self, exc: Exception | None) -> None:
        self.transport = None
        self._pool.forget(self)
        receiver, self._receiver = self._receiver, None
        if receiver is None:
            return
        if exc is None and isinstance(self._framing, UntilClose):
            receiver.ended()
        else:
            reason = type(exc).__name__ if exc is not None else "closed"
            before = "before its answer" if self._framing is None else "within its answer"
            receiver.failed(
                UpstreamError(f"the upstream broke off {before} ({reason})", "upstream_cut")
            )

    def _read_head(self, data: bytes, receiver: Receiver) -> bytes:
        """Take the head off `data`; return what follows it, or nothing while it is not whole."""
        data = self._buffer + data if self._buffer else data
        self._buffer = b""
        while True:
            end = data.find(b"\r\n\r\n") + 4
            if end < 4:
                if len(data) > MAX_HEAD_BYTES:
                    raise ValueError(f"its head is longer than {MAX_HEAD_BYTES} bytes")
                self._buffer = data
                return b""
            message = _parse_head(data[:end], self._pool.loop)
            data = data[end:]
            if not 100 <= message.code < 200:
                break
            if message.code == 101:
                raise ValueError("it switches protocols, which nobody asked for")
        fields = headers.answer(message.raw_headers)
        framing = _framing(message.code, fields)
        self._close = message.should_close or isinstance(framing, UntilClose)
        self._framing = framing
        receiver.head(Head(message.code, message.reason, fields, framing), more=bool(data))
        return data

    def _read_body(self, framing: Framing, data: bytes, receiver: Receiver) -> None:
        if data and not framing.done:
            payload, taken = framing.feed(data)
            rest = len(data) - taken
            receiver.data(data[:taken] if rest else data, payload)
        else:
            rest = len(data)
        if framing.done and self._receiver is receiver:
            self._finish(receiver, clean=not rest)

    def _finish(self, receiver: Receiver, *, clean: bool) -> None:
        self._receiver = self._framing = None
        transport = self.transport
        if transport is not None:
            # An answer that came before the whole request had left is an odd ending.
            unsent = transport.get_write_buffer_size()
            if clean and not self._close and not unsent and not transport.is_closing():
                self._pool.put_back(self)
            else:
                transport.abort()
        receiver.ended()

    def _fail(self, error: UpstreamError) -> None:
        receiver, self._receiver = self._receiver, None
        self.abort()
        if receiver is not None:
            receiver.failed(error)


def _brief(error: Exception) -> str:
    """Return what is wrong without what was sent: parser errors quote it."""
    return str(error) if isinstance(error, (FramingError, ValueError)) else type(error).__name__


class _NoFlowControl:
    """What the parser's payload wants of a protocol; only heads are fed to it."""

    def pause_reading(self) -> None:
        pass

    def resume_reading(self, resume_parser: bool = True) -> None:
        pass


_NO_FLOW_CONTROL = cast("Any", _NoFlowControl())


def _parse_head(data: bytes, loop: asyncio.AbstractEventLoop) -> Any:
    parser = HttpResponseParser(
        _NO_FLOW_CONTROL,
        loop,
        MAX_HEAD_BYTES,
        max_line_size=MAX_HEAD_BYTES,
        max_field_size=MAX_HEAD_BYTES,
        max_headers=512,
        auto_decompress=False,
    )
    messages, _, _ = parser.feed_data(data)
    if not messages:
        raise ValueError("its head is not an HTTP head")
    return messages[0][0]


def _framing(status: int, fields: headers.Answer) -> Framing:
    """Return how the body is delimited (RFC 9112 section 6.3)."""
    if status in (204, 304):
        return Length(0)
    if fields.codings:
        if [coding.strip().lower() for coding in fields.codings] != [b"chunked"] or fields.lengths:
            raise ValueError("its transfer coding is not plain chunked")
        return Chunked()
    if not fields.lengths:
        return UntilClose()
    length = fields.lengths[0]
    if not length.isdigit() or any(other != length for other in fields.lengths):
        raise ValueError("its content length is not one number")
    return Length(int(length))


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
        self._sweeper = self.loop.call_later(1, self._sweep)

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
        oldest = self.loop.time() - self._config.keep_alive_s
        while self._idle and self._idle[0].idle_since < oldest:
            self._idle.popleft().abort()
        self._sweeper = self.loop.call_later(1, self._sweep)

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
