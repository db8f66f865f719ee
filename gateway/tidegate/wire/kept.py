"""What of a message document is kept as content: text, no media, and only so much.

Nothing is cut in the middle: half a secret is no longer recognized as one. What does not
fit is left out whole, and named.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

CIPHERTEXT = frozenset(
    ("signature", "encrypted_content", "encrypted_stdout", "encrypted_index", "authorization_token")
)
"""Keys of strings that say nothing, or too much."""

BINARY = frozenset(("base64", "redacted_thinking"))
"""Types of objects whose `data` is no text."""

LATEST_FIRST = frozenset(("messages",))
ORDER = {"messages": 1, "content": 1, "system": 2, "tools": 3}
"""What may take room before what; all else goes first."""


def text_of(value: Any) -> Any:
    """Return a copy without media and ciphertext; in their place stands how long they were."""
    if isinstance(value, list):
        return [text_of(item) for item in value]
    if not isinstance(value, dict):
        return value
    binary = value.get("type") in BINARY
    return {
        key: _length(item)
        if isinstance(item, str) and (key in CIPHERTEXT or (binary and key == "data"))
        else text_of(item)
        for key, item in value.items()
    }


def bounded(document: Mapping[str, Any], max_bytes: int) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Return as much of a document as fits into so many bytes of JSON, and what was left out.

    Of a conversation the latest messages are kept.

    Raises:
        ValueError: it cannot be written as JSON in UTF-8.
    """
    kept: dict[str, Any] = {}
    left_out: list[str] = []
    left = max_bytes
    for key in sorted(document, key=lambda key: ORDER.get(key, 0)):
        value = document[key]
        if isinstance(value, list):
            taken, size = _items(value, left, latest=key in LATEST_FIRST)
            if len(taken) < len(value):
                left_out.append(f"{len(value) - len(taken)} {key}")
            kept[key] = taken
        elif (size := len(msgspec.json.encode(value))) <= left:
            kept[key] = value
        else:
            left_out.append(key)
            size = 0
        left -= size
    return {key: kept[key] for key in document if key in kept}, tuple(left_out)


def _items(items: Sequence[Any], max_bytes: int, *, latest: bool) -> tuple[list[Any], int]:
    taken: list[Any] = []
    total = 0
    for item in reversed(items) if latest else items:
        size = len(msgspec.json.encode(item))
        if total + size > max_bytes:
            break
        taken.append(item)
        total += size
    return taken[::-1] if latest else taken, total


def _length(text: str) -> str:
    return f"[{len(text)} characters]"
