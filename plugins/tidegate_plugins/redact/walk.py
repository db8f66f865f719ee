"""From a document to its strings, each with the place it stands in.

What may be done to a string is decided by where it stands, never by what it says. Every
string is a `TEXT` unless the tables here name its place; a new field or block of the API
is therefore searched and redacted from the first day on.
"""

import enum
import marshal
from collections.abc import Callable, Iterator, Mapping
from hashlib import sha256
from typing import Any, Literal, NamedTuple, Union

from tidegate.wire.body import Body, escape


class Place(enum.Enum):
    """What may be done where a string stands."""

    TEXT = "text"
    """Searched; a secret is replaced."""
    FIXED = "fixed"
    """Searched and reported, never edited: URLs, keys, names that something else refers to."""
    SIGNED = "signed"
    """Searched, never edited: the model's own words, which thinking is bound to."""
    OPAQUE = "opaque"
    """Not searched: ids, enums, signatures, ciphertext, media."""


T, F, S, O = Place.TEXT, Place.FIXED, Place.SIGNED, Place.OPAQUE  # noqa: E741

Path = Union["tuple[Path, str | int]", None]
"""The way to a value, from its end: cheap to make, turned into a pointer when needed."""


class Leaf(NamedTuple):
    """One string of a document."""

    text: str
    key: str
    """The object key it stands under, where that is the caller's own word."""
    place: Place
    path: Path


Kind = Literal["body", "answer"]
"""Of document."""
Add = Callable[[str, str, Place, Path], object]
"""Takes what makes a leaf."""
Rule = Place | str
"""What to do with a value: a place for all it holds, or the name of a table."""

OBJECTS: Mapping[str, Mapping[str, Rule]] = {
    "body": {
        "model": O, "messages": "message", "system": "system", "tools": "tool",
        "cache_control": O, "service_tier": O, "speed": O, "inference_geo": O,
        "fallback_credit_token": O, "metadata": F, "tool_choice": F, "thinking": F,
        "container": F, "diagnostics": F, "billing_policy": F, "thread": F, "fallbacks": F,
        "betas": F, "anthropic_beta": F, "anthropic_version": F, "output_config": "output_config",
        "mcp_servers": "mcp_server", "context_management": "typed", "compaction": "typed",
        "user": F, "safety_identifier": F, "reasoning_effort": O,
    },
    "message": {
        "role": O, "content": "block", "clear_at": O, "output_config": O, "tool_call_id": O,
        "tool_calls": "tool_call",
    },
    "tool_call": {"id": O, "type": O, "function": "function"},
    "function": {"name": O, "description": T, "arguments": T},
    "image_url": {"url": F, "detail": O},
    "image_url:data": {"url": O, "detail": O},
    "answer": {
        "id": O, "type": O, "role": O, "model": O, "content": "block", "stop_reason": O, "usage": O,
        "container": O, "request_id": O,
    },
    "output_config": {"effort": O, "task_budget": O},
    "typed": {"type": O, "edits": "typed", "instructions": T},
    "mcp_server": {"type": O, "name": O, "url": F, "authorization_token": O, "tool_configuration": F},
    "tool": {
        "type": O, "name": O, "description": T, "cache_control": O, "allowed_callers": O,
        "model": O, "caching": O, "mcp_server_name": O, "allowed_domains": F, "url_sources": F,
        "blocked_domains": F, "response_inclusion": O, "tools": "tool", "function": "function",
    },
    "tool_change": {"type": O, "name": O, "server_name": O, "definition": "tool"},
    "citation": {"type": O, "file_id": O, "encrypted_index": O, "url": F, "cited_text": T},
    "result": {
        "type": O, "encrypted_content": O, "encrypted_stdout": O, "url": F, "error_code": O,
        "content": "block", "file_id": O, "stop_reason": O, "tool_references": "block",
        "file_type": O, "retrieved_at": O, "stdout": T, "stderr": T, "text": T, "title": T,
    },
    "tab": {"type": O, "tab_id": O, "download_id": O, "url": F, "title": T},
    "source:base64": {"type": O, "media_type": O, "data": O},
    "source:url": {"type": O, "media_type": O, "url": F},
    "source:file": {"type": O, "file_id": O},
    "source:text": {"type": O, "media_type": O, "data": T},
    "source:content": {"type": O, "content": "block"},
}  # fmt: skip
"""By table: what to do under a key. Any other key holds `TEXT` of that name. Fields of the OpenAI
format are among them, for chats that the upstream converts."""

