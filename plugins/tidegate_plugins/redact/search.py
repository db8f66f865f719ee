"""The secrets of one string: a pure function of the string, its key and the rules.

Nothing around the string decides, and the outcome is stable: searching a redacted string
again finds nothing new. So a message is redacted alike in every later request.
"""

import re
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from operator import attrgetter
from typing import NamedTuple

from tidegate_plugins.redact.engine import Engine, Finding
from tidegate_plugins.redact.placeholder import around, holes
from tidegate_plugins.redact.unescape import WORTH, Unescaped, unescape

WINDOW = 65_536
OVERLAP = 8_192
LONGEST_IN_CONTEXT = 4_096
SHORTEST = 6
"""Bytes. No rule matches less."""
ROUNDS = 3
VIEWS = 2
"""How many levels of JSON in JSON are unescaped."""
PLAIN_LABEL = "secret"


class Secret(NamedTuple):
    """One secret of a string: `utf8[start:end]`, the rule that found it, what to call it."""

    start: int
    end: int
    rule: str
    label: str


Look = Callable[[bytes], list[Finding]]
"""The engine on one window, with the time limit of the body applied."""
Cover = Callable[[str, bytes], bytes]
"""Makes a placeholder from a label and a secret."""


def search(data: bytes, key: bytes, look: Look, cover: Cover) -> tuple[Secret, ...]:
    """Return the secrets of a string, in order, not overlapping.

    `key` is the name under which the string stands in an object, or empty.
    """
    if len(data) < SHORTEST:
        return ()
    found = _round(data, key, look)
    if not found:
        return ()
    every = list(found)
    for _ in range(ROUNDS):
        text, back = _covered(data, every, cover)
        more = [_moved(secret, back) for secret in _round(text, key, look)]
        if not more:
            break
        every = _apart([*every, *more])
    return tuple(every)


def _round(data: bytes, key: bytes, look: Look) -> list[Secret]:
    findings = [*_with_key(data, key, look)]
    if b"\\" in data:
        findings += _through_escapes(data, look)
    if not findings:
        return []
    gone = holes(data)
    return [
        Secret(start, end, finding.rule, _label(data[start:end], look))
        for finding in _merge(_whole_characters(data, findings))
        for start, end in around(finding[:2], gone)
    ]


def written(data: bytes, key: bytes) -> bytes:
    """Return a string as it is looked at: as the value of its key, where that is to play a part."""
    return b'%b="%b"' % (key, data) if key and len(data) <= LONGEST_IN_CONTEXT else data


def _with_key(data: bytes, key: bytes, look: Look) -> Iterable[Finding]:
    text = written(data, key)
    if text is data:
        return _windows(data, look)
    before = len(key) + 2
    found = _windows(text, look)
    inside = [
        f._replace(start=max(f.start - before, 0), end=min(f.end - before, len(data)))
        for f in found
    ]
    return [finding for finding in inside if finding.start < finding.end]


def _windows(data: bytes, look: Look) -> Iterable[Finding]:
    """Look at long strings piece by piece: that bounds what a rule can cost."""
    if len(data) <= WINDOW:
        return look(data)
    return chain.from_iterable(
        _shifted(look(data[at : at + WINDOW]), at) for at in _cuts(len(data))
    )


def _cuts(size: int) -> Iterator[int]:
    step = WINDOW - OVERLAP
    return chain((0,), range(step, size - OVERLAP, step))


def _shifted(findings: Iterable[Finding], at: int) -> Iterator[Finding]:
    for finding in findings:
        # What ends early the window before saw as well, and more of its left.
        if not at or finding.end > OVERLAP // 2:
            yield finding._replace(start=finding.start + at, end=finding.end + at)


def _through_escapes(data: bytes, look: Look) -> Iterator[Finding]:
    for at in _cuts(len(data)):
        yield from _shifted(_unescaped(data[at : at + WINDOW], look), at)


