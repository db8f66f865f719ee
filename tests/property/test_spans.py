"""Where values stand: what `locate` finds is what a parser reads there."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidegate.wire.body import Body, insertion, parse, replacements, splice
from tidegate.wire.spans import escape, locate

TEXT = st.text(max_size=8) | st.sampled_from(["a/b", "~", "", "\ud800", '"', "\\", "}", ":,"])
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=12,
)
DOCUMENTS = st.dictionaries(TEXT, VALUES, max_size=5)
SPACES = st.sampled_from([None, 1, "\t", "\r\n "])


def walk(value: Any, pointer: str = "") -> Any:
    yield pointer, value
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from walk(inner, f"{pointer}/{escape(key)}")
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from walk(inner, f"{pointer}/{index}")


@given(DOCUMENTS, SPACES, st.booleans())
def test_each_value_is_where_it_is_said_to_be(document: Any, indent: Any, plain: bool) -> None:
    text = json.dumps(document, indent=indent, ensure_ascii=not plain)
    raw = f" {text}\n".encode("utf-8", "surrogatepass")
    if b"\xed\xa0" in raw:  # not UTF-8: refused before anybody asks
        return
    for pointer, value in walk(json.loads(text)):
        at = locate(raw, pointer)
        assert json.loads(raw[at.start : at.end]) == value


@pytest.mark.parametrize("pointer", ["/b", "/a/2", "/a/x", "/a/0/0", "a", "/a/", "/"])
def test_what_is_not_there_is_not_found(pointer: str) -> None:
    with pytest.raises(KeyError):
        locate(b'{"a":[1,{"b":2}]}', pointer)


@given(DOCUMENTS, SPACES, TEXT, VALUES.filter(lambda value: not isinstance(value, str)))
def test_a_member_brought_in_is_all_that_changes(
    document: Any, indent: Any, key: str, value: Any
) -> None:
    if key in document or "\ud800" in key + json.dumps(value, ensure_ascii=False):
        return
    body = parse(json.dumps(document, indent=indent).encode())
    edit = insertion(body, "", key, value, "r")
    assert edit.pointer == f"/{escape(key)}"
    edited = parse(splice(body.raw, [edit]))
    assert edited.document == {**json.loads(body.raw), key: json.loads(json.dumps(value))}


def body(text: str) -> Body:
    return parse(text.encode())


def test_a_replacement_touches_one_value() -> None:
    found = body('{"model" : "fast", "x":1e3}')
    edits = replacements(found, {"/model": "claude-haiku-4-5"}, "alias")
    assert splice(found.raw, edits) == b'{"model" : "claude-haiku-4-5", "x":1e3}'


def test_only_scalars_are_replaced_and_only_absent_keys_inserted() -> None:
    found = body('{"a":[1],"b":{}}')
    with pytest.raises(ValueError, match="/a"):
        replacements(found, {"/a": 1}, "r")
    for holder, key in (("", "a"), ("/a", "x"), ("/c", "x")):
        with pytest.raises(KeyError):
            insertion(found, holder, key, 1, "r")
    assert splice(found.raw, [insertion(found, "/b", "x", 1, "r")]) == b'{"a":[1],"b":{"x":1}}'
