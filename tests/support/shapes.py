"""Streams of every shape, made by hand, and what each counts.

Expected numbers are worked out by hand from the rules of the messages-api sheet, sections 3.2
and 4.3: the last number that is not null counts, never a sum; the split of cache writes stands in
`message_start` alone; what broke off is a lower bound.
"""

import gzip
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from tidegate.record import Usage

BOM = b"\xef\xbb\xbf"


@dataclass(frozen=True)
class Shape:
    """One stream, or one answer that is no stream."""

    name: str
    body: bytes = field(repr=False)
    usage: Usage | None
    source: str
    complete: bool = True
    stop_reason: str | None = "end_turn"
    model: str | None = "m"
    error_type: str | None = None
    stopped: str | None = None
    coding: str = ""
    media: str = "text/event-stream"
    increments: bool = False
    sdk: bool = True
    """The official SDK reads it, and to the same numbers."""


def event(kind: str, end: str = "\n", **fields: Any) -> bytes:
    data = json.dumps({"type": kind, **fields}, separators=(",", ":"))
    return f"event: {kind}{end}data: {data}{end}{end}".encode()


def start(usage: Any, **fields: Any) -> bytes:
    message = {"id": "msg_1", "type": "message", "role": "assistant", "model": "m", "content": []}
    message |= {"stop_reason": None, "stop_sequence": None, **fields}
    return event("message_start", message=message | ({} if usage is ... else {"usage": usage}))


def delta(usage: Any = ..., reason: str | None = "end_turn", **fields: Any) -> bytes:
    rest = {} if usage is ... else {"usage": usage}
    return event(
        "message_delta", delta={"stop_reason": reason, "stop_sequence": None}, **rest, **fields
    )


def text(words: str = "Hi", index: int = 0) -> bytes:
    return (
        event("content_block_start", index=index, content_block={"type": "text", "text": ""})
        + event("content_block_delta", index=index, delta={"type": "text_delta", "text": words})
        + event("content_block_stop", index=index)
    )


STOP = event("message_stop")
PING = b'event: ping\ndata: {"type": "ping"}\n\n'
IN25 = {"input_tokens": 25, "output_tokens": 1}
SPLIT = {"ephemeral_5m_input_tokens": 100, "ephemeral_1h_input_tokens": 200}
CACHED = {
    "input_tokens": 7,
    "cache_creation_input_tokens": 300,
    "cache_read_input_tokens": 4000,
    "cache_creation": SPLIT,
    "output_tokens": 2,
    "service_tier": "standard",
    "inference_geo": "us",
}
PASSES = {"type": "message", "input_tokens": 1128, "output_tokens": 40}


def shapes() -> Iterator[Shape]:
    """Yield every shape."""
    yield from _ordinary()
    yield from _passes()
    yield from _broken()
    yield from _wire()
    yield from _providers()
    yield from _unstreamed()


def _ordinary() -> Iterator[Shape]:
    plain = Usage(input=25, output=15)
    yield Shape(
        "the plain one", start(IN25) + text() + delta({"output_tokens": 15}) + STOP, plain, "final"
    )
    yield Shape(
        "cumulative numbers in several deltas: the last counts",
        start(IN25) + text() + delta({"output_tokens": 9}, None) + text(index=1)
        + delta({"output_tokens": 12}, None) + delta({"output_tokens": 15}) + STOP,
        plain, "final",
    )  # fmt: skip
    yield Shape(
        "zeros at the start, all numbers at the end",
        start({"input_tokens": 0, "output_tokens": 0}) + text()
        + delta({"input_tokens": 25, "output_tokens": 15}) + STOP,
        plain, "final",
    )  # fmt: skip
    yield Shape(
        "null at the end erases nothing",
        start(CACHED) + text()
        + delta({"input_tokens": None, "cache_read_input_tokens": None, "output_tokens": 15}) + STOP,
        Usage(7, 4000, 100, 200, 15, service_tier="standard", inference_geo="us"), "final",
    )  # fmt: skip
    yield Shape(
        "cache writes of five minutes and of an hour",
        start(CACHED) + text() + delta({"output_tokens": 15}) + STOP,
        Usage(7, 4000, 100, 200, 15, service_tier="standard", inference_geo="us"),
        "final",
    )
    yield Shape(
        "cache writes that are not split are the shorter ones",
        start({"input_tokens": 7, "cache_creation_input_tokens": 300, "output_tokens": 1})
        + delta({"output_tokens": 15}) + STOP,
        Usage(7, 0, 300, 0, 15), "final",
    )  # fmt: skip
    yield Shape(
        "the end has written more than the split of the start: the rest is as long as what was",
        start({**CACHED, "cache_creation_input_tokens": 200,
               "cache_creation": {"ephemeral_5m_input_tokens": 0, "ephemeral_1h_input_tokens": 200}})
        + delta({"cache_creation_input_tokens": 350, "output_tokens": 15}) + STOP,
        Usage(7, 4000, 0, 350, 15, service_tier="standard", inference_geo="us"), "final",
    )  # fmt: skip
    yield Shape(
        "server tools: the prompt grows on the way",
        start({"input_tokens": 2679, "output_tokens": 3}) + text()
        + delta({"input_tokens": 10682, "output_tokens": 510,
                 "server_tool_use": {"web_search_requests": 2, "web_fetch_requests": 1}}) + STOP,
        Usage(input=10682, output=510, web_search_requests=2, web_fetch_requests=1), "final",
    )  # fmt: skip
    yield Shape(
        "thinking is a part of the output",
        start(IN25) + text()
        + delta({"output_tokens": 900, "output_tokens_details": {"thinking_tokens": 700}}) + STOP,
        Usage(input=25, output=900, thinking=700), "final",
    )  # fmt: skip
    yield Shape(
        "fast mode",
        start({**IN25, "speed": "fast", "service_tier": "priority"})
        + delta({"output_tokens": 15})
        + STOP,
        Usage(input=25, output=15, speed="fast", service_tier="priority"),
        "final",
    )


