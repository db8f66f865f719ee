"""The client side: one connection to the upstream, and how an answer is read from it.

Written on asyncio protocols: what the upstream sends goes to the receiver as it came,
framing included, with nothing queued in between.
"""

import asyncio
from typing import Protocol, cast

from tidegate.wire.answer import Answer, HeadError, framing_of, read_head
from tidegate.wire.framing import Framing, FramingError, UntilClose

MAX_HEAD_BYTES = 64 * 1024
"""More than any CDN in front of an API adds."""
SHORT_BYTES = 16 * 1024
"""Of a body that is copied to its head, for one call of the system in place of two."""
PART_BYTES = 256 * 1024
"""Of a body that is sent at once: the copying of 10 MB kept all others waiting for 8 ms."""


class UpstreamError(Exception):
    """The upstream could not be asked, or its answer not be followed.

    `outcome` is the word for the record.
    """

    def __init__(self, message: str, outcome: str) -> None:
        super().__init__(message)
        self.outcome = outcome


class Receiver(Protocol):
    """Gets one answer, called from the event loop's reader."""

    def head(self, answer: Answer, framing: Framing, *, more: bool) -> None:
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

    def check(self, now_ns: int) -> None:
        """Time passes: called every now and then, so that no answer needs a timer."""
        ...


class Owner(Protocol):
    """Whom a connection belongs to: the pool."""

    loop: asyncio.AbstractEventLoop

    def put_back(self, connection: "Connection") -> None:
        """It can be used again."""
        ...

    def forget(self, connection: "Connection") -> None:
        """It is gone."""
        ...


class Connection(asyncio.Protocol):
    """One connection to the upstream; one exchange at a time."""

    __slots__ = ("_buffer", "_close", "_framing", "_full", "_pool", "_receiver", "_unsent", "idle_since", "transport")  # fmt: skip

    def __init__(self, pool: "Owner") -> None:
        self._pool = pool
        self.transport: asyncio.Transport | None = None
        self.idle_since = 0.0
        self._receiver: Receiver | None = None
        self._framing: Framing | None = None
        self._buffer = b""
        self._close = False
        self._unsent: memoryview | None = None  # of the body
        self._full = False  # the transport has taken what it can for now

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
        if len(body) < SHORT_BYTES:
            transport.write(head + body)
        else:
            transport.write(head)
            self._unsent = memoryview(body)
            self._send_part()

    def _send_part(self) -> None:
        """Send what comes next of the body; what is left, after everybody else had a turn."""
        unsent, transport = self._unsent, self.transport
        if unsent is None or transport is None:
            return
        self._unsent = unsent[PART_BYTES:] if len(unsent) > PART_BYTES else None
        self._full = False
        transport.write(unsent[:PART_BYTES])
        if self._unsent is not None and not self._full:
            self._pool.loop.call_soon(self._send_part)

    def pause_writing(self) -> None:
        self._full = True

    def resume_writing(self) -> None:
        if self._unsent is not None:
            self._pool.loop.call_soon(self._send_part)

    def abort(self) -> None:
        """Close at once; the receiver hears nothing more."""
        self._receiver = self._unsent = None
        if self.transport is not None:
            self.transport.abort()

    def check(self, now_ns: int) -> None:
        """Let the receiver, if there is one, look whether it has waited too long."""
        if self._receiver is not None:
            self._receiver.check(now_ns)

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
            framing = self._framing
            if framing is None:
                data = self._read_head(data, receiver)
                framing = self._framing
                if framing is None:
                    return
            rest = len(data)
            if rest and not framing.done:
                payload, taken = framing.feed(data)
                rest -= taken
                receiver.data(data[:taken] if rest else data, payload)
            if framing.done and self._receiver is receiver:
                self._finish(receiver, clean=not rest)
        except (FramingError, HeadError) as error:
            self._fail(UpstreamError(f"the answer is malformed: {error}", "upstream_cut"))

    def connection_lost(self, exc: Exception | None) -> None:
        self.transport = self._unsent = None
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
                    raise HeadError(f"its head is longer than {MAX_HEAD_BYTES} bytes")
                self._buffer = data
                return b""
            answer = read_head(data[:end])
            data = data[end:]
            if answer.status >= 200:
                break
            if answer.status == 101:
                raise HeadError("it switches protocols, which nobody asked for")
        framing = framing_of(answer)
        self._close = answer.close or isinstance(framing, UntilClose)
        self._framing = framing
        receiver.head(answer, framing, more=bool(data))
        return data

    def _finish(self, receiver: Receiver, *, clean: bool) -> None:
        self._receiver = self._framing = None
        transport = self.transport
        if transport is not None:
            # An answer that came before the whole request had left is an odd ending.
            unsent = self._unsent is not None or transport.get_write_buffer_size()
            if clean and not self._close and not unsent and not transport.is_closing():
                if not transport.is_reading():
                    transport.resume_reading()  # a slow client had it paused
                self._pool.put_back(self)
            else:
                transport.abort()
        receiver.ended()

    def _fail(self, error: UpstreamError) -> None:
        receiver, self._receiver = self._receiver, None
        self.abort()
        if receiver is not None:
            receiver.failed(error)
