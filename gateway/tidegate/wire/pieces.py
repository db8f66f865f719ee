"""A long conversation, message by message: what was read before is not read again.

The bytes are cut where a message ends and the next begins. That is no more than a guess, as
the same bytes can stand deeper inside: so each piece must be a list of values on its own, and
what is around them a document with one value in their place, among the messages. Where a text
is put together like that, the pieces are what the whole of it says, and can be judged alone.
Any doubt, and any error, is for whoever reads it as a whole.
"""

import re
import secrets
from collections.abc import Generator, Iterator
from hashlib import sha256
from typing import Any, NamedTuple

from tidegate.wire.memo import Memo
from tidegate.wire.strict import MAX_DEPTH, BodyError, decode

SHORTEST = 16_384
"""Bytes of a body from which on it is cut."""
SHORTEST_PIECE = 4_096
"""Bytes. Short messages are in one piece with what comes next."""
SHARE = 32
"""A piece has at least a 32nd of the bytes before it. Then a long conversation has few of them, and
little is read again, in proportion, when it grows."""
MOST_SHARE = 32_768
"""Bytes that are enough, whatever is before: a piece is read in one step."""
STEP = 131_072
"""Bytes that are read between two pauses: about a millisecond. Of those that are known, four times as many."""
KNOWN = 65_536
"""Pieces that are remembered."""
MOST_NAMES = 64
MOST_NAME_SETS = 4_096
LONGEST_NAMES = 2_048
"""Characters. A piece with more, or longer, keys is not remembered."""


class Facts(NamedTuple):
    """What is remembered of a piece."""

    messages: int
    """How many it holds."""
    depth: int
    """Of values in it, at most."""
    names: frozenset[str]
    """Every key of every object in it, and perhaps of those that it was read together with."""


class Piece:
    """Some whole messages, one after the other, as they are written in the body."""

    __slots__ = ("facts", "name", "raw", "values")

    facts: Facts

    def __init__(self, raw: memoryview) -> None:
        self.raw = raw
        self.name = sha256(raw).digest()
        """What has been found out about one piece is true of all that have its name."""
        self.values: list[Any] | None = None

    def read(self) -> list[Any]:
        """Return the messages. They are shared: never change them."""
        if self.values is None:
            self.values = decode(b"".join((b"[", self.raw, b"]"))).value
        return self.values


class Pieces(NamedTuple):
    """A document in pieces; the fields are those of a `Body`."""

    frame: dict[str, Any]
    names: frozenset[str]
    pieces: tuple[Piece, ...]
    at: int


def reading(raw: bytes) -> Generator[None, None, Pieces | None]:
    """Read a body in pieces, and pause now and then. None: it has to be read as a whole.

    That is so if it is short, has few messages, is written in an unusual way, or is wrong.
    """
    cut = _cut(raw) if len(raw) >= SHORTEST else None
    if cut is None:
        return None
    try:
        frame, depth, names = decode(cut.frame)
        at = _stand_in(frame)
        if at < 0:
            return None
        pieces: list[Piece] = []
        new: list[Piece] = []
        unread = 0
        for raw_piece in cut.pieces():
            piece = Piece(raw_piece)
            pieces.append(piece)
            facts = _known.get(piece.name)
            work = len(raw_piece) if facts is None else len(raw_piece) // 4
            if unread + work > STEP:
                _read(new)
                unread = 0
                new.clear()
                yield
            unread += work
            if facts is None:
                new.append(piece)
            else:
                piece.facts = facts
        _read(new)
    except BodyError:
        return None
    if max(depth, *[1 + piece.facts.depth for piece in pieces]) > MAX_DEPTH:
        return None
    names = names.union(*{piece.facts.names for piece in pieces})
    return Pieces(frame, names, tuple(pieces), at)


class _Cut(NamedTuple):
    raw: bytes
    joint: bytes
    """How one message ends and the next begins."""
    step: int
    """From the end of the one to the beginning of the other."""
    first: int
    """Where the first message ends."""
    last: int
    """Where the last but one does."""

    @property
    def frame(self) -> bytes:
        """The document with a stand-in for all messages but the first and the last."""
        head, tail = self.raw[: self.first], self.raw[self.last + self.step :]
        return b'%b,"%b",%b' % (head, _STAND_IN.encode(), tail)

    def pieces(self) -> Iterator[memoryview]:
        """Yield what is between, in pieces that are the same as long as it only grows at its end."""
        view = memoryview(self.raw)
        end = self.first
        start = end + self.step
        while end < self.last:
            enough = start + max(SHORTEST_PIECE, min(start // SHARE, MOST_SHARE))
            end = self.raw.find(self.joint, enough - 1) + 1 if enough < self.last else self.last
            yield view[start:end]
            start = end + self.step


_OPENING = re.compile(rb'"messages"\s*+:\s*+\[\s*+(\{\s*+"[a-z_]{1,32}"\s*+:)')
_STAND_IN = secrets.token_hex(16)
"""Nobody outside can have written it."""


def _cut(raw: bytes) -> _Cut | None:
    """Cut wherever it is written as between the first two messages: `},{"role":`."""
    first = _OPENING.search(raw)
    if first is None:
        return None
    joint = re.compile(rb"\}\s*+,\s*+" + re.escape(first[1])).search(raw, first.end())
    if joint is None:
        return None
    step = len(joint[0]) - len(first[1]) - 1
    cut = _Cut(raw, joint[0], step, joint.start() + 1, raw.rfind(joint[0]) + 1)
    return cut if cut.last > cut.first else None


def _stand_in(frame: Any) -> int:
    """Return where in the messages the stand-in was, and take it out; -1 if it was not there."""
    messages = frame.get("messages") if type(frame) is dict else None
    if type(messages) is not list or _STAND_IN not in messages:
        return -1
    at = messages.index(_STAND_IN)
    del messages[at]
    return at


_known: Memo[bytes, Facts] = Memo(KNOWN)
_name_sets: dict[frozenset[str], frozenset[str]] = {}
"""Most messages have the same keys: then they share the set of them."""


def _read(pieces: list[Piece]) -> None:
    """Read pieces that are new, all at once.

    Raises:
        BodyError: not each of them is a list of values.
    """
    if not pieces:
        return
    between = b',"%b",' % _STAND_IN.encode()
    text = b"".join((b"[", between.join([piece.raw for piece in pieces]), b"]"))
    values, depth, names = decode(text)
    lasting = len(names) <= MOST_NAMES and sum(map(len, names)) <= LONGEST_NAMES
    if len(_name_sets) > MOST_NAME_SETS:
        _name_sets.clear()
    names = _name_sets.setdefault(names, names) if lasting else names
    ends = [at for at, value in enumerate(values) if value == _STAND_IN]
    if len(ends) != len(pieces) - 1:
        raise BodyError("a piece is not one")
    start = 0
    for piece, end in zip(pieces, (*ends, len(values)), strict=True):
        piece.values = values[start:end]
        piece.facts = Facts(end - start, depth, names)
        if lasting:
            _known.put(piece.name, piece.facts)
        start = end + 1