def _passes() -> Iterator[Shape]:
    compaction = {
        "type": "compaction",
        "input_tokens": 100,
        "cache_read_input_tokens": 55096,
        "output_tokens": 83,
    }
    own = {"type": "message", "input_tokens": 181, "output_tokens": 8}
    yield Shape(
        "compaction: the passes tell what the top does not",
        start({"input_tokens": 181, "output_tokens": 1})
        + delta({"input_tokens": 181, "output_tokens": 8, "iterations": [compaction, own]}) + STOP,
        Usage(input=181, output=8, iterations=(compaction, own)), "final",
    )  # fmt: skip
    advisor = {"type": "advisor_message", "model": "a", "input_tokens": 2564, "output_tokens": 90}
    again = {"type": "message", "input_tokens": 1354, "output_tokens": 20}
    yield Shape(
        "an advisor: its tokens are not in the top",
        start({"input_tokens": 1128, "output_tokens": 1})
        + delta({"input_tokens": 2482, "output_tokens": 60, "iterations": [PASSES, advisor, again]}) + STOP,
        Usage(input=2482, output=60, iterations=(PASSES, advisor, again)), "final",
    )  # fmt: skip
    tried = {"type": "message", "model": "m", "input_tokens": 25, "output_tokens": 0}
    served = {"type": "fallback_message", "model": "n", "input_tokens": 25, "output_tokens": 15}
    block = {
        "type": "fallback",
        "from": {"model": "m"},
        "to": {"model": "n"},
        "trigger": {"type": "refusal", "category": None},
    }
    yield Shape(
        "a fallback: another model has answered",
        start(IN25) + event("content_block_start", index=0, content_block=block)
        + event("content_block_stop", index=0) + text(index=1)
        + delta({"output_tokens": 15, "iterations": [tried, served]}) + STOP,
        Usage(input=25, output=15, iterations=(tried, served)), "final", model="n",
    )  # fmt: skip
    yield Shape(
        "a refusal before any output ends with fewer tokens than it began with",
        start(IN25) + delta({"output_tokens": 0}, "refusal") + STOP,
        Usage(input=25, output=0), "final", stop_reason="refusal",
    )  # fmt: skip
    yield Shape(
        "a refusal in the middle",
        start(IN25) + text() + delta({"output_tokens": 33}, "refusal") + STOP,
        Usage(input=25, output=33), "final", stop_reason="refusal",
    )  # fmt: skip


def _broken() -> Iterator[Shape]:
    error = event("error", error={"type": "overloaded_error", "message": "Overloaded"})
    yield Shape(
        "an error in the stream: what is known is a lower bound",
        start(IN25) + text() + error,
        Usage(input=25, output=1), "partial", stop_reason=None, error_type="overloaded_error", sdk=False,
    )  # fmt: skip
    yield Shape(
        "an error before anything counts nothing",
        error, None, "none", stop_reason=None, model=None, error_type="overloaded_error", sdk=False,
    )  # fmt: skip
    yield Shape(
        "an error after the closing numbers leaves them final",
        start(IN25) + text() + delta({"output_tokens": 15}) + error,
        Usage(input=25, output=15), "final", error_type="overloaded_error", sdk=False,
    )  # fmt: skip
    yield Shape(
        "cut in the middle",
        start(CACHED) + text()[:-20],
        Usage(7, 4000, 100, 200, 2, service_tier="standard", inference_geo="us"), "partial",
        complete=False, stop_reason=None, sdk=False,
    )  # fmt: skip
    yield Shape(
        "left after an intermediate number: that is the lower bound",
        start(IN25) + text() + delta({"output_tokens": 9}, None) + text(index=1)[:-9],
        Usage(input=25, output=9), "partial", complete=False, stop_reason=None, sdk=False,
    )  # fmt: skip
    yield Shape(
        "cut after the closing numbers: they are final, the stream is not whole",
        start(IN25) + text() + delta({"output_tokens": 15}),
        Usage(input=25, output=15), "final", complete=False,
    )  # fmt: skip
    yield Shape(
        "ended with no closing numbers, and politely",
        start(IN25) + text() + STOP,
        Usage(input=25, output=1), "partial", stop_reason=None,
    )  # fmt: skip
    yield Shape(
        "nothing came", b"", None, "none", complete=False, stop_reason=None, model=None, sdk=False
    )


