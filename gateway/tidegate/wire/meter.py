"""The usage meter: reads a copy of an answer, and tells what it cost and how it ended.

It is fed after the client has its bytes. It never raises: what it cannot read stops the
meter, and `Reading.stopped` says why.
"""

import zlib
from collections.abc import Callable
from functools import partial
from typing import Any, Protocol

import msgspec

from tidegate.wire import sse
from tidegate.wire.coding import INFLATABLE, PLAIN, Inflater, coding_of
from tidegate.wire.counts import counts

MAX_JSON_BYTES = 16 * 1024 * 1024
"""Of an unstreamed answer. 128k tokens of output are below 1 MB; fetched documents are larger."""

MAX_INFLATED_BYTES = 256 * 1024 * 1024
"""Of a compressed answer, so that no upstream can keep the meter busy for ever."""


class Reading(msgspec.Struct, frozen=True):
    """What an answer said of itself."""

    usage: dict[str, Any] | None = None
    """The API's own usage object, merged over the stream; null where there was none."""
    source: str = "none"
    """`final` only if the closing numbers were seen; `none` also where all of them are 0."""
    complete: bool = True
    """False for a stream that ended without `message_stop`, `error` or a JSON that broke off."""
    id: str | None = None
    """The answer's own, such as `msg_…`."""
    model: str | None = None
    stop_reason: str | None = None
    error_type: str | None = None
    error_event: bool = False
    """The stream ended in an `error` event."""
    events: int = 0
    stopped: str | None = None


class Meter(Protocol):
    """Fed with the payload of one answer."""

    @property
    def first_token(self) -> bool:
        """Whether a content delta has been seen."""
        ...

    def feed(self, piece: bytes) -> None:
        """Take in what has just been passed on."""
        ...

    def finish(self) -> Reading:
        """Return the reading, also of an answer that broke off."""
        ...


def merge(usage: dict[str, Any], newer: dict[str, Any]) -> None:
    """Merge a later usage object into `usage` (messages-api sheet, section 4.3).

    The numbers are cumulative: they replace, they never add. Null never erases.
    """
    usage.update({key: value for key, value in newer.items() if value is not None})


def add(usage: dict[str, Any], newer: dict[str, Any]) -> None:
    """Add a later usage object to `usage`, for providers whose numbers are increments."""
    for key, value in newer.items():
        known = usage.get(key)
        if type(value) is int and type(known) is int:
            usage[key] = known + value
        elif value is not None:
            usage[key] = value


_COUNTED = (
    "input_tokens",
    "output_tokens",
    "cache_creation_input_tokens",
    "cache_read_input_tokens",
)


def counted(usage: dict[str, Any] | None) -> bool:
    """Whether a usage object counts anything: some providers send one that is all zeros."""
    return usage is not None and any(counts(usage, *_COUNTED))


class _Error(msgspec.Struct, frozen=True):
    type: str | None = None


class _Delta(msgspec.Struct, frozen=True):
    stop_reason: str | None = None


class _Message(msgspec.Struct, frozen=True):
    id: Any = None
    model: str | None = None
    usage: dict[str, Any] | None = None
    stop_reason: str | None = None


class _To(msgspec.Struct, frozen=True):
    model: str | None = None


class _Block(msgspec.Struct, frozen=True):
    type: str | None = None
    to: _To | None = None


class _Payload(msgspec.Struct, frozen=True):
    """The fields that matter of any event's or answer's JSON; all others are skipped."""

    type: str | None = None
    message: _Message | None = None
    delta: _Delta | None = None
    usage: dict[str, Any] | None = None
    error: _Error | None = None
    content_block: _Block | None = None


class _Answer(msgspec.Struct, frozen=True):
    type: str | None = None
    id: Any = None
    model: str | None = None
    usage: dict[str, Any] | None = None
    stop_reason: str | None = None
    error: _Error | None = None


_payload = msgspec.json.Decoder(_Payload)
_answer = msgspec.json.Decoder(_Answer)

_DELTA = b"event: content_block_delta\n"
_READ = frozenset(
    (b"message_start", b"message_delta", b"message_stop", b"content_block_start", b"error")
)


