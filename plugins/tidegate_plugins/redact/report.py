"""What would be found in a file, and what would be done about it: nothing is changed."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from tidegate.wire.body import Body, BodyError, parse
from tidegate_plugins.redact.engine import CATALOGUE
from tidegate_plugins.redact.placeholder import placeholder
from tidegate_plugins.redact.scan import Deadline, Hit, Scanner
from tidegate_plugins.redact.search import looker, search
from tidegate_plugins.redact.verdict import Judgement, Rulebook, judge, key_names
from tidegate_plugins.redact.walk import Leaf, Place


@dataclass(frozen=True, slots=True)
class Found:
    """One secret. Only `value` tells it."""

    pointer: str
    """Where it stands in a body; empty in a text."""
    line: int
    column: int
    """Where it stands in a text, counted from 1 in characters; 0 in a body."""
    rule: str
    group: str
    action: str
    """`mask`, `block`, `detect`, or `allowed`."""
    place: str
    placeholder: str
    digest: str
    """What `allow.digests` lets through."""
    bytes: int
    value: str

    @property
    def where(self) -> str:
        """The pointer, or line and column."""
        return self.pointer or (f"{self.line}:{self.column}" if self.line else "/")

    def plain(self, *, show: bool) -> dict[str, Any]:
        """Return it for machines, without the value unless that is wanted."""
        names = self.__slots__ if show else [name for name in self.__slots__ if name != "value"]
        return {name: getattr(self, name) for name in names}


@dataclass(frozen=True, slots=True)
class Report:
    """All that was found in one file."""

    kind: str
    """`body` or `text`."""
    found: tuple[Found, ...]

    @property
    def dirty(self) -> bool:
        """Whether there is anything that the configuration does not let through."""
        return any(found.action != "allowed" for found in self.found)

    def counts(self) -> dict[str, int]:
        """How many there are, by action."""
        return dict(Counter(found.action for found in self.found))


class _At(NamedTuple):
    hit: Hit
    line: int = 0
    column: int = 0


@dataclass(frozen=True, slots=True)
class Inspector:
    """Searches files as the gateway searches requests of one team."""

    scanner: Scanner
    book: Rulebook
    team: str
    deadline: Deadline

    def inspect(self, data: bytes, kind: str = "auto") -> Report:
        """Search a request body, or any text.

        Raises:
            BodyError: it should be a body and is none.
            EngineTimeout: it took too long.
        """
        body = None if kind == "text" else _body(data, strict=kind == "body")
        if body is None:
            return Report("text", self._text(data))
        hits = self.scanner.scan_body(body, self.deadline)
        names = key_names(self.book, hits)
        return Report("body", self._judged([_At(hit) for hit in hits], names))

    def _text(self, data: bytes) -> tuple[Found, ...]:
        look = looker(self.scanner.engine, self.deadline.left)
        leaf = Leaf("", "", Place.TEXT, None)
        secrets = search(data, b"", look, self.scanner.cover)
        hits = [Hit(leaf, secret, data[secret.start : secret.end]) for secret in secrets]
        return self._judged([_At(hit, *_line(data, hit.secret.start)) for hit in hits], {})

    def _judged(self, hits: Sequence[_At], names: Mapping[str, str]) -> tuple[Found, ...]:
        judged = [(judge(self.book, at.hit, self.team, names), at) for at in hits]
        return tuple(self._found(one, at) for one, at in judged if one.action != "off")

    def _found(self, judged: Judgement, at: _At) -> Found:
        hit, secret = at.hit, at.hit.secret
        return Found(
            pointer=judged.where,
            line=at.line,
            column=at.column,
            rule=secret.rule,
            group=self.book.groups.get(secret.rule, CATALOGUE),
            action=judged.action,
            place=hit.leaf.place.value,
            placeholder=placeholder(secret.label, judged.digest).decode(),
            digest=judged.digest,
            bytes=len(hit.value),
            value=hit.value.decode(errors="replace"),
        )


def _body(data: bytes, *, strict: bool) -> Body | None:
    """Return the request body that `data` is, or None: an object with messages is one."""
    try:
        body = parse(data)
    except BodyError:
        if strict:
            raise
        return None
    return body if strict or "messages" in body.document else None


def _line(data: bytes, at: int) -> tuple[int, int]:
    start = data.rfind(b"\n", 0, at) + 1
    return data.count(b"\n", 0, at) + 1, len(data[start:at].decode(errors="replace")) + 1