def _unescaped(data: bytes, look: Look) -> Iterator[Finding]:
    """Look at one window without its escapes, and without those that then appear."""
    views: list[Unescaped] = []
    for _ in range(VIEWS):
        text = views[-1].text if views else data
        if b"\\" not in text or not WORTH.search(text):
            return
        views.append(unescape(text))
        for finding in look(views[-1].text):
            start, end = finding.start, finding.end
            for view in reversed(views):
                start, end = view.written(start, end)
            yield finding._replace(start=start, end=end)


def _whole_characters(data: bytes, findings: list[Finding]) -> list[Finding]:
    """Widen the spans so that they cut no UTF-8 sequence."""
    return [f._replace(start=_head(data, f.start, -1), end=_head(data, f.end, 1)) for f in findings]


def _head(data: bytes, at: int, step: int) -> int:
    while 0 < at < len(data) and data[at] & 0xC0 == 0x80:
        at += step
    return at


def _merge(findings: list[Finding]) -> list[Finding]:
    """Unite what overlaps; the rule that knows most names it, then the longest."""
    merged: list[list[Finding]] = []
    end = 0
    for finding in sorted(findings):
        if finding.start >= end:
            merged.append([])
        merged[-1].append(finding)
        end = max(end, finding.end)
    return [_united(group) for group in merged]


def _united(findings: list[Finding]) -> Finding:
    best = min(findings, key=lambda f: (f.rank, f.start - f.end, f.rule))
    return best._replace(start=findings[0].start, end=max(f.end for f in findings))


def _label(secret: bytes, look: Look) -> str:
    """Name a secret by what it looks like on its own, so that its place plays no part."""
    whole = [(f.rank, f.rule) for f in look(secret[:WINDOW]) if f.end - f.start == len(secret)]
    return min(whole, default=(0, PLAIN_LABEL))[1]


class _Back(NamedTuple):
    """The way back from a covered text: where it goes on after a placeholder, and from where."""

    at: int
    origin: int


def _covered(data: bytes, secrets: list[Secret], cover: Cover) -> tuple[bytes, list[_Back]]:
    parts: list[bytes] = []
    back = [_Back(0, 0)]
    size = at = 0
    for secret in secrets:
        stand_in = cover(secret.label, data[secret.start : secret.end])
        parts += (data[at : secret.start], stand_in)
        size += secret.start - at + len(stand_in)
        at = secret.end
        back.append(_Back(size, at))
    parts.append(data[at:])
    return b"".join(parts), back


def _moved(secret: Secret, back: list[_Back]) -> Secret:
    """A secret that lies between placeholders, as it lies in the original."""
    start = back[bisect_right(back, secret.start, key=attrgetter("at")) - 1]
    shift = start.origin - start.at
    return secret._replace(start=secret.start + shift, end=secret.end + shift)


def _apart(secrets: list[Secret]) -> list[Secret]:
    ordered = sorted(secrets)
    return [s for i, s in enumerate(ordered) if not i or s.start >= ordered[i - 1].end]


def looker(engine: Engine, time_left: Callable[[], float]) -> Look:
    """Return the engine as a function that knows how much time is left."""
    return lambda data: engine.find(data, time_left())


LONGEST_DULL = 64
_DIGITS = r"(?!(?:[^0-9]*+[0-9]){9})"
_WORDS = r"[A-Za-z0-9_.,()!?-]{0,%d}+(?:[ \t\n][A-Za-z0-9_.,()!?-]{0,%d}+)*+"
_DULL = re.compile(_DIGITS + _WORDS % (11, 11))
_DULL_NAMED = re.compile(_DIGITS + _WORDS % (7, 7))


def dull(text: str, *, named: bool) -> bool:
    """Whether a string is short words, in which no rule can find anything: not searched.

    No rule takes less than 12 characters in a row without a sign that assigns or quotes,
    nor less than 8 under a name, nor less than 9 digits.
    """
    if len(text) > LONGEST_DULL:
        return False
    return (_DULL_NAMED if named else _DULL).fullmatch(text) is not None


_NAME = re.compile(r"[^\x00-\x1f\"\\]{1,64}")


def context(key: str) -> bytes:
    """Return an object's key as it may stand before a value, empty if it is no name."""
    return key.encode("utf-8", "surrogatepass") if _NAME.fullmatch(key) else b""
