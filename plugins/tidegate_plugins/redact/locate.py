"""Where strings of a document stand in the bytes of the body, and secrets inside of them.

The n-th string of the document (keys count too) is the n-th string literal of the bytes.
"""

import re
from collections.abc import Iterable, Iterator
from typing import Any

from tidegate_plugins.redact.unescape import unescape
from tidegate_plugins.redact.walk import Path

_LITERAL = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"', re.DOTALL)

Tree = dict["str | int", Any]
"""Wanted paths, by their tokens; a wanted string is its own path instead of a tree."""


def literals(raw: bytes, document: Any, paths: Iterable[Path]) -> dict[Path, tuple[int, int]]:
    """Return, for each path to a string, the span inside of its quotes."""
    numbers = dict(_numbers(document, _tree(paths)))
    if not numbers:
        return {}
    found = {}
    last = max(numbers)
    for number, match in enumerate(_LITERAL.finditer(raw)):
        if number in numbers:
            found[numbers[number]] = (match.start() + 1, match.end() - 1)
        if number == last:
            break
    return found


def inside(raw: bytes, literal: tuple[int, int], start: int, end: int) -> tuple[int, int]:
    """Return where the bytes `[start, end)` of a string's UTF-8 stand in the body."""
    begin, stop = literal
    first, last = unescape(raw[begin:stop]).written(start, end)
    return begin + first, begin + last


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
