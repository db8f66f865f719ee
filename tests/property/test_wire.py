"""Wire knowledge over any bytes and any split."""

import json
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from tidegate.wire.body import BodyError, Edit, parse, scan, splice
from tidegate.wire.framing import LAST_CHUNK, Chunked, FramingError, Length, chunk
from tidegate.wire.meter import JsonMeter, Reading, StreamMeter, meter_for
from tidegate.wire.sse import Decoder, Event

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)  # fmt: skip
DOCUMENT = st.dictionaries(st.text(), JSON, max_size=5)
STYLE = st.sampled_from(
    [
        {"separators": (",", ":")},
        {"indent": 2},
        {"ensure_ascii": False},
        {"separators": (" , ", " : "), "ensure_ascii": False},
    ]
)


def written(document: Any, style: dict[str, Any]) -> bytes:
    return json.dumps(document, **style).encode("utf-8", "surrogatepass")


def cuts(data: bytes, sizes: list[int]) -> list[bytes]:
    pieces, at = [], 0
    for size in sizes:
        pieces.append(data[at : at + size])
        at += size
    return [piece for piece in [*pieces, data[at:]] if piece]


CODE = st.lists(
    st.sampled_from(['"', '":', "\\", "\\\\", "\\" * 70, ": ", "\n", "key"]), max_size=12
)
"""What looks like keys inside of strings, and hides where strings end."""

SIZES = st.lists(st.integers(1, 20), max_size=60)


@given(DOCUMENT, STYLE)
def test_a_body_is_read_as_any_parser_reads_it(document: dict[str, Any], style: Any) -> None:
    raw = written(document, style)
    try:
        raw.decode()
    except UnicodeDecodeError:
        with pytest.raises(BodyError):
            parse(raw)
        return
    assert parse(raw).document == json.loads(raw)


@given(DOCUMENT, STYLE, CODE)
def test_strings_that_look_like_keys_are_strings(
    document: dict[str, Any], style: Any, code: list[str]
) -> None:
    document = {**document, "c": "".join(code), "d": code}
    raw = json.dumps(document, **style).encode("utf-8", "replace")
    assert parse(raw).document == json.loads(raw)


@given(DOCUMENT, STYLE, CODE, st.data())
def test_a_key_written_twice_is_always_found(
    document: dict[str, Any], style: Any, code: list[str], data: st.DataObject
) -> None:
    """Wherever it stands, however it is escaped, whatever strings look like around it."""
    key = data.draw(st.text(max_size=3))
    inner = written({key: 1}, style)
    escaped = "".join(f"\\u{ord(char):04x}" if ord(char) < 0x10000 else char for char in key)
    twin = data.draw(st.sampled_from([json.dumps(key, ensure_ascii=False), f'"{escaped}"']))
    twice = inner[:-1].rstrip() + b"," + twin.encode("utf-8", "surrogatepass") + b": 2}"
    raw = written(
        {**document, "c": "".join(code), "x": "HERE", "z": [data.draw(JSON), *code]}, style
    )
    raw = raw.replace(b'"HERE"', twice, 1)
    assume(raw.count(twice) == 1)
    with pytest.raises(BodyError):
        parse(raw)


@given(st.binary(max_size=200))
def test_parsing_anything_returns_or_refuses(raw: bytes) -> None:
    try:
        body = parse(raw)
    except BodyError:
        return
    assert body.document == json.loads(raw.decode())


@given(DOCUMENT, STYLE)
def test_every_value_is_found_where_it_stands(document: dict[str, Any], style: Any) -> None:
    raw = json.dumps(document, **style).encode("utf-8", "surrogatepass")
    found = {value.pointer: raw[value.start : value.end] for value in scan(raw)}
    expected: dict[str, Any] = {}

    def walk(value: Any, pointer: str) -> None:
        expected[pointer] = value
        if isinstance(value, dict):
            for key, item in value.items():
                walk(item, f"{pointer}/{key.replace('~', '~0').replace('/', '~1')}")
        elif isinstance(value, list):
            for index, item in enumerate(value):
                walk(item, f"{pointer}/{index}")

    walk(json.loads(raw.decode("utf-8", "surrogatepass")), "")
    assert list(found) == list(expected)
    for pointer, literal in found.items():
        value = expected[pointer]
        if isinstance(value, (dict, list)):
            assert literal in (b"{", b"[")
        else:
            assert json.loads(literal.decode("utf-8", "surrogatepass")) == value


