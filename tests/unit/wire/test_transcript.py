"""Captured answers as documents: streams put together, bounds kept, what is missing named."""

import gzip
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tidegate.wire.capture import PIECE_BYTES, Capture, Room
from tidegate.wire.transcript import Transcript, read


def captured(*pieces: bytes, media: str = "text/event-stream", coding: str = "") -> Transcript:
    capture = Capture(Room())
    capture.media, capture.coding = media, coding
    for piece in pieces:
        capture.feed(piece)
    return read(capture)


def event(kind: str, **fields: Any) -> bytes:
    return f"event: {kind}\ndata: {json.dumps({'type': kind, **fields})}\n\n".encode()


def streamed(blocks: list[dict[str, Any]], step: int) -> bytes:
    """A stream that says these blocks, text and tool input in pieces of `step`."""
    events = [event("message_start", message={"role": "assistant", "content": []})]
    for index, block in enumerate(blocks):
        field, text = ("text", block["text"])
        begun = {**block, "text": ""}
        kind = "text_delta"
        if block["type"] == "tool_use":
            field, text, kind = "partial_json", json.dumps(block["input"]), "input_json_delta"
            begun = {**block, "input": {}}
        events.append(event("content_block_start", index=index, content_block=begun))
        events += [
            event("content_block_delta", index=index, delta={"type": kind, field: text[i : i + step]})
            for i in range(0, len(text), step)
        ]  # fmt: skip
        events.append(event("content_block_stop", index=index))
    events += [event("message_delta", delta={"stop_reason": "end_turn"}), event("message_stop")]
    return b"".join(events)


BLOCK = st.one_of(
    st.builds(lambda text: {"type": "text", "text": text}, st.text()),
    st.builds(
        lambda given: {"type": "tool_use", "text": "", "input": given},
        st.dictionaries(st.text(), st.text(), min_size=1),
    ),
)


@settings(deadline=None, max_examples=40)
@given(st.lists(BLOCK, max_size=4), st.integers(1, 9), st.integers(1, 200))
def test_a_stream_is_the_message_that_it_streams(
    blocks: list[dict[str, Any]], step: int, cut: int
) -> None:
    stream = streamed(blocks, step)
    pieces = [stream[i : i + cut] for i in range(0, len(stream), cut)]
    answer = captured(*pieces)
    assert answer.document.get("content", []) == blocks
    assert answer.document["stop_reason"] == "end_turn"
    assert (answer.missing, answer.bytes) == ((), len(stream))


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_streams_without_event_names_and_with_other_line_ends(end: str) -> None:
    data = [
        {"type": "content_block_start", "index": 3, "content_block": {"type": "text"}},
        {"type": "content_block_delta", "index": 3, "delta": {"type": "text_delta", "text": "ab"}},
        {"type": "content_block_delta", "index": 3, "delta": {"type": "new_delta", "text": "cd"}},
    ]
    stream = "".join(f"data: {json.dumps(one)}{end}{end}" for one in data) + f": hi{end}{end}"
    assert captured(stream.encode()).document["content"] == [{"type": "text", "text": "abcd"}]


def test_tool_input_that_broke_off_is_a_string() -> None:
    stream = streamed([{"type": "tool_use", "text": "", "input": {"command": "x" * 40}}], 10)
    (block,) = captured(stream[: stream.rindex(b"event: content_block_delta")]).document["content"]
    assert block["input"] == '{"command": "' + "x" * 37


def test_an_error_in_a_stream_is_there() -> None:
    document = captured(event("error", error={"type": "overloaded_error", "message": "m"})).document
    assert document == {"error": {"type": "overloaded_error", "message": "m"}}


@pytest.mark.parametrize(
    "data",
    [b"[1]", b"nonsense", b"", b'{"a":', b"\xff\xfe", b"[" * 100_000],
)
def test_what_is_no_object_is_unreadable(data: bytes) -> None:
    assert captured(data, media="application/json") == Transcript({}, len(data), ("unreadable",))
    assert captured(b"data: " + data + b"\n\n").document == {}


def test_a_capture_keeps_what_there_is_room_for() -> None:
    room = Room(1000)
    first, second = Capture(room, 500), Capture(room, 5000)
    for piece in (b"a" * 300, b"b" * 300, b"c"):
        first.feed(piece)
        second.feed(piece)
    assert (first.payload(), first.stopped) == (b"a" * 300, "too_large")
    assert (second.payload(), second.stopped) == (b"a" * 300, "no_room")
    assert first.taken >= 300 + PIECE_BYTES
    assert second.taken >= 300 + PIECE_BYTES
    assert room.left == 1000 - first.taken - second.taken >= 0
    first.release()
    second.release()
    assert room.left == 1000


def test_tiny_pieces_count_for_what_they_take() -> None:
    capture = Capture(Room(), 100 * (1 + PIECE_BYTES))
    for _ in range(200):
        capture.feed(b"x")
    assert len(capture.payload()) == 100


def test_what_inflates_without_end_is_cut() -> None:
    bomb = gzip.compress(b"event: ping\ndata: {}\n\n" + b" " * (40 * 1024 * 1024))
    answer = captured(bomb, coding="gzip")
    assert answer.missing == ("too_large",)
    assert answer.bytes < 34 * 1024 * 1024


def text_delta(index: object, text: str, field: str = "text") -> bytes:
    """Return an event as the API writes it, with any JSON in the place of its text."""
    delta = f'{{"type":"text_delta","{field}":{text}}}'
    data = f'{{"type":"content_block_delta","index":{index},"delta":{delta}}}'
    return f"event: content_block_delta\ndata: {data}\n\n".encode()


@settings(deadline=None, max_examples=150)
@given(
    st.lists(
        st.sampled_from(
            [
                event("content_block_start", index=0, content_block={"type": "text", "text": "a"}),
                event("content_block_delta", index=0, delta={"type": "text_delta", "text": "b"}),
                event("content_block_delta", index=True, delta={"type": "text_delta", "text": "?"}),
                event("content_block_delta", index=1, delta={"type": "text_delta", "text": 1}),
                text_delta(0, '"c"'),
                text_delta(1, r'"\ud83d\ude00 \"quoted\""'),
                text_delta(10, '"d"', field="partial_json"),
                text_delta("01", '"no number"'),
                text_delta(0, '"half", "text":"twice"'),
                text_delta(0, '"half"},"delta":{"text":"twice"'),
                text_delta(0, '"one","and another"'),
                text_delta(0, r'"\ud83d"'),
                text_delta(0, '"e"').replace(b"event: content_block_delta", b"event: ping"),
                b"x" + text_delta(0, '"f"'),
                event("error", error={"type": "overloaded_error"}),
                event("ping"),
                event("unheard_of", index=1),
                b"event: ping\ndata: 1\n\n",
                b"event: ping\ndata: {}},{\n\n",
                b"event: ping\ndata: \n\n",
            ]
        ),
        max_size=6,
    )
)
def test_a_stream_says_the_same_however_its_lines_end(events: list[bytes]) -> None:
    """Plain ones are read in one go; with another line end, event by event."""
    plain = captured(*events)
    other = captured(*[each.replace(b"\n", b"\r\n") for each in events])
    assert (plain.document, plain.missing) == (other.document, other.missing)


def test_gzip_of_several_members_is_read_to_its_end() -> None:
    first, rest = b'{"content": [{"type": "text", ', b'"text": "of the second"}]}'
    answer = captured(
        gzip.compress(first) + gzip.compress(rest), media="application/json", coding="gzip"
    )
    assert answer.document == {"content": [{"type": "text", "text": "of the second"}]}
    assert answer.missing == ()
