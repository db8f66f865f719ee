"""A body that is read in pieces says what it says as a whole, also if it was sent before."""

import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidegate.wire import pieces, strict
from tidegate.wire.body import BodyError, alike, parse, parsing
from tidegate.wire.messages import view, view_of
from tidegate.wire.outline import STEP as OUTLINE_STEP
from tidegate.wire.outline import outline, outline_of, outlining
from tidegate.wire.pieces import STEP
from tidegate.wire.routes import Kind
from tidegate_plugins.redact.walk import leaves, parts

STYLES = st.sampled_from(
    [{"separators": (",", ":")}, {}, {"indent": 1}, {"separators": (" , ", " : ")}]
)
ROLES = st.sampled_from(["user", "assistant", "system"])
SOURCE = st.fixed_dictionaries({"type": st.just("base64"), "data": st.just("AAAA")})
LONG = st.text(max_size=12) | st.just('},{"role":"user"') | st.just("x" * 3000)


def message(content: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({"role": ROLES, "content": content}) | st.fixed_dictionaries(
        {"content": content, "role": ROLES}, optional={"output_config": st.just({"effort": "low"})}
    )


INSIDE = st.fixed_dictionaries({"messages": st.lists(message(LONG), max_size=4)})
"""A conversation in a conversation, which looks like the one around it."""
PLAIN = st.fixed_dictionaries({"type": st.just("text"), "text": LONG}) | st.fixed_dictionaries(
    {"type": st.just("image"), "source": SOURCE}
)
BLOCK = PLAIN | st.fixed_dictionaries({"type": st.just("tool_use"), "input": INSIDE}) | INSIDE
SAID = st.fixed_dictionaries({"role": ROLES, "content": LONG | st.lists(PLAIN, max_size=3)})
MESSAGES = st.lists(SAID, min_size=3, max_size=9) | st.lists(
    SAID | message(LONG | st.lists(BLOCK, max_size=3)) | BLOCK, max_size=9
)
FIELDS = st.fixed_dictionaries(
    {"model": st.just("m")}, optional={"tools": st.lists(INSIDE, max_size=2), "messages": MESSAGES}
)
SPOILED = (
    b'"role":',
    b"},",
    b",",
    b"{",
    b'"',
    b"[",
    b"]}",
    b"\xff",
    b"1e999",
    b"\\ud800",
    b'{"role":1},',
)


@pytest.fixture(autouse=True)
def _short_ones_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pieces, "SHORTEST", 0)


def whole(raw: bytes) -> tuple[Any, frozenset[str]]:
    """Read a body at once, as it is defined."""
    document, _, names = strict.decode(raw)
    if type(document) is not dict:
        raise BodyError("the body must be a JSON object")
    return document, names


def same(raw: bytes) -> None:
    """Whoever reads it in pieces, for the first time or again, comes to the same."""
    for _ in range(2):
        try:
            document, names = whole(raw)
        except BodyError as error:
            with pytest.raises(BodyError, match=f"^{re.escape(str(error))}$"):
                parse(raw)
            continue
        body = parse(raw)
        assert body.document == document
        assert list(body.document) == list(document)
        assert body.names is not None
        assert body.names >= names  # a piece is said to have those that it was read with
        assert body.beside == sum(len(piece.read()) for piece in body.pieces)


@given(MESSAGES, FIELDS, STYLES, st.integers(0, 4000))
def test_pieces_say_what_the_whole_says(
    messages: list[Any], around: dict[str, Any], style: dict[str, Any], shortest: int
) -> None:
    raw = json.dumps(around | {"messages": messages}, **style).encode()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pieces, "SHORTEST_PIECE", shortest)
        same(raw)
        body = parse(raw)
    assert view_of(body, Kind.MESSAGES) == view(body.document, Kind.MESSAGES)
    assert outline_of(body) == outline(body.document)
    seen: list[Any] = []
    for part in parts(body):
        part.visit(lambda *leaf: seen.append(leaf))
    assert seen == [tuple(leaf) for leaf in leaves(body.document)]
    assert alike(body, parse(raw))


@given(MESSAGES, STYLES, st.data())
def test_spoiled_bytes_are_judged_alike(
    messages: list[Any], style: dict[str, Any], data: st.DataObject
) -> None:
    raw = json.dumps({"model": "m", "messages": messages}, **style).encode()
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(raw)))
        gone = data.draw(st.integers(0, 12))
        raw = raw[:at] + data.draw(st.sampled_from(SPOILED)) + raw[at + gone :]
    same(raw)


@given(MESSAGES, st.lists(st.sampled_from(SPOILED), max_size=4), st.randoms())
def test_messages_cut_and_put_together_otherwise_are_judged_alike(
    messages: list[Any], more: list[bytes], chance: Any
) -> None:
    """All parts may be known from bodies before; in another order they need not be one."""
    raw = json.dumps({"messages": messages}, separators=(",", ":")).encode()
    same(raw)
    head, *between = raw.split(b'},{"role":')
    between += more
    chance.shuffle(between)
    same(b'},{"role":'.join([head, *between]))


def conversation(turns: int, *more: Any) -> bytes:
    said = [{"role": "user", "content": f"turn {i} " * 600} for i in range(turns)]
    return json.dumps({"model": "m", "messages": [*said, *more]}, separators=(",", ":")).encode()


def test_a_longer_conversation_has_the_pieces_of_the_shorter() -> None:
    short, long = parse(conversation(9)), parse(conversation(12))
    names = [piece.name for piece in short.pieces]
    assert len(names) == 7
    assert [piece.name for piece in long.pieces][:7] == names


def test_a_large_body_is_read_and_outlined_with_pauses() -> None:
    steps = parsing(conversation(1000, {"role": "user", "content": ""}))
    pauses = 0
    try:
        while True:
            next(steps)
            pauses += 1
    except StopIteration as end:
        body = end.value
    assert pauses > len(body.raw) // STEP - 2
    longest = max(len(piece.raw) for piece in body.pieces)
    least, most = (len(body.raw) // step for step in (OUTLINE_STEP + longest, OUTLINE_STEP))
    assert 1 < least <= len(list(outlining(body))) <= most


@pytest.mark.parametrize("key", ["model", "messages"])
def test_a_key_that_stands_twice_around_the_pieces_is_found(key: str) -> None:
    raw = conversation(9)
    with pytest.raises(BodyError, match="twice"):
        parse(raw[:-1] + f',"{key}":[]}}'.encode())


def test_a_key_that_stands_twice_in_a_piece_is_found() -> None:
    raw = conversation(9).replace(b'"content":"turn 4', b'"role":"user","content":"turn 4')
    with pytest.raises(BodyError, match="'role' appears twice"):
        parse(raw)


def test_depth_counts_from_the_top_also_in_pieces() -> None:
    room = strict.MAX_DEPTH - 4  # the document, its messages, one of them, the innermost value
    for depth, deep in ((room, False), (room + 1, True)):
        nested = json.loads("[" * depth + "1" + "]" * depth)
        raw = conversation(3, {"role": "user", "content": nested}, {"role": "user", "content": ""})
        if deep:
            with pytest.raises(BodyError, match="deeper"):
                parse(raw)
        else:
            assert parse(raw).pieces
        with pytest.raises(BodyError) if deep else pytest.MonkeyPatch.context():
            whole(raw)
