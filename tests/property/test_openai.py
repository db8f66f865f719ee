"""The OpenAI format: streams in any split, and requests of any shape."""

import json
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from tidegate.openai.answer import completion
from tidegate.openai.encoding import encoded
from tidegate.openai.passing import WithoutUsage
from tidegate.openai.request import to_messages
from tidegate.openai.stream import Chunks
from tidegate.wire.body import BodyError, parse
from tidegate.wire.capture import Capture, Room
from tidegate.wire.transcript import read

TEXT = st.text(st.characters(codec="utf-8"), max_size=12)
SPOKEN = st.lists(TEXT, max_size=5)
INPUT = st.dictionaries(TEXT, st.none() | st.booleans() | st.integers(-9, 9) | TEXT, max_size=3)
Block = tuple[str, Any]
BLOCKS = st.lists(
    st.tuples(st.just("text"), SPOKEN)
    | st.tuples(st.just("thinking"), SPOKEN)
    | st.tuples(st.just("tool_use"), INPUT)
    | st.tuples(st.just("server_tool_use"), INPUT),
    max_size=5,
)
COUNT = st.integers(0, 10**6)
COUNTS = st.fixed_dictionaries(
    {"input_tokens": COUNT, "output_tokens": COUNT},
    optional={"cache_read_input_tokens": COUNT | st.none(), "cache_creation_input_tokens": COUNT},
)
REASONS = ("end_turn", "stop_sequence", "max_tokens", "tool_use", "refusal", "pause_turn", "new")
KEYS = {"text": "text", "thinking": "thinking", "tool_use": "partial_json"}


def event(name: str, ascii_: bool, **fields: Any) -> str:
    data = json.dumps({"type": name, **fields}, ensure_ascii=ascii_)
    return f"event: {name}\ndata: {data}\n\n"


def rendered(blocks: list[Block], counts: dict[str, Any], reason: str, *, ascii_: bool) -> str:
    start = {"id": "msg_1", "type": "message", "role": "assistant", "model": "m", "content": []}
    parts = [
        event("message_start", ascii_, message={**start, "usage": counts | {"output_tokens": 1}})
    ]
    parts.append(event("ping", ascii_))
    for index, (kind, content) in enumerate(blocks):
        named = (
            {"id": f"toolu_{index}", "name": f"f{index}", "input": {}}
            if "tool" in kind
            else {kind: ""}
        )
        parts.append(
            event("content_block_start", ascii_, index=index, content_block={"type": kind, **named})
        )
        pieces = (
            content if type(content) is list else halves(json.dumps(content) if content else "")
        )
        tag = "input_json_delta" if "tool" in kind else f"{kind}_delta"
        key = KEYS.get(kind, "partial_json")
        parts += [
            event("content_block_delta", ascii_, index=index, delta={"type": tag, key: piece})
            for piece in pieces
        ]
        parts.append(event("content_block_stop", ascii_, index=index))
    output = {"output_tokens": counts["output_tokens"]}
    parts.append(event("message_delta", ascii_, delta={"stop_reason": reason}, usage=output))
    parts.append(event("message_stop", ascii_))
    return "".join(parts)