_USE: Mapping[str, Rule] = {
    "id": O, "name": O, "caller": O, "toolset_name": O, "server_name": O,
}  # fmt: skip
_RESULT: Mapping[str, Rule] = {
    "tool_use_id": O, "toolset_name": O, "caller": O, "content": "block",
}  # fmt: skip
_SERVER_RESULT: Mapping[str, Rule] = {"tool_use_id": O, "caller": O, "content": "result"}

BLOCKS: Mapping[str, Mapping[str, Rule]] = {
    "text": {"text": T, "citations": "citation"},
    "image": {"source": "source", "transformations": O},
    "image_url": {"image_url": "image_url"},
    "document": {"source": "source", "title": T, "context": T},
    "search_result": {"source": F, "title": T, "content": "block"},
    "thinking": {"thinking": T, "signature": O},
    "redacted_thinking": {"data": O},
    "tool_use": _USE,
    "tool_result": _RESULT,
    "tool_reference": {"tool_name": O},
    "browser_state": {"tabs": "tab", "state_changes": "tab"},
    "server_tool_use": _USE,
    "mcp_tool_use": _USE,
    "mcp_tool_result": _RESULT,
    "mcp_tool_listing": {"mcp_server_name": O, "tools": "tool"},
    "web_search_tool_result": _SERVER_RESULT,
    "web_fetch_tool_result": _SERVER_RESULT,
    "code_execution_tool_result": _SERVER_RESULT,
    "bash_code_execution_tool_result": _SERVER_RESULT,
    "text_editor_code_execution_tool_result": _SERVER_RESULT,
    "tool_search_tool_result": _SERVER_RESULT,
    "advisor_tool_result": _SERVER_RESULT,
    "container_upload": {"file_id": O},
    "compaction": {"content": T, "encrypted_content": O, "signature": O, "tool_changes": "block"},
    "tool_addition": {"tool": "tool_change"},
    "tool_removal": {"tool": "tool_change"},
    "fallback": {"from": O, "to": O},
}
"""By type of block, beside `type` and `cache_control`: what to do under a key."""

WRITTEN_UPSTREAM = frozenset({
    "thinking", "redacted_thinking", "server_tool_use", "mcp_tool_use", "mcp_tool_result",
    "mcp_tool_listing", "web_search_tool_result", "web_fetch_tool_result",
    "code_execution_tool_result", "bash_code_execution_tool_result",
    "text_editor_code_execution_tool_result", "tool_search_tool_result",
    "advisor_tool_result", "compaction", "fallback",
})  # fmt: skip
"""Blocks that the provider made: `SIGNED` in whosever message they stand."""

ATTRIBUTION = "x-anthropic-billing-header:"
"""How Claude Code's first system block begins. It must arrive as it is."""
LONGEST_NAME = 80
SHORTEST_KEY = 16
"""Shorter object keys hold no secret."""


def leaves(document: dict[str, Any]) -> list[Leaf]:
    """Return the strings to search, in document order."""
    found: list[Leaf] = []
    visit(document, lambda *leaf: found.append(Leaf(*leaf)))
    return found


def visit(document: dict[str, Any], add: Add, kind: Kind = "body") -> None:
    """Call `add` for each string to search, with what makes a leaf, in document order."""
    whole(document, kind).visit(add)


class Part(NamedTuple):
    """Some values of a document, which can be searched alone."""

    read: Callable[[], list[Any]]
    rule: str
    first: int | None = None
    """Of messages: the number of the first. None: it is the document, or some of its fields."""
    signed: bool = False
    name: bytes = b""
    """What it is remembered by: the digest of all that it holds. Empty: it is not."""

    def visit(self, add: Add) -> None:
        """Call `add` for each string to search, in document order."""
        for index, node in enumerate(self.read()):
            path = None if self.first is None else (_MESSAGES, self.first + index)
            _walk(node, self.rule, path, "", add, signed=self.signed)


_MESSAGES: Path = (None, "messages")


def whole(document: dict[str, Any], kind: Kind = "body") -> Part:
    """Return a document as one part."""
    return Part(lambda: [document], kind, signed=kind == "answer")


