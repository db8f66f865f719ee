"""Answers to chats that the upstream converts, read as Messages: usage by a meter, content as a document.

So records, limits, metrics and inspections know no second format (messages-api sheet, sections
9.3, 9.4).
"""

import json
from typing import Any

from tidegate.wire import sse
from tidegate.wire.counts import count
from tidegate.wire.meter import MAX_JSON_BYTES, Meter, Reading, counted, fitting

_STOP_REASONS = {
    "stop": "end_turn",
    "length": "max_tokens",
    "tool_calls": "tool_use",
    "function_call": "tool_use",
    "content_filter": "refusal",
}


class _Seen:
    """What chunks, or a whole completion, have told so far."""

    def __init__(self) -> None:
        self.id: str | None = None
        self.model: str | None = None
        self.usage: dict[str, Any] | None = None
        self.stop: str | None = None
        self.error: str | None = None

    def take(self, document: Any) -> bool:
        """Take in a chunk or a completion; return whether it holds content."""
        if type(document) is not dict:
            return False
        self.id = _text(document.get("id")) or self.id
        self.model = _text(document.get("model")) or self.model
        self.usage = usage_of(document.get("usage")) or self.usage
        error = document.get("error")
        if error is not None:
            self.error = (type(error) is dict and _text(error.get("type"))) or "unknown"
        content = False
        for choice in _dicts(document.get("choices")):
            reason = _text(choice.get("finish_reason"))
            self.stop = _STOP_REASONS.get(reason, reason) if reason else self.stop
            content |= _has_content(choice.get("delta"))
        return content

    def reading(self, *, streamed: bool, **more: Any) -> Reading:
        final = counted(self.usage)
        return Reading(
            usage=self.usage,
            source="final" if final else "none",
            id=self.id,
            model=self.model,
            stop_reason=self.stop,
            error_type=self.error,
            error_event=streamed and self.error is not None,
            **more,
        )


def _has_content(delta: Any) -> bool:
    return type(delta) is dict and bool(delta.get("content") or delta.get("tool_calls"))


class ChatStreamMeter:
    """Reads a stream of chunks."""

    def __init__(self) -> None:
        self.first_token = False
        self._decoder = sse.Decoder()
        self._seen = _Seen()
        self._events = 0
        self._done = False
        self._broken = False

    def feed(self, piece: bytes) -> None:
        for event in self._decoder.feed(piece):
            self._read(event)

    def finish(self) -> Reading:
        for event in self._decoder.finish():
            self._read(event)
        stopped = "event_too_large" if self._decoder.skipped else None
        return self._seen.reading(
            streamed=True,
            complete=self._done or self._seen.error is not None,
            events=self._events,
            stopped=stopped or ("event_unreadable" if self._broken else None),
        )

    def _read(self, event: sse.Event) -> None:
        self._events += 1
        if event.data.strip() == b"[DONE]":
            self._done = True
            return
        try:
            self.first_token |= self._seen.take(json.loads(event.data))
        except (ValueError, RecursionError):
            self._broken = True


class ChatJsonMeter:
    """Reads a whole completion, or an error."""

    first_token = False

    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        self._size = 0

    def feed(self, piece: bytes) -> None:
        self._size += len(piece)
        if self._size <= MAX_JSON_BYTES:
            self._pieces.append(piece)

    def finish(self) -> Reading:
        if self._size > MAX_JSON_BYTES:
            return Reading(stopped="answer_too_large")
        seen = _Seen()
        try:
            seen.take(json.loads(b"".join(self._pieces)))
        except (ValueError, RecursionError):
            return Reading(complete=False, stopped="answer_unreadable")
        return seen.reading(streamed=False)


def usage_of(found: Any) -> dict[str, Any] | None:
    """Return OpenAI's usage as Messages': what was cached is no part of the input there."""
    if type(found) is not dict:
        return None
    prompt = found.get("prompt_tokens_details")
    output = found.get("completion_tokens_details")
    prompt, output = prompt if type(prompt) is dict else {}, output if type(output) is dict else {}
    read, written = count(prompt, "cached_tokens"), count(prompt, "cache_write_tokens")
    return {
        "input_tokens": max(0, count(found, "prompt_tokens") - read - written),
        "cache_read_input_tokens": read,
        "cache_creation_input_tokens": written,
        "output_tokens": count(found, "completion_tokens"),
        "output_tokens_details": {"thinking_tokens": count(output, "reasoning_tokens")},
    }


class Completion:
    """A message that grows chunk by chunk, or comes whole."""

    def __init__(self) -> None:
        self._seen = _Seen()
        self._texts: list[str] = []
        self._calls: dict[int, dict[str, Any]] = {}

    def take(self, document: dict[str, Any]) -> None:
        """Take in a chunk or a completion."""
        self._seen.take(document)
        for choice in _dicts(document.get("choices")):
            said = choice.get("delta") or choice.get("message")
            if type(said) is not dict:
                continue
            self._texts += [said[k] for k in ("content", "refusal") if type(said.get(k)) is str]
            for number, call in enumerate(_dicts(said.get("tool_calls"))):
                index = call.get("index")
                self._grow(index if type(index) is int else number, call)

    def _grow(self, index: int, call: dict[str, Any]) -> None:
        use = self._calls.setdefault(index, {"type": "tool_use", "input": ""})
        function = call.get("function")
        function = function if type(function) is dict else {}
        use.update({k: v for k, v in (("id", call.get("id")), ("name", function.get("name"))) if v})
        if type(function.get("arguments")) is str:
            use["input"] += function["arguments"]

    def document(self) -> dict[str, Any]:
        """Return the message that it has come to. Arguments that broke off are a string."""
        seen = self._seen
        text = "".join(self._texts)
        blocks: list[dict[str, Any]] = [{"type": "text", "text": text}] if text else []
        blocks += [{**use, "input": _input(use["input"])} for use in self._calls.values()]
        return {
            "id": seen.id,
            "type": "message",
            "role": "assistant",
            "model": seen.model,
            "content": blocks,
            "stop_reason": seen.stop,
            "usage": seen.usage,
        }


def is_chat(document: dict[str, Any]) -> bool:
    """Whether this is a chunk or a completion."""
    return document.get("object") in ("chat.completion", "chat.completion.chunk")


def _input(text: str) -> Any:
    try:
        found = json.loads(text or "{}")
    except (ValueError, RecursionError):
        return text
    return found if type(found) is dict else text


def _dicts(value: Any) -> list[dict[str, Any]]:
    return [item for item in value if type(item) is dict] if type(value) is list else []


def _text(value: Any) -> str | None:
    return value[:256] if type(value) is str else None


def chat_meter_for(content_type: str, coding: str) -> Meter:
    """Return the meter for an answer with these `Content-Type` and `Content-Encoding` values."""
    return fitting(content_type, coding, ChatStreamMeter, ChatJsonMeter)