def halves(text: str) -> list[str]:
    return [text[: len(text) // 2], text[len(text) // 2 :]]


def split(data: bytes, cuts: list[int]) -> list[bytes]:
    places = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    return [data[a:b] for a, b in pairwise(places)]


def chunks_of(said: bytes) -> list[dict[str, Any]]:
    *events, done, end = said.decode().split("\n\n")
    assert (done, end) == ("data: [DONE]", "")
    found = [json.loads(e.removeprefix("data: ")) for e in events if not e.startswith(":")]
    for chunk in found:
        ChatCompletionChunk.model_validate(chunk, strict=True)
    return found


@settings(max_examples=150, deadline=None)
@given(
    BLOCKS,
    COUNTS,
    st.sampled_from(REASONS),
    st.lists(st.integers(0), max_size=12),
    st.booleans(),
    st.booleans(),
)
def test_a_stream_says_what_the_message_says(
    blocks: list[Block],
    counts: dict[str, Any],
    reason: str,
    cuts: list[int],
    ascii_: bool,
    crlf: bool,
) -> None:
    text = rendered(blocks, counts, reason, ascii_=ascii_)
    stream = (text.replace("\n", "\r\n") if crlf else text).encode()
    whole = Chunks(5, with_usage=True)
    said = whole.feed(stream) + whole.finish()
    parts = Chunks(5, with_usage=True)
    assert b"".join([*map(parts.feed, split(stream, cuts)), parts.finish()]) == said

    capture = Capture(Room())
    capture.media = "text/event-stream"
    capture.feed(stream)
    expected = completion(read(capture).document | {"usage": counts}, 5)
    ChatCompletion.model_validate(json.loads(encoded(expected)), strict=True)
    assert together(chunks_of(said)) == as_said(expected)


def together(chunks: list[dict[str, Any]]) -> dict[str, Any]:
    text, calls, reasons = "", {}, []
    for chunk in chunks:
        assert (chunk["id"], chunk["created"], chunk["model"]) == ("msg_1", 5, "m")
        for choice in chunk["choices"]:
            text += choice["delta"].get("content") or ""
            reasons += [choice["finish_reason"]] if choice["finish_reason"] else []
            for part in choice["delta"].get("tool_calls", ()):
                call = calls.setdefault(
                    part["index"],
                    {"id": part.get("id"), "name": part["function"].get("name"), "arguments": ""},
                )
                call["arguments"] += part["function"]["arguments"]
    for call in calls.values():
        call["arguments"] = json.loads(call["arguments"])
    (reason,) = reasons
    return {
        "text": text,
        "calls": list(calls.values()),
        "reason": reason,
        "usage": chunks[-1]["usage"],
    }


def as_said(found: dict[str, Any]) -> dict[str, Any]:
    (choice,) = found["choices"]
    message = choice["message"]
    calls = [
        {
            "id": c["id"],
            "name": c["function"]["name"],
            "arguments": json.loads(c["function"]["arguments"]),
        }
        for c in message.get("tool_calls", ())
    ]
    return {
        "text": message["content"] or "",
        "calls": calls,
        "reason": choice["finish_reason"],
        "usage": found["usage"],
    }


@settings(deadline=None)
@given(st.text(), st.lists(st.integers(0), max_size=9))
def test_half_surrogate_pairs_come_through(text: str, cuts: list[int]) -> None:
    """JSON writes each half as an escape, and a stream may part them."""
    halves_ = [text + "\ud83d", "\ude00" + text]
    stream = rendered(
        [("text", halves_)], {"input_tokens": 1, "output_tokens": 1}, "end_turn", ascii_=True
    )
    chunks = Chunks(0, with_usage=False)
    said = b"".join([*map(chunks.feed, split(stream.encode(), cuts)), chunks.finish()])
    found = [c["choices"][0]["delta"].get("content") or "" for c in map(json.loads, datas(said))]
    assert "".join(found) == "".join(halves_)


def datas(said: bytes) -> list[str]:
    events = [e for e in said.decode().split("\n\n") if e.startswith("data: {")]
    return [e.removeprefix("data: ") for e in events]


@settings(deadline=None)
@given(st.binary(max_size=200), st.lists(st.integers(0), max_size=5))
def test_whatever_comes_ends_in_an_error(junk: bytes, cuts: list[int]) -> None:
    start = rendered(
        [("text", ["a"])], {"input_tokens": 1, "output_tokens": 1}, "end_turn", ascii_=True
    )
    stream = (
        start.partition("event: message_delta")[0].encode()
        + b"event: content_block_delta\ndata: "
        + junk
    )
    chunks = Chunks(0, with_usage=False)
    said = b"".join([*map(chunks.feed, split(stream, cuts)), chunks.finish()])
    *_, last = datas(said)
    assert set(json.loads(last)["error"]) == {"message", "type", "param", "code"}


EVENTS = st.lists(
    st.sampled_from([
        b'data: {"choices":[{"delta":{"content":"a"}}]}', b": comment", b"data: [DONE]",
        b'data: {"choices":[{"delta":{}}],"usage":null}', b"event: x\ndata: \xc3\xa9",
        b'data: {"choices": [ ],"usage":{"prompt_tokens":1}}',
    ]),
    max_size=8,
)  # fmt: skip


@settings(deadline=None)
@given(EVENTS, st.sampled_from([b"\n\n", b"\r\n\r\n"]), st.lists(st.integers(0), max_size=9))
def test_only_the_usage_is_taken_out(events: list[bytes], end: bytes, cuts: list[int]) -> None:
    keeper = WithoutUsage()
    stream = b"".join(event + end for event in events)
    said = b"".join([*map(keeper.feed, split(stream, cuts)), keeper.finish()])
    assert said == b"".join(event + end for event in events if b"[ ]" not in event)


WORDS = st.sampled_from([
    "model", "messages", "role", "content", "user", "assistant", "tool", "system", "type", "text",
    "image_url", "url", "tool_calls", "id", "function", "name", "arguments", "{}", "tools", "n",
    "tool_call_id", "parameters", "tool_choice", "auto", "allowed_tools", "mode", "max_tokens",
    "response_format", "json_schema", "schema", "stop", "metadata", "user_id", "stream_options",
    "reasoning_effort", "low", "thinking", "https://a.example", "data:image/png;base64,AA==",
])  # fmt: skip
JSON: Any = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | WORDS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(WORDS, inner, max_size=5),
    max_leaves=25,
)
MESSAGES = st.lists(st.dictionaries(WORDS, JSON, max_size=4) | JSON, max_size=4)


@settings(max_examples=300, deadline=None)
@given(st.dictionaries(WORDS, JSON, max_size=6), MESSAGES, st.booleans())
def test_any_request_is_converted_or_refused(
    document: dict[str, Any], messages: list[Any], lenient: bool
) -> None:
    document = parse(encoded({**document, "messages": messages})).document
    before = json.dumps(document)
    made: Any = None
    refused: BodyError | None = None
    try:
        made = to_messages(document, lenient=lenient)
    except BodyError as error:
        refused = error
    if refused is not None:
        assert refused.pointer.startswith("/")
        assert refused.message
    else:
        assert parse(encoded(made)).document == made
        assert len(made["messages"]) <= len(messages)
    assert json.dumps(document) == before


@pytest.mark.parametrize("key", ["seed", "n", "logit_bias", "prediction", "audio", "verbosity"])
def test_a_field_is_refused_by_name(key: str) -> None:
    with pytest.raises(BodyError, match=rf"^{key}: .*; ") as caught:
        to_messages({"model": "m", "messages": [], key: 2})
    assert caught.value.pointer == f"/{key}"
