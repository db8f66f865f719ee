"""Where the values of a JSON text stand in its bytes. For valid JSON in UTF-8 only."""

import json
import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass

import msgspec


@dataclass(frozen=True, slots=True)
class Value:
    """Where one JSON value stands in the bytes: `raw[start:end]`."""

    pointer: str
    start: int
    end: int


_BEFORE_MEMBER = re.compile(rb'[\s,]*("[^"\\]*(?:\\.[^"\\]*)*")\s*:\s*', re.DOTALL)
_BEFORE_ITEM = re.compile(rb"[\s,]*")
_objects = msgspec.json.Decoder(dict[str, msgspec.Raw])
_arrays = msgspec.json.Decoder(list[msgspec.Raw])


def locate(raw: bytes, pointer: str) -> Value:
    """Return where the value at a JSON pointer stands, containers with all they hold.

    Raises:
        KeyError: there is none.
    """
    return locate_all(raw, (pointer,))[pointer]


def locate_all(raw: bytes, pointers: Collection[str]) -> dict[str, Value]:
    """Return where the values at JSON pointers stand, of those that there are.

    Goes down only where something is wanted and steps over everything beside, so that a
    field at the end of a long conversation costs no more than reading it once.
    """
    wanted = frozenset(pointers)
    above = {"", *(pointer[:at] for pointer in wanted for at in _slashes(pointer))}
    found = {}
    open_ = [Value("", *_trimmed(raw))]
    while open_:
        value = open_.pop()
        if value.pointer in wanted:
            found[value.pointer] = value
        if value.pointer in above:
            below = (one for _, one in members(raw, value))
            open_ += [one for one in below if one.pointer in wanted or one.pointer in above]
    return found


def _slashes(pointer: str) -> list[int]:
    return [at for at, char in enumerate(pointer) if char == "/"]


def members(raw: bytes, holder: Value) -> Iterator[tuple[str, Value]]:
    """Yield key (or index) and place of what an object or array holds; nothing of a scalar."""
    text = memoryview(raw)[holder.start : holder.end]
    kind = raw[holder.start]
    if kind not in b"{[":
        return
    try:
        found = _arrays.decode(text) if kind == 0x5B else list(_objects.decode(text).values())
    except msgspec.MsgspecError:  # lone surrogates, which JavaScript writes
        yield from _members_slowly(raw, holder)
        return
    before = _BEFORE_ITEM if kind == 0x5B else _BEFORE_MEMBER
    at = holder.start + 1
    for index, value in enumerate(found):
        match = before.match(raw, at)
        if match is None:
            raise AssertionError("members() needs valid JSON")
        at = match.end() + len(memoryview(value))
        key = str(index) if kind == 0x5B else _text(match[1])
        yield key, Value(f"{holder.pointer}/{escape(key)}", match.end(), at)


def _members_slowly(raw: bytes, holder: Value) -> Iterator[tuple[str, Value]]:
    """The same, token by token: each member ends where the next token of our own depth begins."""
    depth = 0
    key: str | None = None
    index, start = 0, -1
    is_array = raw[holder.start] == 0x5B
    for match in _TOKEN.finditer(raw, holder.start, holder.end):
        char = match[0][0]
        if char in b"]}":
            depth -= 1
        if depth == 1 and char not in b",:" and start < 0 and char not in b"]}":
            if not is_array and key is None:
                key = _text(match[0])
            else:
                start = match.start()
        if char in b"{[":
            depth += 1
        if start >= 0 and depth == 1:
            name = str(index) if key is None else key
            yield name, Value(f"{holder.pointer}/{escape(name)}", start, match.end())
            index, start, key = index + 1, -1, None


def _trimmed(raw: bytes) -> tuple[int, int]:
    return len(raw) - len(raw.lstrip()), len(raw.rstrip())


_TOKEN = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"|[{}\[\],:]|[^\s"{}\[\],:]+', re.DOTALL)


def scan(raw: bytes) -> Iterator[Value]:
    """Yield every value of a valid JSON text in document order, with its JSON pointer.

    A container is yielded before what it holds, but with the span of its opening bracket
    only, as its end is not known yet.
    """
    pointer = ""
    stack: list[tuple[str, int]] = []  # pointer of the container, next index or -1 for objects
    key: str | None = None
    for match in _TOKEN.finditer(raw):
        start, end = match.span()
        char = raw[start]
        if char in b"]}":
            stack.pop()
            continue
        if char in b",:":
            if char == 0x3A and key is None:
                raise AssertionError("scan() needs valid JSON")
            continue
        if stack:
            parent, index = stack[-1]
            if index < 0 and key is None:
                key = escape(_text(raw[start:end]))
                continue
            pointer = f"{parent}/{key if index < 0 else index}"
            if index >= 0:
                stack[-1] = (parent, index + 1)
            key = None
        yield Value(pointer, start, end)
        if char in b"[{":
            stack.append((pointer, -1 if char == 0x7B else 0))


def _text(literal: bytes) -> str:
    text: str = json.loads(literal)
    return text


def escape(token: str) -> str:
    """Return one reference token of a JSON pointer (RFC 6901 section 4)."""
    return token.replace("~", "~0").replace("/", "~1")
