"""Relays for clients of the OpenAI format: where the upstream converts, and where the gateway does.

What is converted goes out event by event, in the callback in which it came; nothing is held
back but an event that is not whole. The meter reads the upstream's own bytes.
"""

import time
import zlib
from collections.abc import Iterator

from tidegate.http.relay import Relay
from tidegate.http.upstream import UpstreamError
from tidegate.openai.client import Caller, Converter, How
from tidegate.wire.answer import Answer
from tidegate.wire.chat import chat_meter_for
from tidegate.wire.coding import INFLATABLE, PLAIN, Inflater, coding_of
from tidegate.wire.framing import LAST_CHUNK, Framing, chunk

MAX_ANSWER_BYTES = 64 * 1024 * 1024
"""Of one that is not streamed, and of what a compressed one inflates to."""

_WRITTEN_ANEW = frozenset((
    b"content-length", b"content-type", b"content-encoding", b"content-md5", b"content-digest",
    b"repr-digest", b"etag", b"accept-ranges",
))  # fmt: skip
"""Headers that tell of the upstream's bytes."""


class PassingRelay(Relay):
    """Passes on what the upstream has converted, and reads its usage."""

    def head(self, answer: Answer, framing: Framing, *, more: bool) -> None:
        super().head(answer, framing, more=more)
        self._meter = chat_meter_for(answer.content_type, answer.content_encoding)


class ConvertingRelay(Relay):
    """Receives one answer and passes it on in another format."""

    _stream: Converter | None = None
    _inflater: Inflater | None = None
    _left = MAX_ANSWER_BYTES
    _answer: Answer
    _body: bytearray

    @property
    def _caller(self) -> Caller:
        caller = self._course.caller
        if caller is None:
            raise AssertionError("only for clients of the OpenAI format")
        return caller

    def head(self, answer: Answer, framing: Framing, *, more: bool) -> None:
        self._answer, self._body = answer, bytearray()
        media = answer.content_type.partition(";")[0].strip().lower()
        if media == "text/event-stream" and answer.status < 400:
            self._stream = self._caller.stream(increments=self._usage == "increments")
        super().head(answer, framing, more=True)
        if self._caller.how is How.PASS:
            self._meter = chat_meter_for(answer.content_type, answer.content_encoding)
        coding = coding_of(answer.content_encoding)
        if coding in INFLATABLE:  # though that was not asked for
            self._inflater = Inflater()
        elif coding not in PLAIN:
            self._give_up("its answer has a coding that was not asked for")
        if self._stream is not None and not more:
            self._write(b"")

    def data(self, raw: bytes, payload: list[bytes]) -> None:
        self._last_ns = time.monotonic_ns()
        try:
            for piece in payload:
                self._take(self._inflated(piece))
        except (zlib.error, ValueError):
            self._give_up("its answer cannot be converted")
        for piece in payload:
            self._meter.feed(piece)
            if self._course.capture is not None:
                self._course.capture.feed(piece)
        if not self._at.first_token and self._meter.first_token:
            self._at.first_token = self._last_ns

    def _inflated(self, piece: bytes) -> bytes:
        """Return what is in a piece.

        Raises:
            zlib.error, ValueError: it is broken, or too large.
        """
        if self._inflater is None:
            return piece
        parts: list[bytes] = []
        for part in self._inflater.parts(piece):
            self._left -= len(part)
            if self._left <= 0:
                raise ValueError("too large")
            parts.append(part)
        return b"".join(parts)

    def _take(self, piece: bytes) -> None:
        if self._stream is not None:
            self._say(self._stream.feed(piece))
            return
        self._body += piece
        if len(self._body) > MAX_ANSWER_BYTES:
            raise ValueError("too large")

    def ended(self) -> None:
        if self._done.done():
            return
        if self._stream is None:
            try:
                body = self._caller.document(bytes(self._body), self._answer.status)
            except ValueError:
                self._give_up("its answer cannot be converted")
                return
            self._first = self._whole_head(len(body))
            self._say(body)
        else:
            self._say(self._stream.finish())
            if not self._http10:
                self._write(LAST_CHUNK)
        self._at.last_byte = self._last_ns
        self._done.set_result(None)

    def _say(self, converted: bytes) -> None:
        if not converted:
            return
        framed = self._stream is not None and not self._http10
        self._write(chunk(converted) if framed else converted)
        self._course.response += len(converted)
        if self._course.digests is not None:
            self._course.digests.response.update(converted)

    def _client_head(self, answer: Answer, framing: Framing) -> bytes:
        """Return a stream's head; that of a whole answer waits for its length."""
        if self._stream is None:
            return b""
        media = answer.content_type.encode("latin-1")
        lines = [*self._lines(), b"Content-Type: %s" % media]
        if not self._http10:
            lines.append(b"Transfer-Encoding: chunked")
        return self._closed(lines)

    def _whole_head(self, length: int) -> bytes:
        passes = self._caller.how is How.PASS
        media = self._answer.content_type.encode("latin-1") if passes else b"application/json"
        lines = [*self._lines(), b"Content-Type: %s" % media]
        return self._closed([*lines, b"Content-Length: %d" % length])

    def _lines(self) -> Iterator[bytes]:
        answer, converts = self._answer, self._caller.how is How.CONVERT
        yield b"HTTP/1.1 %d %s" % (answer.status, answer.reason)
        for line in answer.kept:
            name = line.partition(b":")[0].lower()
            if name not in _WRITTEN_ANEW and not (converts and name == b"x-request-id"):
                yield line
        if converts:
            request_id = answer.request_id or self._course.exchange.id
            yield b"x-request-id: %s" % request_id.encode("latin-1")
        yield self._own

    def _closed(self, lines: list[bytes]) -> bytes:
        if not self.keep_alive:
            lines.append(b"Connection: close")
        return b"\r\n".join((*lines, b"", b""))

    def _give_up(self, why: str) -> None:
        """The upstream's answer is of no use; nothing more of it is read."""
        if self._connection is not None:
            self._connection.abort()
        self.failed(UpstreamError(why, "upstream_cut"))
