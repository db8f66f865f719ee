"""A stream of Messages as one of chat completion chunks, event by event (sheet, section 9.4).

Texts and fragments of tool arguments are moved as JSON literals, so that each costs one look
and not a character changes. Thinking, signatures and citations have no field there.
"""

import json
from typing import Any

import msgspec

from tidegate.openai.answer import finish_reason, usage
from tidegate.openai.encoding import encoded
from tidegate.openai.errors import converted, error
from tidegate.wire import sse
from tidegate.wire.meter import add, merge

DONE = b"data: [DONE]\n\n"
PING = b": ping\n\n"
"""A comment: keeps the connection busy while the model thinks."""
_DELTA = b"event: content_block_delta\ndata: "
_EVENTS = frozenset({
    "message_start", "content_block_start", "content_block_delta", "content_block_stop",
    "message_delta", "message_stop", "ping", "error",
})  # fmt: skip


class _Delta(msgspec.Struct):
    type: str = ""
    text: msgspec.Raw = msgspec.Raw(b"")
    partial_json: msgspec.Raw = msgspec.Raw(b"")
    stop_reason: str | None = None


class _To(msgspec.Struct):
    model: str | None = None


class _Block(msgspec.Struct):
    type: str = ""
    id: str | None = None
    name: str | None = None
    text: str | None = None
    input: Any = None
    to: _To | None = None


class _Message(msgspec.Struct):
    id: str = ""
    model: str = ""
    usage: dict[str, Any] | None = None


class _Event(msgspec.Struct):
    type: str = ""
    index: int = 0
    message: _Message | None = None
    content_block: _Block | None = None
    delta: _Delta | None = None
    usage: dict[str, Any] | None = None
    error: Any = None


_decoder = msgspec.json.Decoder(_Event)


class _Call:
    """A tool call that is being said: its number among the calls, and whether it has arguments."""

    __slots__ = ("given", "number", "said")

    def __init__(self, number: int, given: Any) -> None:
        self.number = number
        self.given = given
        self.said = False


