"""Where strings of a document stand in the bytes of the body, and secrets inside of them.

The n-th string of the document (keys count too) is the n-th string literal of the bytes.
"""

import itertools
from collections.abc import Iterable, Iterator
from typing import Any

from tidegate_plugins.redact.placeholder import Span
from tidegate_plugins.redact.unescape import unescape
from tidegate_plugins.redact.walk import Path

Tree = dict["str | int", Any]
"""Wanted paths, by their tokens; a wanted string is its own path instead of a tree."""


def literals(raw: bytes, document: Any, paths: Iterable[Path]) -> dict[Path, Span]:
    """Return, for each path to a string, the span inside of its quotes."""
    numbers = dict(_numbers(document, _tree(paths)))
    if not numbers:
        return {}
    quotes = _quotes(raw)
    return {path: (quotes[2 * n] + 1, quotes[2 * n + 1]) for n, path in numbers.items()}


def inside(raw: bytes, literal: Span, spans: Iterable[Span]) -> list[Span]:
    """Return where spans of a string's UTF-8 stand in the body."""
    begin, stop = literal
    text = unescape(raw[begin:stop])
    found = [text.written(start, end) for start, end in spans]
    return [(begin + start, begin + end) for start, end in found]


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
