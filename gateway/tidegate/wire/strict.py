"""Strict JSON (RFC 8259): read so that no other parser can read it differently.

UTF-8, no duplicate keys, no NaN, nothing nested too deeply.
"""

import json
import re
from typing import Any, NamedTuple

import msgspec

MAX_DEPTH = 200
"""Deeper than any real conversation, far above what recursion in any parser allows."""


class BodyError(Exception):
    """The body cannot be used. `pointer` is where, `message` what is wrong with it."""

    def __init__(self, message: str, pointer: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.pointer = pointer


class Decoded(NamedTuple):
    """A value, how many levels it has, and every key of every object in it."""

    value: Any
    depth: int
    names: frozenset[str]


def decode(raw: bytes) -> Decoded:
    """Return what a JSON text says.

    Raises:
        BodyError: with a message for the caller; never with content.
    """
    try:
        document = msgspec.json.decode(raw)
    except UnicodeDecodeError:
        raise BodyError("the body is not valid UTF-8") from None
    except RecursionError:
        raise BodyError("the body is nested too deeply") from None
    except msgspec.MsgspecError as error:
        return _decode_slowly(raw, str(error))
    keys, depth, names = _measure(document)
    if _keys_at_most(raw, keys) > keys:
        _decode_slowly(raw, "")
    return Decoded(document, depth, names)


def _decode_slowly(raw: bytes, complaint: str) -> Decoded:
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
    return Decoded(document, *_measure(document)[1:])


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


def _measure(document: Any) -> tuple[int, int, frozenset[str]]:
    """Return how many keys the document holds, how deep it is, and which keys they are.

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
    return keys, depth, frozenset(names)


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