class Chunks:
    """Converts one stream. `feed` it the payload in any split; what it returns is whole events."""

    def __init__(self, created: int, *, with_usage: bool, increments: bool = False) -> None:
        self._with_usage = with_usage
        self._take_in = add if increments else merge
        self._decoder = sse.Decoder(32 * 1024 * 1024)
        self._head: dict[str, Any] = {
            "id": "",
            "object": "chat.completion.chunk",
            "created": created,
            "model": "",
        }
        self._frame()
        self._usage: dict[str, Any] = {}
        self._calls: dict[int, _Call] = {}
        self._over = False

    def feed(self, piece: bytes) -> bytes:
        """Return the chunks that `piece` completes."""
        if b"\r" in piece:
            return self._decode(piece)
        said: list[bytes] = []
        at = 0
        while at < len(piece):
            end = piece.find(b"\n\n", at) + 2
            if end < 2:
                end = len(piece)
            elif (
                self._decoder.idle
                and piece.startswith(_DELTA, at)
                and piece.find(b"\n", at + len(_DELTA)) == end - 2
            ):  # nearly every event: the decoder would take five times as long as all the rest
                said.append(self._convert("content_block_delta", piece[at + len(_DELTA) : end - 2]))
                at = end
                continue
            said.append(self._decode(piece[at:end]))
            at = end
        return b"".join(said)

    def finish(self) -> bytes:
        """Return what is to be said at the end: an error, if the upstream has not ended properly."""
        said = self._converted(self._decoder.finish())
        if not self._over:
            said += self._fail(error("api_error", "the upstream's stream ended before its end"))
        return said

    def _decode(self, piece: bytes) -> bytes:
        said = self._converted(self._decoder.feed(piece))
        if self._decoder.skipped and not self._over:
            said += self._fail(error("api_error", "the upstream's stream holds too large an event"))
        return said

    def _converted(self, events: list[sse.Event]) -> bytes:
        return b"".join(
            [self._convert(event.name.decode("latin-1"), event.data) for event in events]
        )

    def _convert(self, name: str, data: bytes) -> bytes:
        if self._over or not data or (name and name not in _EVENTS):
            return b""
        try:
            found = _read(data)
        except (ValueError, RecursionError, msgspec.MsgspecError):
            return self._fail(error("api_error", "the upstream's stream cannot be read"))
        return self._said(name or found.type, found)

    def _said(self, name: str, found: _Event) -> bytes:
        match name:
            case "content_block_delta" if found.delta is not None:
                return self._delta(found.index, found.delta)
            case "message_start" if found.message is not None:
                return self._begin(found.message)
            case "content_block_start" if found.content_block is not None:
                return self._block(found.index, found.content_block)
            case "content_block_stop":
                return self._block_end(found.index)
            case "message_delta":
                return self._closing(found)
            case "message_stop":
                return self._stop()
            case "ping":
                return PING
            case "error":
                return self._fail(converted({"type": "error", "error": found.error}, 200))
            case _:
                return b""

    def _begin(self, message: _Message) -> bytes:
        self._head |= {"id": message.id, "model": message.model}
        self._take_in(self._usage, message.usage or {})
        self._frame()
        return self._chunk(b'{"role":"assistant","content":"","refusal":null}')

    def _frame(self) -> None:
        """Make what stands before and behind each delta."""
        head = encoded(self._head)[:-1]
        self._start = b"data: " + head + b',"choices":[{"index":0,"delta":'
        self._end = b',"usage":null}\n\n' if self._with_usage else b"}\n\n"

    def _chunk(self, delta: bytes, reason: bytes = b"null") -> bytes:
        return b'%s%s,"logprobs":null,"finish_reason":%s}]%s' % (
            self._start,
            delta,
            reason,
            self._end,
        )

    def _delta(self, index: int, delta: _Delta) -> bytes:
        if delta.type == "text_delta":
            text = _literal(delta.text)
            return self._chunk(b'{"content":%s}' % text) if text else b""
        call, fragment = self._calls.get(index), _literal(delta.partial_json)
        if delta.type != "input_json_delta" or call is None or not fragment:
            return b""
        call.said = True
        return self._arguments(call, fragment)

    def _arguments(self, call: _Call, fragment: bytes) -> bytes:
        return self._chunk(
            b'{"tool_calls":[{"index":%d,"function":{"arguments":%s}}]}' % (call.number, fragment)
        )

    def _block(self, index: int, block: _Block) -> bytes:
        if block.type == "text" and block.text:
            return self._chunk(encoded({"content": block.text}))
        if block.type == "fallback" and block.to is not None and block.to.model:
            self._head["model"] = block.to.model
            self._frame()
        if block.type != "tool_use":
            return b""
        call = self._calls[index] = _Call(len(self._calls), block.input)
        function = {"name": block.name, "arguments": ""}
        said = {"index": call.number, "id": block.id, "type": "function", "function": function}
        return self._chunk(encoded({"tool_calls": [said]}))

    def _block_end(self, index: int) -> bytes:
        """Say the arguments that came with the call's beginning: none are an empty object."""
        call = self._calls.get(index)
        if call is None or call.said:
            return b""
        call.said = True
        return self._arguments(call, encoded(encoded(call.given or {}).decode()))

    def _closing(self, event: _Event) -> bytes:
        self._take_in(self._usage, event.usage or {})
        reason = event.delta.stop_reason if event.delta is not None else None
        if reason is None:
            return b""
        return self._chunk(b"{}", encoded(finish_reason(reason)))

    def _stop(self) -> bytes:
        self._over = True
        if not self._with_usage:
            return DONE
        last = {**self._head, "choices": [], "usage": usage(self._usage)}
        return b"data: " + encoded(last) + b"\n\n" + DONE

    def _fail(self, found: dict[str, Any]) -> bytes:
        self._over = True
        return b"data: " + encoded(found) + b"\n\n"


def _literal(raw: msgspec.Raw) -> bytes:
    """Return what is a JSON string with something in it, as it is written."""
    literal = bytes(raw)
    return literal if literal[:1] == b'"' and len(literal) > 2 else b""


def _read(data: bytes) -> _Event:
    """Return an event.

    Raises:
        ValueError, msgspec.MsgspecError: it cannot be read.
    """
    if not data.isascii():
        data.decode()  # msgspec does not look into what it moves
    try:
        return _decoder.decode(data)
    except msgspec.MsgspecError:
        # Half surrogate pairs, which may come apart between two events, are read by the standard library.
        return msgspec.convert(_raw_strings(json.loads(data)), _Event)


def _raw_strings(event: Any) -> Any:
    delta = event.get("delta") if type(event) is dict else None
    if type(delta) is dict:
        for key in ("text", "partial_json"):
            if key in delta:
                delta[key] = msgspec.Raw(json.dumps(delta[key]).encode())
    return event
