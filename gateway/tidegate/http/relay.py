"""The relay: an answer, from the upstream's socket straight to the client's.

Each piece is written to the client as it arrives, before anything else looks at it. The
meter reads a copy afterwards, a few events at a time, and where answers are inspected a
capture keeps one. Nothing is queued here: what the client does not take in time makes the
upstream wait.
"""

import asyncio
import time

from tidegate.http.upstream import Connection, UpstreamError
from tidegate.pipeline.conclude import Course
from tidegate.wire.answer import Answer
from tidegate.wire.framing import LAST_CHUNK, Framing, Length, UntilClose, chunk
from tidegate.wire.meter import Meter, SilentMeter, meter_for

MOST_UNREAD = 16
"""Pieces of a stream that are looked at together: they take memory until then."""
LARGE_BYTES = 2048
"""More than events of a few tokens: looked at by itself."""
SLOW_NS = 1_000_000_000
"""What comes after so long a gap is looked at by itself as well: there is time."""


class Relay:
    """Receives one answer and passes it on."""

    __slots__ = ("_again", "_at", "_capture", "_client", "_connection", "_course", "_digests", "_done", "_first", "_framing", "_has_token", "_http10", "_idle_s", "_last_ns", "_longest_gap", "_meter", "_own", "_passed", "_paused", "_rewrites", "_unread", "_usage", "_wait_s", "keep_alive")  # fmt: skip

    def __init__(
        self,
        client: asyncio.WriteTransport,
        course: Course,
        *,
        own_lines: bytes,
        http10: bool,
        keep_alive: bool,
        first_byte_timeout_s: float,
        idle_timeout_s: float,
        usage: str = "cumulative",
    ) -> None:
        self.keep_alive = keep_alive and not http10
        self._client = client
        self._course = course
        self._at = course.at
        self._own = own_lines
        self._http10 = http10
        self._wait_s = first_byte_timeout_s
        self._idle_s = idle_timeout_s
        self._usage = usage
        self._done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._connection: Connection | None = None
        self._framing: Framing | None = None
        self._meter: Meter = SilentMeter()
        self._first: bytes | None = None  # the head, until the first piece goes with it
        self._again = False  # the body is framed anew, in chunks of our own
        self._paused = False
        self._rewrites = False  # for that, or for a client that knows no chunks
        self._last_ns = 0
        self._unread: list[bytes] = []  # payload that has been passed on
        self._passed = 0  # bytes of payload
        self._has_token = False
        self._longest_gap = 0
        self._capture = course.capture
        self._digests = course.digests

    def send(self, connection: Connection, head: bytes, body: bytes) -> None:
        """Send the request. Its body is not kept: an answer can take minutes."""
        self._connection = connection
        self._last_ns = self._at.dispatched
        connection.send(head, body, self)
        if self._paused:
            connection.pause_reading()  # the client has not yet taken its previous answer

    async def answered(self) -> None:
        """Wait until the whole answer has been passed on.

        Raises:
            UpstreamError: if nothing has `begun`, the client can still be told; otherwise
                it has to be `cut`.
            asyncio.CancelledError: the client has left; the upstream is freed at once.
        """
        try:
            await self._done
        except asyncio.CancelledError:
            if self._connection is not None:
                self._connection.abort()
            raise
        finally:
            self._conclude()

    def _conclude(self) -> None:
        """Tell the course what was counted here: it is out of reach while events pass."""
        if self._unread:
            self._read()
        course = self._course
        course.reading = self._meter.finish()
        course.response += self._passed
        if self._has_token:
            course.at.longest_gap = self._longest_gap

    @property
    def begun(self) -> bool:
        """Whether the client has been sent anything."""
        return self._at.first_byte != 0

    # called by the connection to the upstream

    def head(self, answer: Answer, framing: Framing, *, more: bool) -> None:
        self._last_ns = self._at.upstream_head = time.monotonic_ns()
        self._framing = framing
        course = self._course
        course.status = answer.status
        course.upstream_request_id = answer.request_id
        course.upstream_limits = b"\n".join(answer.limits)
        self._meter = meter_for(answer.content_type, answer.content_encoding, self._usage)
        if course.capture is not None:
            course.capture.media = answer.content_type
            course.capture.coding = answer.content_encoding
        self._first = self._client_head(answer, framing)
        self._rewrites = self._again or self._http10
        if not more:
            self._write(b"")

    def data(self, raw: bytes, payload: list[bytes]) -> None:
        if self._rewrites:
            raw = b"".join([chunk(p) for p in payload] if self._again else payload)
        before = self._last_ns
        self._write(raw)
        unread = self._unread
        unread += payload
        if not self._has_token:
            if unread:
                self._read()
            return
        gap = self._last_ns - before
        if gap > self._longest_gap:  # noqa: PLR1730 - max() takes three times as long
            self._longest_gap = gap
        if len(unread) >= MOST_UNREAD or len(raw) > LARGE_BYTES or gap > SLOW_NS:
            self._read()

    def _read(self) -> None:
        """Look at what has been passed on: once for many events, whose objects are then at hand."""
        unread = self._unread
        piece = b"".join(unread) if len(unread) != 1 else unread[0]
        unread.clear()
        self._passed += len(piece)
        self._meter.feed(piece)
        if self._capture is not None:
            self._capture.feed(piece)
        if self._digests is not None:
            self._digests.response.update(piece)
        if not self._has_token and self._meter.first_token:
            self._has_token = True
            self._at.first_token = self._last_ns

    def ended(self) -> None:
        if self._first is not None:
            self._write(b"")
        if self._again:
            self._write(LAST_CHUNK)
        self._at.last_byte = self._last_ns
        if not self._done.done():
            self._done.set_result(None)

    def failed(self, error: UpstreamError) -> None:
        if not self._done.done():
            self._done.set_exception(error)

    # called by the connection to the client

    def pause(self) -> None:
        """The client is slow: let the upstream wait."""
        self._paused = True
        if self._connection is not None:
            self._connection.pause_reading()

    def resume(self) -> None:
        """The client takes more."""
        self._paused = False
        self._last_ns = time.monotonic_ns()
        if self._connection is not None:
            self._connection.resume_reading()

    def _write(self, raw: bytes) -> None:
        client = self._client
        if client.is_closing():
            return  # the client has left; the handler is about to hear of it
        self._last_ns = time.monotonic_ns()
        if self._first is None:
            client.write(raw)
            return
        client.write(self._first + raw)
        self._first = None
        self._at.first_byte = time.monotonic_ns()

    def _client_head(self, answer: Answer, framing: Framing) -> bytes:
        lines = [b"HTTP/1.1 %d %s" % (answer.status, answer.reason), *answer.kept, self._own]
        self._own = b""  # let go of: an answer can take minutes
        if isinstance(framing, UntilClose):
            self._again = not self._http10
        if not self._http10 and not isinstance(framing, Length):
            lines.append(b"Transfer-Encoding: chunked")
        if not self.keep_alive:
            lines.append(b"Connection: close")
        lines.append(b"\r\n")
        return b"\r\n".join(lines)

    def cut(self) -> None:
        """End the client's connection so that it sees a cut, after what did arrive.

        For the handler, once it knows the outcome: closing cancels it.
        """
        if self._http10 and not isinstance(self._framing, Length):
            self._client.abort()  # closing would look like the end
        else:
            self._client.close()

    def check(self, now_ns: int) -> None:
        """Look whether the upstream, or a client that takes nothing, has been silent too long."""
        begun = self._framing is not None
        limit_s = self._idle_s if begun else self._wait_s
        if now_ns - self._last_ns < limit_s * 1e9:
            return
        if self._connection is not None:
            self._connection.abort()
        if self._paused:
            self.failed(UpstreamError(f"the client took nothing for {limit_s:g} s", "client_gone"))
        else:
            what = "silent" if begun else "without an answer"
            error = UpstreamError(f"the upstream was {what} for {limit_s:g} s", "upstream_timeout")
            self.failed(error)