def _wire() -> Iterator[Shape]:
    plain = Usage(input=25, output=15)
    whole = start(IN25) + PING + text() + delta({"output_tokens": 15}) + STOP
    yield Shape("compressed, event by event", gzip.compress(whole), plain, "final", coding="gzip")
    halves = gzip.compress(whole[:200]) + gzip.compress(whole[200:])
    yield Shape("compressed in two members", halves, plain, "final", coding="gzip", sdk=False)
    yield Shape(
        "compressed, and cut",
        gzip.compress(start(IN25) + text() * 200)[:-30], Usage(input=25, output=1), "partial",
        complete=False, stop_reason=None, coding="gzip", sdk=False,
    )  # fmt: skip
    yield Shape(
        "said to be compressed, and is not",
        whole, None, "none", complete=False, stop_reason=None, model=None,
        stopped="inflate_failed", coding="gzip", sdk=False,
    )  # fmt: skip
    yield Shape(
        "in a coding that was not offered",
        whole, None, "none", stop_reason=None, model=None, stopped="coding_unknown", coding="br", sdk=False,
    )  # fmt: skip
    yield Shape("CRLF", whole.replace(b"\n", b"\r\n"), plain, "final")
    yield Shape("CR", whole.replace(b"\n", b"\r"), plain, "final")
    yield Shape("a byte order mark", BOM + whole, plain, "final", sdk=False)
    yield Shape("no last blank line", whole[:-2], plain, "final")
    yield Shape(
        "comments, ids and retries",
        b": hello\n\n" + whole.replace(b"\n\n", b"\nid: 1\nretry: 5\n: x\n\n"),
        plain,
        "final",
    )
    yield Shape(
        "no space after the colon",
        whole.replace(b"data: ", b"data:").replace(b"event: ", b"event:"),
        plain,
        "final",
    )
    yield Shape(
        "padding before the last brace", whole.replace(b"}\n\n", b"          }\n\n"), plain, "final"
    )
    broken = start(IN25).replace(b'{"id"', b'\ndata: {"id"')
    yield Shape(
        "JSON over several data lines", broken + delta({"output_tokens": 15}) + STOP, plain, "final"
    )
    trap = {"input_tokens": 9999, "output_tokens": 9999}
    yield Shape(
        "unknown events may hold a usage: it is not read",
        start(IN25) + event("message_forecast", usage=trap, message={"usage": trap}) + delta({"output_tokens": 15})
        + event("usage", usage=trap) + STOP,
        plain, "final",
    )  # fmt: skip
    yield Shape(
        "what comes after the end is not read",
        whole + delta(trap, "max_tokens") + start(trap), plain, "final", sdk=False,
    )  # fmt: skip
    yield Shape("the end of OpenAI's streams", whole + b"data: [DONE]\n\n", plain, "final")
    yield Shape(
        "content that looks like events",
        start(IN25) + text("\n\nevent: message_delta\ndata: " + json.dumps({"usage": trap}))
        + delta({"output_tokens": 15}) + STOP,
        plain, "final",
    )  # fmt: skip
    huge = event(
        "content_block_start",
        index=0,
        content_block={
            "type": "web_fetch_tool_result",
            "tool_use_id": "t",
            "content": {
                "type": "web_fetch_result",
                "url": "u",
                "content": {
                    "type": "document",
                    "source": {"type": "text", "media_type": "text/plain", "data": "x" * 2_000_000},
                },
            },
        },
    )
    yield Shape(
        "an event of two megabytes is passed over, and said to be",
        start(IN25) + huge + event("content_block_stop", index=0) + delta({"output_tokens": 15}) + STOP,
        plain, "final", stopped="event_too_large",
    )  # fmt: skip
    yield Shape(
        "an event that is no JSON is passed over, and said to be",
        start(IN25) + b"event: message_delta\ndata: {nonsense\n\n" + delta({"output_tokens": 15}) + STOP,
        plain, "final", stopped="event_unreadable", sdk=False,
    )  # fmt: skip
    yield Shape(
        "the closing event is no JSON: its numbers are not known",
        start(IN25) + text() + b"event: message_delta\ndata: {nonsense\n\n" + STOP,
        Usage(input=25, output=1), "partial", stop_reason=None, stopped="event_unreadable", sdk=False,
    )  # fmt: skip