@given(st.binary(max_size=60), st.data())
def test_a_splice_changes_its_spans_and_nothing_else(raw: bytes, data: st.DataObject) -> None:
    points = sorted(data.draw(st.sets(st.integers(0, len(raw)), max_size=8)))
    spans = list(zip(points[::2], points[1::2], strict=False))
    edits = [Edit("", "r", a, b, data.draw(st.binary(max_size=4))) for a, b in spans]
    shuffled = data.draw(st.permutations(edits))
    out = splice(raw, shuffled)
    at_in = at_out = 0
    for edit in edits:
        kept = edit.start - at_in
        assert out[at_out : at_out + kept] == raw[at_in : edit.start]
        at_out += kept
        assert out[at_out : at_out + len(edit.replacement)] == edit.replacement
        at_out += len(edit.replacement)
        at_in = edit.end
    assert out[at_out:] == raw[at_in:]


@given(st.lists(st.binary(min_size=1, max_size=30), max_size=8), SIZES, st.binary(max_size=5))
def test_chunks_are_followed_in_any_split(
    payload: list[bytes], sizes: list[int], surplus: bytes
) -> None:
    wire = b"".join(map(chunk, payload)) + LAST_CHUNK
    framing, got, taken = Chunked(), b"", 0
    for piece in cuts(wire + surplus, sizes):
        if framing.done:
            break
        found, used = framing.feed(piece)
        got += b"".join(found)
        taken += used
    assert (framing.done, got, taken) == (True, b"".join(payload), len(wire))


@given(st.binary(max_size=80), SIZES)
def test_any_bytes_in_place_of_chunks_are_followed_alike_in_any_split(
    wire: bytes, sizes: list[int]
) -> None:
    """Two splits of the same bytes never disagree on where the body ends."""

    def follow(pieces: list[bytes]) -> tuple[str, bytes]:
        framing, got = Chunked(), b""
        for piece in pieces:
            if framing.done:
                break
            try:
                found, _ = framing.feed(piece)
            except FramingError:
                return "error", b""
            got += b"".join(found)
        return ("done", got) if framing.done else ("open", b"")

    assert follow(cuts(wire, sizes)) == follow(cuts(wire, [1] * len(wire)))


@given(st.binary(max_size=50), st.binary(max_size=9), SIZES)
def test_a_length_is_followed_in_any_split(body: bytes, surplus: bytes, sizes: list[int]) -> None:
    framing, got = Length(len(body)), b""
    for piece in cuts(body + surplus, sizes):
        if framing.done:
            break
        found, _ = framing.feed(piece)
        got += b"".join(found)
    assert (framing.done, got) == (True, body)


LINE = st.text(st.characters(exclude_characters="\r\n", codec="utf-8"), max_size=12)
ENDS = st.sampled_from(["\n", "\r\n", "\r"])


@given(st.lists(st.tuples(LINE, LINE), max_size=6), ENDS, SIZES, st.booleans())
def test_events_are_the_same_in_any_split(
    events: list[tuple[str, str]], end: str, sizes: list[int], bom: bool
) -> None:
    stream = ("\ufeff" if bom else "") + "".join(
        f": note{end}event: {name}{end}data: {data}{end}{end}" for name, data in events
    )
    decoder = Decoder()
    got: list[Event] = []
    for piece in cuts(stream.encode(), sizes):
        got += decoder.feed(piece)
    got += decoder.finish()
    assert got == [Event(name.encode(), data.encode()) for name, data in events]


@given(st.binary(max_size=300), SIZES)
def test_a_meter_takes_anything(data: bytes, sizes: list[int]) -> None:
    for kind in ("text/event-stream", "application/json"):
        for coding in ("", "gzip", "deflate", "br"):
            meter = meter_for(kind, coding)
            for piece in cuts(data, sizes):
                meter.feed(piece)
            assert isinstance(meter.finish(), Reading)


def stream(*events: dict[str, Any]) -> bytes:
    return b"".join(
        f"event: {event['type']}\ndata: {json.dumps(event)}   \n\n".encode() for event in events
    )


@given(SIZES, st.integers(0, 10**6), st.integers(0, 10**6), st.integers(0, 30))
def test_usage_is_the_same_in_any_split(
    sizes: list[int], first: int, last: int, deltas: int
) -> None:
    data = stream(
        {"type": "message_start", "message": {"model": "m", "usage": {"input_tokens": first, "output_tokens": 1}}},
        *[{"type": "content_block_delta", "delta": {"type": "text_delta", "text": 'é "usage"\n\n'}}] * deltas,
        {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": last, "input_tokens": None}},
        {"type": "message_stop"},
    )  # fmt: skip
    meter = StreamMeter()
    for piece in cuts(data, sizes):
        meter.feed(piece)
    reading = meter.finish()
    assert reading.usage == {"input_tokens": first, "output_tokens": last}
    source = "final" if first or last else "none"
    assert (reading.source, reading.complete, reading.events) == (source, True, deltas + 3)


def test_an_unstreamed_answer_that_is_too_large_is_not_kept() -> None:
    meter = JsonMeter()
    for _ in range(17):
        meter.feed(b"x" * 1024 * 1024)
    assert meter.finish().stopped == "answer_too_large"
