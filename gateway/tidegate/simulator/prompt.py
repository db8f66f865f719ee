"""What a request says: its text, its tools, and how many tokens it is."""

import hashlib
import json
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

_FILE_TOKENS = 1_500
"""Of an image or a PDF, whatever it shows: nobody looks."""

_OVERHEAD = 3
"""Tokens that a block costs by being one."""


def tokens(text: str) -> int:
    """Return the tokens of a text: four characters each, the last perhaps shorter."""
    return -(-len(text) // 4)


def blocks(content: Any) -> list[Any]:
    """Return the content of a message as blocks: a string is one text block."""
    if isinstance(content, str):
        return [{"type": "text", "text": content}]
    return content if isinstance(content, list) else []


def last_turn(document: dict[str, Any]) -> list[Any]:
    """Return the blocks after the assistant's last words."""
    turn: list[Any] = []
    for message in reversed(document["messages"]):
        if message["role"] == "assistant":
            break
        if message["role"] == "user":
            turn = [*blocks(message["content"]), *turn]
    return turn


def text_of(turn: list[Any], kind: str = "text") -> str:
    """Return the text of the blocks of one kind, in lines. Lone surrogates are replaced."""
    found = (block for block in turn if block["type"] == kind)
    text = "\n".join(filter(None, map(_text_in, found)))
    return text.encode("utf-8", "replace").decode()


def _text_in(block: dict[str, Any]) -> str:
    if block["type"] == "tool_result":
        inner = [each for each in blocks(block.get("content")) if each.get("type") == "text"]
        return text_of(inner)
    return str(block["text"])


@dataclass(frozen=True, slots=True)
class Prompt:
    """The input tokens of a request: new ones, read from the cache, written to it."""

    fresh: int
    read: int = 0
    write_5m: int = 0
    write_1h: int = 0


@dataclass(frozen=True, slots=True)
class _Part:
    key: str
    tokens: int
    ttl: str
    """Of the cache breakpoint at its end, or empty."""


def count(document: dict[str, Any]) -> int:
    """Return all input tokens of a request."""
    return sum(part.tokens for part in _parts(document))


class PromptCache:
    """Which prefixes have been seen: digests, the oldest forgotten first.

    Unlike the API's it has no minimum length, and entries last until there are too many.
    """

    def __init__(self, limit: int = 4096) -> None:
        self._seen: OrderedDict[bytes, None] = OrderedDict()
        self._limit = limit

    def measure(self, model: str, document: dict[str, Any]) -> Prompt:
        """Return how the tokens of a request divide, and remember its prefixes."""
        digest = hashlib.sha256(model.encode())
        total = read = at = 0
        written = {"5m": 0, "1h": 0}
        marks: list[tuple[bytes, int, str]] = []
        for part in _parts(document):
            digest.update(part.key.encode("utf-8", "surrogatepass"))
            total += part.tokens
            key = digest.digest()
            if key in self._seen or part.ttl:
                marks.append((key, total, part.ttl))
        while marks and not marks[-1][2]:
            marks.pop()  # a known prefix after the last breakpoint is not looked for
        for key, end, _ in marks:
            if key in self._seen:
                read = at = end
        for key, end, ttl in marks:
            if end > at:
                written[ttl] += end - at
                at = end
            self._remember(key)
        return Prompt(total - at, read, written["5m"], written["1h"])

    def _remember(self, key: bytes) -> None:
        self._seen[key] = None
        self._seen.move_to_end(key)
        if len(self._seen) > self._limit:
            self._seen.popitem(last=False)


def _parts(document: dict[str, Any]) -> Iterator[_Part]:
    """Yield what the model is given, in the order in which it is cached."""
    parts = list(_blocks_in_order(document))
    automatic = _ttl(document)
    for index, (place, block) in enumerate(parts):
        last = index == len(parts) - 1
        bare = {key: value for key, value in block.items() if key != "cache_control"}
        text = json.dumps([place, bare], ensure_ascii=False, separators=(",", ":"))
        ttl = _ttl(block) or (automatic if last else "")
        yield _Part(text, weigh(bare), ttl)


def _blocks_in_order(document: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    yield from (("tools", tool) for tool in document.get("tools") or ())
    yield from (("system", block) for block in blocks(document.get("system")))
    for message in document["messages"]:
        yield from ((message["role"], block) for block in blocks(message["content"]))


def _ttl(value: dict[str, Any]) -> str:
    control = value.get("cache_control")
    if not isinstance(control, dict):
        return ""
    return "1h" if control.get("ttl") == "1h" else "5m"


def weigh(block: dict[str, Any]) -> int:
    """Return the input tokens of a block."""
    return -(-_size(block) // 4) + _OVERHEAD


def _size(value: Any) -> int:
    if isinstance(value, dict):
        if value.get("type") == "base64":
            return 4 * _FILE_TOKENS
        return sum(len(key) + _size(each) for key, each in value.items())
    if isinstance(value, list):
        return sum(map(_size, value))
    return len(str(value))