class StreamMeter:
    """Reads a stream of server-sent events."""

    __slots__ = ("_between", "_broken", "_closed", "_closing", "_decoder", "_ended", "_error", "_events", "_id", "_model", "_stop", "_take_in", "_usage", "first_token")  # fmt: skip

    def __init__(self, *, increments: bool = False) -> None:
        self.first_token = False
        self._take_in = add if increments else merge
        self._decoder = sse.Decoder()
        self._between = True  # the stream stands between two events
        self._events = 0
        self._usage: dict[str, Any] | None = None
        self._closing = False  # a message_delta with a stop reason has been seen
        self._closed = False  # and it, or one after it, told the output
        self._ended = False  # message_stop has been seen
        self._id: Any = None
        self._model: str | None = None
        self._stop: str | None = None
        self._error: str | None = None
        self._broken = 0  # events whose JSON could not be read

    def feed(self, piece: bytes) -> None:
        # Nearly every piece is exactly one delta, and says nothing that is needed here.
        if piece.startswith(_DELTA) and self._between and piece.find(b"\n\n") == len(piece) - 2:
            self._events += 1
            self.first_token = True
        elif b"\r" in piece:
            self._decode(piece)
        else:
            self._feed_lines(piece)

    def _feed_lines(self, piece: bytes) -> None:
        """Take in a piece whose lines end in LF: deltas in it are counted, not decoded."""
        at = 0
        while at < len(piece):
            end = piece.find(b"\n\n", at) + 2
            if end < 2:
                end = len(piece)
            elif self._between and piece.startswith(_DELTA, at):
                self._events += 1
                self.first_token = True
                at = end
                continue
            self._decode(piece[at:end])
            at = end

    def _decode(self, piece: bytes) -> None:
        for event in self._decoder.feed(piece):
            self._read(event)
        self._between = self._decoder.idle

    def finish(self) -> Reading:
        for event in self._decoder.finish():
            self._read(event)
        final = self._closing and self._closed
        return Reading(
            usage=self._usage,
            source="none" if not counted(self._usage) else "final" if final else "partial",
            complete=self._ended or self._error is not None,
            id=_id(self._id),
            model=self._model,
            stop_reason=self._stop,
            error_type=self._error,
            error_event=self._error is not None,
            events=self._events,
            stopped=self._stopped(),
        )

    def _stopped(self) -> str | None:
        if self._decoder.skipped:
            return "event_too_large"
        return "event_unreadable" if self._broken else None

    def _read(self, event: sse.Event) -> None:
        self._events += 1
        if event.name == b"content_block_delta":
            self.first_token = True
            return
        # Unknown events may hold anything, a usage object among it: they are not read.
        if self._ended or (event.name and event.name not in _READ):
            return
        try:
            payload = _payload.decode(event.data)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            self._broken += event.data.strip() not in (b"", b"[DONE]")
            return
        self._take(event.name.decode() or payload.type or "", payload)

    def _take(self, kind: str, payload: _Payload) -> None:
        match kind:
            case "message_start" if payload.message is not None:
                self._id = payload.message.id
                self._model = payload.message.model
                self._usage = dict(payload.message.usage) if payload.message.usage else None
            case "content_block_start":
                block = payload.content_block
                if block is not None and block.type == "fallback" and block.to is not None:
                    self._model = block.to.model or self._model
            case "content_block_delta":
                self.first_token = True
            case "message_delta":
                self._close(payload)
            case "message_stop":
                self._ended = True
            case "error":
                self._error = (payload.error and payload.error.type) or "unknown"
            case _:
                pass  # deltas and blocks hold nothing that is needed here

    def _close(self, payload: _Payload) -> None:
        if payload.delta is not None and payload.delta.stop_reason is not None:
            self._stop = payload.delta.stop_reason
            self._closing = True
        if payload.usage is not None:
            self._usage = self._usage if self._usage is not None else {}
            self._take_in(self._usage, payload.usage)
            # A number from before the end is a lower bound of the whole.
            self._closed |= self._closing and type(payload.usage.get("output_tokens")) is int


class JsonMeter:
    """Reads an unstreamed answer: a message, a token count or an error."""

    __slots__ = ("_pieces", "_size", "first_token")

    def __init__(self) -> None:
        self.first_token = False
        self._pieces: list[bytes] = []
        self._size = 0

    def feed(self, piece: bytes) -> None:
        self._size += len(piece)
        if self._size <= MAX_JSON_BYTES:
            self._pieces.append(piece)
        else:
            self._pieces.clear()

    def finish(self) -> Reading:
        if self._size > MAX_JSON_BYTES:
            return Reading(stopped="answer_too_large")
        try:
            answer = _answer.decode(b"".join(self._pieces))
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            return Reading(complete=False, stopped="answer_unreadable")
        error = answer.error.type if answer.error is not None else None
        return Reading(
            usage=answer.usage,
            source="final" if counted(answer.usage) else "none",
            id=_id(answer.id),
            model=answer.model,
            stop_reason=answer.stop_reason,
            error_type=error,
        )


def _id(value: object) -> str | None:
    """Return an answer's id; one of another type must not cost the reading of the rest."""
    return value[:128] if isinstance(value, str) else None


class SilentMeter:
    """For answers that have no usage."""

    first_token = False

    def feed(self, piece: bytes) -> None:
        pass

    def finish(self) -> Reading:
        return Reading()


class UnreadableMeter(SilentMeter):
    """For answers in a coding that was not offered."""

    def finish(self) -> Reading:
        return Reading(stopped="coding_unknown")


class InflatingMeter:
    """Decompresses the copy before another meter reads it."""

    __slots__ = ("_inflater", "_meter", "_size", "_stopped")

    def __init__(self, meter: Meter) -> None:
        self._inflater = Inflater()
        self._meter = meter
        self._size = 0
        self._stopped: str | None = None

    @property
    def first_token(self) -> bool:
        return self._meter.first_token

    def feed(self, piece: bytes) -> None:
        if self._stopped is not None:
            return
        try:
            for part in self._inflater.parts(piece):
                self._size += len(part)
                self._meter.feed(part)
                if self._size > MAX_INFLATED_BYTES:
                    self._stopped = "answer_too_large"
                    return
        except zlib.error:
            self._stopped = "inflate_failed"

    def finish(self) -> Reading:
        reading = self._meter.finish()
        return msgspec.structs.replace(reading, stopped=self._stopped or reading.stopped)


def meter_for(content_type: str, coding: str, usage: str = "cumulative") -> Meter:
    """Return the meter for an answer with these `Content-Type` and `Content-Encoding` values.

    `usage` tells how the numbers in a stream are meant (`tidegate.wire.profiles`).
    """
    streamed = partial(StreamMeter, increments=usage == "increments")
    return fitting(content_type, coding, streamed, JsonMeter)


def fitting(
    content_type: str, coding: str, streamed: Callable[[], Meter], whole: Callable[[], Meter]
) -> Meter:
    """Return a meter for a stream or for a whole document, behind what undoes the coding."""
    media = content_type.partition(";")[0].strip().lower()
    if media == "text/event-stream":
        meter = streamed()
    elif media == "application/json" or media.endswith("+json"):
        meter = whole()
    else:
        return SilentMeter()
    coding = coding_of(coding)
    if coding in PLAIN:
        return meter
    return InflatingMeter(meter) if coding in INFLATABLE else UnreadableMeter()