def _providers() -> Iterator[Shape]:
    yield Shape(
        "usage at the start only: a lower bound, though the stream is whole",
        start({"input_tokens": 25, "output_tokens": 1}) + text() + delta() + STOP,
        Usage(input=25, output=1), "partial", sdk=False,
    )  # fmt: skip
    yield Shape("no usage at all", start(...) + text() + delta() + STOP, None, "none", sdk=False)
    yield Shape(
        "usage null everywhere",
        start(None) + text() + delta(None) + STOP, None, "none", sdk=False,
    )  # fmt: skip
    yield Shape(
        "usage of zeros is none",
        start({"input_tokens": 0, "output_tokens": 0}) + text()
        + delta({"input_tokens": 0, "output_tokens": 0}) + STOP,
        Usage(), "none",
    )  # fmt: skip
    yield Shape(
        "an empty usage at the end says nothing of the output",
        start(IN25) + text() + delta({}) + STOP,
        Usage(input=25, output=1), "partial", sdk=False,
    )  # fmt: skip
    yield Shape(
        "a null for the output at the end says nothing of it",
        start(IN25) + text() + delta({"input_tokens": 25, "output_tokens": None}) + STOP,
        Usage(input=25, output=1), "partial", sdk=False,
    )  # fmt: skip
    yield Shape(
        "numbers that are no numbers are not counted",
        start({"input_tokens": "25", "output_tokens": 1.5}) + text()
        + delta({"input_tokens": True, "output_tokens": -3}) + STOP,
        Usage(), "none", sdk=False,
    )  # fmt: skip
    yield Shape(
        "usage at the end only",
        start(...) + text() + delta({"input_tokens": 25, "output_tokens": 15}) + STOP,
        Usage(input=25, output=15), "final", sdk=False,
    )  # fmt: skip
    yield Shape(
        "usage after the event with the stop reason",
        start(IN25) + text() + delta() + delta({"output_tokens": 15}, None) + STOP,
        Usage(input=25, output=15), "final", sdk=False,
    )  # fmt: skip
    yield Shape(
        "an intermediate number, and no usage with the stop reason: a lower bound",
        start(IN25) + text() + delta({"output_tokens": 9}, None) + text(index=1) + delta() + STOP,
        Usage(input=25, output=9), "partial", sdk=False,
    )  # fmt: skip
    yield Shape(
        "numbers that are increments, where the profile says so",
        start({"input_tokens": 25, "output_tokens": 0}) + text() + delta({"output_tokens": 9}, None)
        + delta({"output_tokens": 6}) + STOP,
        Usage(input=25, output=15), "final", increments=True, sdk=False,
    )  # fmt: skip
    yield Shape(
        "events without names",
        (start(IN25) + text() + delta({"output_tokens": 15}) + STOP).replace(b"event: ", b": "),
        Usage(input=25, output=15), "final", sdk=False,
    )  # fmt: skip
    chunk = {
        "id": "c",
        "object": "chat.completion.chunk",
        "model": "m",
        "choices": [],
        "usage": {"prompt_tokens": 25, "completion_tokens": 15},
    }
    yield Shape(
        "chunks of another API count nothing",
        b"data: " + json.dumps(chunk).encode() + b"\n\ndata: [DONE]\n\n",
        None, "none", complete=False, stop_reason=None, model=None, sdk=False,
    )  # fmt: skip


def _unstreamed() -> Iterator[Shape]:
    message = {"type": "message", "model": "m", "content": [], "stop_reason": "end_turn"}
    json_ = "application/json"

    def made(name: str, document: Any, usage: Usage | None, source: str, **more: Any) -> Shape:
        return Shape(
            name, json.dumps(document).encode(), usage, source, media=json_, sdk=False, **more
        )

    yield made("a message", {**message, "usage": {**CACHED, "output_tokens": 15}},
               Usage(7, 4000, 100, 200, 15, service_tier="standard", inference_geo="us"), "final")  # fmt: skip
    yield made("a message without usage", message, None, "none")
    yield made("an error with status 200", {"type": "error", "error": {"type": "api_error", "message": "x"}},
               None, "none", stop_reason=None, model=None, error_type="api_error")  # fmt: skip
    whole = json.dumps({**message, "usage": IN25}).encode()
    yield Shape("a message that broke off", whole[:-5], None, "none", complete=False, stop_reason=None,
                model=None, stopped="answer_unreadable", media=json_, sdk=False)  # fmt: skip
