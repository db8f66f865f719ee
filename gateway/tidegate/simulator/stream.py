"""A Message as server-sent events: pure, from the answer to the bytes of each event."""

import itertools
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from tidegate.simulator.messages import Answer
from tidegate.simulator.options import Options

_TEXT_PIECE = 24
_JSON_PIECE = 11  # short enough to split names, numbers and escapes
_IN_DELTA = (
    "input_tokens",
    "cache_creation_input_tokens",
    "cache_read_input_tokens",
    "output_tokens",
    "output_tokens_details",
    "server_tool_use",
    "iterations",
)
"""What `message_delta` repeats. The rest of the usage stands in `message_start` alone."""

_UNKNOWN = {"type": "tide_report", "usage": {"input_tokens": 10**6, "output_tokens": 10**6}}
_OVERLOADED = {"type": "overloaded_error", "message": "Overloaded"}


@dataclass(frozen=True, slots=True)
class Event:
    """One event before it is written."""

    data: dict[str, Any]

    def encode(self, padding: int, line_end: str) -> bytes:
        """Return the event's bytes, with the API's spaces before the last brace."""
        kind = self.data["type"]
        text = json.dumps(self.data, ensure_ascii=False, separators=(",", ":"))
        text = '{"type": "ping"}' if kind == "ping" else f"{text[:-1]}{' ' * padding}}}"
        return f"event: {kind}{line_end}data: {text}{line_end}{line_end}".encode("utf-8", "replace")


def frames(answer: Answer, options: Options, request_id: str) -> tuple[bytes, ...]:
    """Return the bytes of every event of the stream, faults of content included."""
    found = list(events(answer, options))
    if options.unknown_event:
        found.insert(min(3, len(found)), Event(_UNKNOWN))
    if options.error_event is not None:
        error = {"type": "error", "error": _OVERLOADED, "request_id": request_id}
        found = [*found[: options.error_event], Event(error)]
    if options.eof is not None:
        found = found[: options.eof]
    line_end = "\r\n" if options.crlf else "\n"
    return tuple(event.encode(index * 7 % 16, line_end) for index, event in enumerate(found))


def events(answer: Answer, options: Options) -> Iterator[Event]:
    """Yield the events of a stream in order."""
    yield _start(answer, options)
    content = answer.message["content"]
    if not content:
        yield Event({"type": "ping"})
    for index, block in enumerate(content):
        begin, deltas = _split(block, options)
        yield Event({"type": "content_block_start", "index": index, "content_block": begin})
        if index == 0:
            yield Event({"type": "ping"})
        for delta in deltas:
            yield Event({"type": "content_block_delta", "index": index, "delta": delta})
        yield Event({"type": "content_block_stop", "index": index})
    yield _delta(answer, options)
    yield Event({"type": "message_stop"})


def _start(answer: Answer, options: Options) -> Event:
    usage = answer.first_usage
    if options.usage == "zero_start":
        usage = _zeroed(usage)
    empty: dict[str, Any] = {"content": [], "stop_reason": None, "stop_sequence": None}
    message = answer.message | empty | {"model": answer.first_model, "usage": usage}
    late = {"stop_details", "container"}
    kept = {key: value for key, value in message.items() if key not in late}
    return Event({"type": "message_start", "message": kept})


def _zeroed(usage: dict[str, Any]) -> dict[str, Any]:
    return usage | {
        key: _zeroed(value) if isinstance(value, dict) else 0
        for key, value in usage.items()
        if not isinstance(value, str)
    }


def _delta(answer: Answer, options: Options) -> Event:
    message = answer.message
    said = ("stop_reason", "stop_sequence", "stop_details", "container")
    delta = {key: message[key] for key in said if key in message}
    counted = ("output_tokens",) if options.usage == "output_only" else _IN_DELTA
    usage = {key: message["usage"][key] for key in counted if key in message["usage"]}
    return Event({"type": "message_delta", "delta": delta, "usage": usage})


Split = tuple[dict[str, Any], Sequence[dict[str, Any]]]


def _split(block: dict[str, Any], options: Options) -> Split:
    """Return the block as it starts, and the deltas that complete it."""
    match block["type"]:
        case "text":
            return _split_text(block, options)
        case "thinking":
            return _split_thinking(block)
        case "tool_use" | "server_tool_use":
            return _split_tool(block)
        case "compaction":
            content = {key: block[key] for key in ("content", "encrypted_content")}
            return block | {"content": None}, [{"type": "compaction_delta", **content}]
        case _:
            return block, []


def _split_text(block: dict[str, Any], options: Options) -> Split:
    citations = block.get("citations") or []
    deltas: list[dict[str, Any]] = [
        {"type": "citations_delta", "citation": each} for each in citations
    ]
    texts = pieces(block["text"], _TEXT_PIECE, options.events)
    deltas += [{"type": "text_delta", "text": piece} for piece in texts]
    return block | {"text": ""} | ({"citations": []} if citations else {}), deltas


def _split_thinking(block: dict[str, Any]) -> Split:
    deltas: list[dict[str, Any]] = [
        {"type": "thinking_delta", "thinking": piece}
        for piece in pieces(block["thinking"], _TEXT_PIECE)
    ]
    deltas.append({"type": "signature_delta", "signature": block["signature"]})
    return block | {"thinking": "", "signature": ""}, deltas


def _split_tool(block: dict[str, Any]) -> Split:
    text = json.dumps(block["input"], ensure_ascii=False)
    parts = ["", *pieces(text, _JSON_PIECE)]
    return block | {"input": {}}, [
        {"type": "input_json_delta", "partial_json": part} for part in parts
    ]


def pieces(text: str, size: int, number: int | None = None) -> list[str]:
    """Return the text in pieces of a size, or in a number of nearly equal ones."""
    if number is None:
        number = -(-len(text) // size)
    number = min(number, len(text))
    ends = [len(text) * index // number for index in range(number + 1)] if number else [0]
    return [text[start:end] for start, end in itertools.pairwise(ends)]
