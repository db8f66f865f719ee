"""Where strings of a document stand in the bytes of the body, and secrets inside of them.

The n-th string of the document (keys count too) is the n-th string literal of the bytes.
"""

import itertools
import json
import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from tidegate_plugins.redact.placeholder import Span
from tidegate_plugins.redact.unescape import unescape
from tidegate_plugins.redact.walk import Path

Check = Callable[[], object]
"""Called now and then; raises when the time is up."""
Tree = dict["str | int", Any]
"""Wanted paths, by their tokens; a wanted string is its own path instead of a tree."""


def literals(raw: bytes, document: Any, paths: Iterable[Path]) -> dict[Path, Span]:
    """Return, for each path to a string, the span inside of its quotes."""
    numbers = dict(_numbers(document, _tree(paths)))
    if not numbers:
        return {}
    quotes = _quotes(raw)
    return {path: (quotes[2 * n] + 1, quotes[2 * n + 1]) for n, path in numbers.items()}


def inside(
    raw: bytes, literal: Span, spans: Iterable[Span], check: Check = lambda: None
) -> list[Span]:
    """Return where spans of a string's UTF-8, in order, stand in the body.

    Piece by piece, so that a string of millions of escapes costs no memory; `check` is
    called before each, and may raise.
    """
    offsets = [place for start, end in spans for place in ((start, True), (end, False))]
    found: list[int] = []
    size = 0
    for piece in _PIECE.finditer(raw, *literal):
        check()
        if offsets[len(found)][0] > size + len(piece[0]):
            size += _size(piece[0])
            continue
        text = unescape(piece[0])
        for offset, start in offsets[len(found) :]:
            if offset > size + len(text.text):
                break
            found.append(piece.start() + text.place(offset - size, start=start))
        size += len(text.text)
        if len(found) == len(offsets):
            break
    return list(zip(found[::2], found[1::2], strict=True))


_PIECE = re.compile(
    rb"(?:[^\\]+|\\u[dD][89abAB]..\\u[dD][c-fC-F]..|\\u....|\\.){1,4096}", re.DOTALL
)
"""Some of a string literal, no escape cut in two."""


def _size(piece: bytes) -> int:
    """Return how long a piece is without its escapes, in UTF-8."""
    if b"\\" not in piece:
        return len(piece)
    text: str = json.loads(b'"%b"' % piece)
    return len(text.encode("utf-8", "surrogatepass"))


def _quotes(raw: bytes) -> list[int]:
    """Return where the quotes of string literals stand, opening and closing in turn.

    Escaped quotes are painted over first: a run of backslashes pairs up from its left.
    """
    parts = raw.replace(rb"\\", b"__").replace(rb"\"", b"__").split(b'"')
    return [at + i for i, at in enumerate(itertools.accumulate(map(len, parts)))]


def _tree(paths: Iterable[Path]) -> Tree:
    root: Tree = {}
    for path in paths:
        tokens = list(_tokens(path))[::-1]
        node = root
        for token in tokens[:-1]:
            node = node.setdefault(token, {})
        node[tokens[-1]] = path
    return root


def _tokens(path: Path) -> Iterator[str | int]:
    while path is not None:
        path, token = path
        yield token


def _numbers(document: Any, wanted: Tree) -> Iterator[tuple[int, Path]]:
    """Yield the number of each wanted string, skipping the rest as fast as it can be counted."""
    stack: list[tuple[Any, Any]] = [(document, wanted)]
    count = 0
    while stack:
        node, want = stack.pop()
        kind = type(node)
        if not want:
            count += _strings(node)
        elif kind is str:
            yield count, want
            count += 1
        elif kind is dict:
            for key, child in reversed(node.items()):
                stack += ((child, want.get(key)), (key, None))
        elif kind is list:
            stack += [(child, want.get(i)) for i, child in reversed(list(enumerate(node)))]


def _strings(node: Any) -> int:
    """Count the strings of a value, keys included."""
    kind = type(node)
    if kind is str:
        return 1
    if kind is dict:
        return len(node) + sum(map(_strings, node.values()))
    return sum(map(_strings, node)) if kind is list else 0
