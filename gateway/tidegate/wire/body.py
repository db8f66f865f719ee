"""A request body: the exact bytes that came, and what they say.

The bytes are the request. The parsed document is for reading only; a change is a splice
of the bytes (`Edit`), so that whatever no rule touches leaves as it came.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from tidegate.wire.spans import Value, escape, locate, locate_all, members, scan

__all__ = [
    "EMPTY",
    "MAX_DEPTH",
    "Body",
    "BodyError",
    "Edit",
    "Value",
    "escape",
    "insertion",
    "parse",
    "replacements",
    "scan",
    "splice",
]

MAX_DEPTH = 200
"""Deeper than any real conversation, far above what recursion in any parser allows."""


class BodyError(Exception):
    """The body cannot be used. `pointer` is where, `message` what is wrong with it."""

    def __init__(self, message: str, pointer: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.pointer = pointer


@dataclass(frozen=True, slots=True)
class Edit:
    """Replace the bytes `[start, end)` of the body, which lie in the value at `pointer`.

    With `start == end` and a pointer to a key that is not there, it brings that member in.
    """

    pointer: str
    rule: str
    start: int
    end: int
    replacement: bytes


@dataclass(frozen=True, slots=True, eq=False)
class Body:
    """The bytes and their document. `document` is shared: never change it."""

    raw: bytes = field(repr=False)
    document: dict[str, Any] = field(repr=False)
    names: frozenset[str] | None = field(default=None, repr=False)
    """Every key of every object in it, where they are known."""

    def mentions(self, *names: str) -> bool:
        """Whether any object may have one of these keys. Spares most walks through conversations."""
        return self.names is None or not self.names.isdisjoint(names)

    def values(self) -> Iterator[Value]:
        """Every value in document order, containers before what they hold.

        Walks the whole body: for the rare body that gets edited, not for each.
        """
        return scan(self.raw)

    def value(self, pointer: str) -> Value:
        """Return where the value at a JSON pointer stands, containers with all they hold.

        Raises:
            KeyError: there is none.
        """
        return locate(self.raw, pointer)


EMPTY = Body(b"", {})
"""The body of a request that has none."""


def parse(raw: bytes) -> Body:
    """Return the body of a governed request.

    Strict JSON in UTF-8 (RFC 8259), one object, no duplicate keys anywhere, so that no
    other parser can read it differently.

    Raises:
        BodyError: with a message for the caller; never with content.
    """
    if not raw:
        raise BodyError("the request has no body; send a JSON object")
    document, names = _decode(raw)
    if type(document) is not dict:
        raise BodyError("the body must be a JSON object")
    return Body(raw, document, names)


def replacements(body: Body, values: Mapping[str, Any], rule: str) -> tuple[Edit, ...]:
    """Return the edits that put each value in the place of the scalar at its pointer.

    Raises:
        KeyError: there is no such value.
        ValueError: it is an object or an array.
    """
    places = locate_all(body.raw, values)
    edits = []
    for pointer, value in values.items():
        at = places[pointer]
        if body.raw[at.start] in b"{[":
            raise ValueError(f"{pointer}: only strings, numbers and literals can be replaced")
        edits.append(Edit(pointer, rule, at.start, at.end, msgspec.json.encode(value)))
    return tuple(edits)


def insertion(body: Body, holder: str, key: str, value: Any, rule: str) -> Edit:
    """Return the edit that puts a new first member into the object at the pointer `holder`.

    One edit brings one member in; two at the same place would have to know of each other.

    Raises:
        KeyError: there is no such object, or it has that key.
    """
    at = body.value(holder)
    if body.raw[at.start] != 0x7B:
        raise KeyError(holder)
    there = dict(members(body.raw, at))
    if key in there:
        raise KeyError(key)
    member = msgspec.json.encode(key) + b":" + msgspec.json.encode(value)
    place = at.start + 1
    return Edit(f"{holder}/{escape(key)}", rule, place, place, member + b"," * bool(there))


def splice(raw: bytes, edits: Sequence[Edit]) -> bytes:
    """Return `raw` with the edits applied. They may come in any order, but not overlap.

    Raises:
        ValueError: two edits overlap, or one lies outside the body.
    """
    parts: list[bytes] = []
    at = 0
    for edit in sorted(edits, key=lambda edit: (edit.start, edit.end)):
        if not at <= edit.start <= edit.end <= len(raw):
            raise ValueError(f"edit {edit.start}-{edit.end} overlaps another or is out of range")
        parts += (raw[at : edit.start], edit.replacement)
        at = edit.end
    parts.append(raw[at:])
    return b"".join(parts)


def _decode(raw: bytes) -> tuple[Any, frozenset[str]]:
    """Return the value, and every key in it."""
    try:
        document = msgspec.json.decode(raw)
    except UnicodeDecodeError:
        raise BodyError("the body is not valid UTF-8") from None
    except RecursionError:
        raise BodyError("the body is nested too deeply") from None
    except msgspec.MsgspecError as error:
        return _decode_slowly(raw, str(error))
    keys, names = _measure(document)
    if _keys_at_most(raw, keys) > keys:
        _decode_slowly(raw, "")
    return document, names


def _decode_slowly(raw: bytes, complaint: str) -> tuple[Any, frozenset[str]]:
    """Decode what the fast parser refuses or cannot vouch for, with the standard library.

    That is JSON with lone surrogates, which JavaScript writes, and bodies in which keys
    could not be counted; everything else is an error, reported in the fast parser's words.
    """
    if raw.startswith(b"\xef\xbb\xbf"):
        raise BodyError("the body begins with a byte order mark; send plain UTF-8")
    try:
        text = raw.decode()
    except UnicodeDecodeError:
        raise BodyError("the body is not valid UTF-8") from None
    try:
        document = json.loads(text, object_pairs_hook=_no_duplicates, parse_constant=_no_constant)
    except RecursionError:
        raise BodyError("the body is nested too deeply") from None
    except json.JSONDecodeError as error:
        at = f"line {error.lineno} column {error.colno}"
        raise BodyError(f"the body is not valid JSON: {error.msg} at {at}") from None
    except ValueError:
        raise BodyError("the body holds a number that is out of range") from None
    if complaint and "surrogate" not in complaint and "truncated" not in complaint:
        raise BodyError(f"the body is not valid JSON: {_without_content(complaint)}")
    return document, _measure(document)[1]


def _without_content(complaint: str) -> str:
    return complaint.removeprefix("JSON is malformed: ").partition(" - at ")[0]


def _no_constant(name: str) -> None:
    raise BodyError(f"the body is not valid JSON: {name} is not a number")


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        seen: set[str] = set()
        key = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise BodyError(f"the key {key[:64]!r} appears twice in one object")
    return found


def _measure(document: Any) -> tuple[int, frozenset[str]]:
    """Return how many keys the document holds, and which.

    Raises:
        BodyError: it is nested too deeply.
    """
    keys, depth = 0, 0
    names: set[str] = set()
    level = [document]
    while level:
        depth += 1
        below: list[Any] = []
        for value in level:
            kind = type(value)
            if kind is dict:
                keys += len(value)
                names.update(value)
                below.extend(value.values())
            elif kind is list:
                below.extend(value)
        level = below
    if depth > MAX_DEPTH:
        raise BodyError(f"the body is nested deeper than {MAX_DEPTH} levels")
    return keys, frozenset(names)


_KEY_END = re.compile(rb'"[ \t\r\n]*:')
_ESCAPED_QUOTE_END = re.compile(rb'\\"[ \t\r\n]*:')
_STRING = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"[ \t\r\n]*+(:?)', re.DOTALL)


def _keys_at_most(raw: bytes, enough: int) -> int:
    """Return how many keys are written in `raw`, or an upper bound that is `enough`.

    A key ends in a quote before a colon, so there are no more keys than such places. Some
    are inside of strings, as in source code: those whose quote is escaped are taken off.
    Only where that does not tell is every string gone through, which takes eight times as long.
    """
    bound = len(_KEY_END.findall(raw))
    if bound > enough:
        bound -= sum(_escapes(raw, match.start()) for match in _ESCAPED_QUOTE_END.finditer(raw))
    if bound > enough:
        bound = _STRING.findall(raw).count(b":")
    return bound


_LONGEST_RUN = 64


def _escapes(raw: bytes, at: int) -> bool:
    """Whether the backslash there escapes what follows, for sure."""
    before = raw[max(at - _LONGEST_RUN, 0) : at]
    run = len(before) - len(before.rstrip(b"\\"))
    return run % 2 == 0 and run < _LONGEST_RUN