def parts(body: Body, is_clean: Callable[[bytes], bool] = lambda _: False) -> Iterator[Part]:
    """Yield the parts of a body, in its order: its pieces but for clean ones, and what is around."""
    frame = body.frame
    messages = frame.get("messages")
    if type(messages) is not list or not (body.pieces or "tools" in frame):
        yield whole(frame)
        return
    keys = list(frame)
    middle = keys.index("messages")
    yield _fields(frame, keys[:middle])
    yield Part(lambda: messages[: body.at], "message", 0)
    number = body.at
    for piece in body.pieces:
        if not is_clean(piece.name):
            yield Part(piece.read, "message", number, name=piece.name)
        number += piece.facts.messages
    yield Part(lambda: messages[body.at :], "message", number)
    yield _fields(frame, keys[middle + 1 :])


def _fields(frame: dict[str, Any], keys: list[str]) -> Part:
    """Return some fields. Tools are long, and the same in each request: they are remembered."""
    fields = [{key: frame[key] for key in keys}]
    name = sha256(marshal.dumps(fields, _PLAIN)).digest() if "tools" in keys else b""
    return Part(lambda: fields, "body", name=name)


_PLAIN = 2
"""The version of marshal's format in which equal values are equal bytes."""


def pointer(path: Path, names: Mapping[str, str] | None = None) -> str:
    """Return the JSON pointer of a path, for people: long keys are cut, `names` replaced."""
    tokens = []
    while path is not None:
        path, token = path
        name = (names or {}).get(token, token) if isinstance(token, str) else str(token)
        tokens.append(escape(name if len(name) <= LONGEST_NAME else f"{name[:LONGEST_NAME]}…"))
    return "".join(f"/{token}" for token in reversed(tokens))


def _walk(node: Any, rule: Rule, path: Path, key: str, add: Add, *, signed: bool) -> None:
    kind = type(node)
    if kind is dict:
        _walk_object(node, rule, path, add, signed=signed)
    elif kind is list:
        for index, child in enumerate(node):
            below = _first_system(child) if rule == "system" and index == 0 else rule
            _walk(child, below, (path, index), key, add, signed=signed)
    elif kind is str:
        place = rule if isinstance(rule, Place) else T
        add(node, key, S if signed and place is not O else place, path)


def _walk_object(node: dict[str, Any], rule: Rule, path: Path, add: Add, *, signed: bool) -> None:
    table, signed = _table(node, rule, signed)
    for key, child in node.items():
        below = table.get(key)
        if below is O:
            continue
        if below is T and type(child) is str:  # nearly all of what is read
            add(child, "", S if signed else T, (path, key))
            continue
        if below is not None:
            _walk(child, below, (path, key), "", add, signed=signed)
            continue
        if len(key) >= SHORTEST_KEY:
            add(key, "", S if signed else F, (path, key))
        inherited = rule if isinstance(rule, Place) else T
        _walk(child, inherited, (path, key), key, add, signed=signed)


_NOTHING: Mapping[str, Rule] = {}
_ANY_BLOCK: Mapping[str, Rule] = {"type": O, "cache_control": O}
_BLOCKS = {name: {**_ANY_BLOCK, **table} for name, table in BLOCKS.items()}


def _table(node: dict[str, Any], rule: Rule, signed: bool) -> tuple[Mapping[str, Rule], bool]:
    """Return the table for an object, and whether what it holds was written upstream."""
    if isinstance(rule, Place):
        return _NOTHING, signed
    kind = node.get("type")
    name = kind if type(kind) is str else ""
    if rule in ("block", "system"):
        return _BLOCKS.get(name, _ANY_BLOCK), signed or name in WRITTEN_UPSTREAM
    if rule == "source":
        return OBJECTS.get(f"source:{name}", _NOTHING), signed
    if rule == "image_url" and str(node.get("url")).startswith("data:image/"):
        return OBJECTS["image_url:data"], signed
    if rule == "result" and name in _BLOCKS:
        return _table(node, "block", signed)
    if rule == "message":
        signed = signed or node.get("role") == "assistant"
    return OBJECTS[rule], signed


def _first_system(block: Any) -> Rule:
    """Claude Code's attribution is searched, but never edited."""
    text = block.get("text") if type(block) is dict else None
    return F if type(text) is str and text.startswith(ATTRIBUTION) else "system"
