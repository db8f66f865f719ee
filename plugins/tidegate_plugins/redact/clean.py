"""Cleaning: every secret of a document that is kept, not sent, is replaced, wherever it stands.

What is kept need not work any more: URLs, object keys, names and the model's own words are
replaced here, too, and so is what the rules would only report. Only what `allow` lets through stays.
"""

from collections.abc import Mapping
from typing import Any

from tidegate_plugins.redact.placeholder import digest, placeholder
from tidegate_plugins.redact.scan import Deadline, Hit, Scanner
from tidegate_plugins.redact.verdict import Rulebook, allowed
from tidegate_plugins.redact.walk import Path, pointer

_ROOT = "kept"
"""No table of places knows this key: all below it is text."""

_Token = str | int
_Found = dict[tuple[_Token, ...], list[tuple[int, int, bytes]]]


def cleaned(
    book: Rulebook, scanner: Scanner, document: Mapping[str, Any], deadline: Deadline
) -> dict[str, Any]:
    """Return a copy without its secrets.

    Raises:
        EngineTimeout: it took too long; nothing is known.
    """
    values: _Found = {}
    keys: _Found = {}
    for hit in scanner.scan({_ROOT: document}, deadline):
        tokens = _tokens(hit.leaf.path)[1:]
        if _is_allowed(book, hit):
            continue
        cover = placeholder(hit.secret.label, digest(book.key, hit.value))
        found = keys if _is_key(hit) else values
        found.setdefault(tokens, []).append((hit.secret.start, hit.secret.end, cover))
    copy: dict[str, Any] = _replaced(document, (), values, keys)
    return copy


def _is_allowed(book: Rulebook, hit: Hit) -> bool:
    where = pointer(hit.leaf.path).removeprefix(f"/{_ROOT}")
    return allowed(book.config, hit.secret.rule, where, digest(book.key, hit.value))


def _is_key(hit: Hit) -> bool:
    return hit.leaf.path is not None and hit.leaf.path[1] == hit.leaf.text


def _tokens(path: Path) -> tuple[_Token, ...]:
    tokens: list[_Token] = []
    while path is not None:
        path, token = path
        tokens.append(token)
    return tuple(reversed(tokens))


def _replaced(value: Any, at: tuple[_Token, ...], values: _Found, keys: _Found) -> Any:
    if isinstance(value, str):
        return _covered(value, values.get(at, ()))
    if isinstance(value, list):
        return [_replaced(item, (*at, i), values, keys) for i, item in enumerate(value)]
    if isinstance(value, dict):
        return {
            _covered(key, keys.get((*at, key), ())): _replaced(item, (*at, key), values, keys)
            for key, item in value.items()
        }
    return value


def _covered(text: str, found: Any) -> str:
    """Return the text with its secrets replaced; places are bytes of its UTF-8."""
    if not found:
        return text
    data = text.encode("utf-8", "surrogatepass")
    parts: list[bytes] = []
    done = 0
    for start, end, cover in sorted(found):
        if start >= done:
            parts += (data[done:start], cover)
        done = max(done, end)
    return b"".join((*parts, data[done:])).decode("utf-8", "surrogatepass")
