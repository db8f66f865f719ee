"""A request body: the exact bytes that came, and what they say.

The bytes are the request. The parsed document is for reading only; a change is a splice
of the bytes (`Edit`), so that whatever no rule touches leaves as it came.
"""

from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

import msgspec

from tidegate.wire.pieces import Piece, reading
from tidegate.wire.spans import Value, escape, locate, locate_all, members, scan
from tidegate.wire.steps import done
from tidegate.wire.strict import MAX_DEPTH, BodyError, decode

__all__ = [
    "EMPTY",
    "MAX_DEPTH",
    "Body",
    "BodyError",
    "Edit",
    "Piece",
    "Value",
    "alike",
    "escape",
    "insertion",
    "parse",
    "parsing",
    "replacements",
    "scan",
    "splice",
]


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
    """The bytes, and what they say. All of it is shared: never change it."""

    raw: bytes = field(repr=False)
    frame: dict[str, Any] = field(repr=False)
    """The document, but for the messages that are in `pieces`: enough for all that stands above
    the messages, and read already."""
    names: frozenset[str] | None = field(default=None, repr=False)
    """Every key of every object in it, where they are known."""
    pieces: tuple[Piece, ...] = field(default=(), repr=False)
    """Most messages of a long conversation, in their order."""
    at: int = 0
    """Where in the frame's messages the pieces belong."""
    _whole: list[dict[str, Any]] = field(default_factory=list, repr=False)

    @property
    def document(self) -> dict[str, Any]:
        """The whole of it. Of a long conversation, made when it is first asked for."""
        if not self.pieces:
            return self.frame
        if not self._whole:
            around = self.frame["messages"]
            messages = [*around[: self.at], *chain.from_iterable(map(Piece.read, self.pieces))]
            messages += around[self.at :]
            self._whole.append({**self.frame, "messages": messages})
        return self._whole[0]

    @property
    def beside(self) -> int:
        """How many messages are in the pieces."""
        return sum([piece.facts.messages for piece in self.pieces])

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
    return done(parsing(raw))


def parsing(raw: bytes) -> Generator[None, None, Body]:
    """Do what `parse` does in steps of some milliseconds, for who has others to serve meanwhile.

    Raises:
        BodyError: as `parse` does.
    """
    if not raw:
        raise BodyError("the request has no body; send a JSON object")
    found = yield from reading(raw)
    if found is not None:
        return Body(raw, *found)
    document, _, names = decode(raw)
    if type(document) is not dict:
        raise BodyError("the body must be a JSON object")
    return Body(raw, document, names)


def alike(one: Body, other: Body) -> bool:
    """Whether two bodies say the same, value by value."""
    if len(one.pieces) == len(other.pieces) and one.at == other.at:
        names = zip(one.pieces, other.pieces, strict=True)
        if all(a.name == b.name for a, b in names) and one.frame == other.frame:
            return True
    return one.document == other.document


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
