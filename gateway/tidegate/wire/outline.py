"""A request without its content: what policies ask about, and nothing that anybody wrote.

An outline is itself a request of the Messages API. It keeps model ids, limits, the kinds of
tools and blocks, the words of the API's own settings, and of addresses scheme and host; the
rest is left out. A string that is none of these becomes `?`, so that it stays visible that
something was there. It is what the journal keeps of a request, to decide on it again under
another configuration (messages-api sheet, sections 2.1, 2.3, 2.5).
"""

import re
from collections.abc import Callable, Generator, Mapping, Sequence
from typing import Any

import msgspec

from tidegate.wire.body import Body
from tidegate.wire.errors import encodable
from tidegate.wire.memo import Memo
from tidegate.wire.pieces import KNOWN, Piece
from tidegate.wire.steps import done

Json = dict[str, Any]

HIDDEN = "?"
"""Stands for a string that is not kept. No model id, host or word of the API is written so."""

STEP = 1_048_576
"""Bytes of new pieces that are looked at between two pauses: about a millisecond."""
MAX_ITEMS = 32
"""Of each list. What is beyond is counted in the record, and not described."""

_WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:@/\[\]-]{0,99}")
_KEY = re.compile(r"[a-z][a-z0-9_]{0,39}")


def outline(document: Mapping[str, Any]) -> Json:
    """Return the outline of a request's document."""
    return _outline(document, (), 0)


def outline_of(body: Body) -> Json:
    """Return the same of a body."""
    return done(outlining(body))


def outlining(body: Body) -> Generator[None, None, Json]:
    """Do the same in steps of a millisecond, as it is for each body, also for large ones."""
    new = 0
    for piece in body.pieces:
        if _known.get(piece.name) is None:
            _known.put(piece.name, _look(piece))
            new += len(piece.raw)
        if new >= STEP:
            new = 0
            yield
    return _outline(body.frame, body.pieces, body.at)


def _look(piece: Piece) -> "_Said":
    """Return what is in a piece; of most the same nothing."""
    said = _Said()
    said.look(piece.read())
    return said or _NOTHING


def _outline(document: Mapping[str, Any], pieces: Sequence[Piece], at: int) -> Json:
    found: Json = {}
    unknown = 0
    for key, value in document.items():
        if key in _CONTENT:
            continue
        keep = _KEPT.get(key)
        if keep is not None:
            found[key] = keep(value)
        elif value is not None and unknown < MAX_ITEMS:
            unknown += 1
            found[key if _KEY.fullmatch(key) else HIDDEN] = HIDDEN
    messages = document.get("messages")
    if type(messages) is list and (kept := _messages(messages, pieces, at)):
        found["messages"] = kept
    system = document.get("system")
    if type(system) is list or type(system) is dict:
        blocks, nested = _Kept(), _Kept()
        _blocks(system if type(system) is list else [system], blocks, nested)
        if content := _together(blocks, nested):
            found["system"] = content
    tools = document.get("tools")
    if type(tools) is list and (kept := _tools(tools)):
        found["tools"] = kept
    return found


def restored(kept: Mapping[str, Any], *, messages: int, tools: int) -> Json:
    """Return a request that says what the outline says, with that many messages and tools.

    What was left out is there again as a placeholder, so that a policy can be asked about it.
    """
    document = dict(kept)
    document["messages"] = _padded(kept.get("messages"), messages, _MESSAGE)
    if tools or "tools" in kept:
        document["tools"] = _padded(kept.get("tools"), tools, _FUNCTION)
    return document


_MESSAGE = {"role": "user", "content": HIDDEN}
_FUNCTION = {"name": HIDDEN, "input_schema": {"type": "object"}}


def _padded(kept: Any, count: int, placeholder: Json) -> list[Json]:
    items = list(kept) if type(kept) is list else []
    return items + [placeholder] * (count - len(items))


_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*://(?:[A-Za-z0-9.-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\])(?::[0-9]{1,5})?)(?:[/?#][!-~]*)?")  # fmt: skip
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]{0,19}:)")


def origin(url: object) -> str:
    """Return scheme, host and port of an address: where it leads, not what it carries.

    One that two readers could take for different ones is left with its scheme only.
    """
    text = url if type(url) is str else ""
    match = _URL.fullmatch(text) or _SCHEME.match(text)
    return match[1].lower() if match is not None else HIDDEN


# single values


def _word(value: object) -> Any:
    if type(value) is str:
        return value if _WORD.fullmatch(value) else HIDDEN
    return _number(value)


def _number(value: object) -> Any:
    """Keep what is no text; of a container, only that it is one."""
    if value is None or type(value) in (bool, int, float):
        return value
    return [] if type(value) is list else {} if type(value) is dict else HIDDEN


def _model(value: object) -> Any:
    """A model id may be longer than a word, and the record names it anyway."""
    return encodable(value[:256]) if type(value) is str else _number(value)


class _Kept:
    """The first items of a list, each once."""

    __slots__ = ("_seen", "items")

    def __init__(self) -> None:
        self.items: list[Json] = []
        self._seen: set[bytes] = set()

    def add(self, item: Json) -> None:
        """Keep the item, unless there is the same already, or enough."""
        if len(self.items) < MAX_ITEMS:
            written = _encode(item)
            if written not in self._seen:
                self._seen.add(written)
                self.items.append(item)


_encode = msgspec.json.Encoder().encode


# tables, by key


Keep = Callable[[object], Any]


def _table(**kept: Keep) -> Keep:
    """Return what keeps these keys of an object."""

    def keep(value: object) -> Any:
        if type(value) is not dict:
            return _word(value)
        return {key: kept[key](inner) for key, inner in value.items() if key in kept}

    return keep


def _array(keep: Keep) -> Keep:
    """Return what keeps the items of an array."""

    def keep_all(value: object) -> Any:
        return [keep(i) for i in value[:MAX_ITEMS]] if type(value) is list else _word(value)

    return keep_all


_THINKING = _table(type=_word, budget_tokens=_number, display=_word)
_OUTPUT_CONFIG = _table(
    effort=_word,
    task_budget=_table(type=_word, total=_number, remaining=_number),
    format=_table(type=_word),
)
_CACHE_CONTROL = _table(type=_word, ttl=_word)
_RUN = {
    "model": _model,
    "max_tokens": _number,
    "thinking": _THINKING,
    "output_config": _OUTPUT_CONFIG,
    "speed": _word,
    "service_tier": _word,
    "inference_geo": _word,
}
_TOOL = _table(
    type=_word,
    model=_model,
    max_tokens=_number,
    max_uses=_number,
    allowed_domains=_array(_word),
    blocked_domains=_array(_word),
)
_SOURCE = _table(type=_word, url=origin, file_id=_number)
_SKILLS = _table(skills=_array(_table(type=_word, skill_id=_word, version=_word)))


def _container(value: object) -> Any:
    """Keep which skills it has; its own id says nothing."""
    return HIDDEN if type(value) is str else _SKILLS(value)


_CONTENT = frozenset(("messages", "tools", "system", "metadata", "stop_sequences"))
"""Top-level keys that are looked at apart, or that are content."""

_KEPT: dict[str, Keep] = {
    **_RUN,
    "stream": _number,
    "fallbacks": _array(_table(**_RUN, fallbacks=_array(_table(**_RUN)))),
    "cache_control": _CACHE_CONTROL,
    "container": _container,
    "mcp_servers": _array(_table(type=_word, url=origin)),
    "tool_choice": _table(type=_word, disable_parallel_tool_use=_number),
    "context_management": _table(edits=_array(_table(type=_word))),
    "compaction": _table(type=_word),
    "billing_policy": _table(type=_word, bill_to=_word),
    "thread": _table(type=_word),
    "temperature": _number,
    "top_p": _number,
    "top_k": _number,
}


# tools and blocks


def _tools(tools: list[Any]) -> list[Json]:
    """Leave the client's own functions out: their number is recorded, the rest is content."""
    kept = _Kept()
    for tool in tools:
        if type(tool) is dict and ("model" in tool or tool.get("type", "custom") != "custom"):
            kept.add(_TOOL(tool))
    return kept.items


class _Said:
    """What some messages hold that is more than a conversation."""

    __slots__ = ("blocks", "kept", "nested")

    def __init__(self) -> None:
        self.kept, self.blocks, self.nested = _Kept(), _Kept(), _Kept()

    def look(self, messages: list[Any]) -> None:
        """Look at messages."""
        for message in messages:
            if type(message) is not dict:
                continue
            content = message.get("content")
            if type(content) is list:
                _blocks(content, self.blocks, self.nested)
            elif type(content) is dict:
                _blocks([content], self.blocks, self.nested)
            if "output_config" in message:
                config = _OUTPUT_CONFIG(message["output_config"])
                role = _word(message.get("role"))
                self.kept.add({"role": role, "content": [], "output_config": config})

    def take(self, other: "_Said") -> None:
        """Take in what was found in others, as if they had been looked at now."""
        for ours in ("kept", "blocks", "nested"):
            for item in getattr(other, ours).items:
                getattr(self, ours).add(item)

    def together(self) -> list[Json]:
        """Return messages that stand for all of it."""
        kept = self.kept.items
        content = _together(self.blocks, self.nested)
        return [*kept, {"role": "user", "content": content}] if content else kept

    def __bool__(self) -> bool:
        return bool(self.kept.items or self.blocks.items or self.nested.items)


_NOTHING = _Said()
_known: Memo[bytes, _Said] = Memo(KNOWN)
"""By piece."""


def _messages(messages: list[Any], pieces: Sequence[Piece], at: int) -> list[Json]:
    """Return messages that stand for whatever is more than a conversation."""
    said = _Said()
    said.look(messages[:at])
    for piece in pieces:
        known = _known.get(piece.name)
        if known is None:  # forgotten meanwhile
            said.look(piece.read())
        elif known is not _NOTHING:
            said.take(known)
    said.look(messages[at:])
    return said.together()


def _together(blocks: _Kept, nested: _Kept) -> list[Json]:
    """What was inside of blocks is again inside of one: not every policy looks there."""
    if not nested.items:
        return blocks.items
    return [*blocks.items, {"type": "tool_result", "content": nested.items}]


_PLAIN = frozenset(("text", "tool_use", "thinking", "redacted_thinking"))
"""Nearly all blocks. They say nothing by being there; what else hides in one is not looked for."""


def _blocks(content: list[Any], kept: _Kept, nested: _Kept) -> None:
    """Keep each kind of block that is more than text, once; what is inside of one in `nested`."""
    for block in content:
        if type(block) is not dict:
            continue
        kind = block.get("type")
        telling = "source" in block or "tool" in block or "tool_changes" in block
        if not telling and type(kind) is str:
            if kind in _PLAIN:
                continue
            if kind == "tool_result":
                inner = block.get("content")
                if type(inner) is list:
                    _blocks(inner, nested, nested)
                continue
        if telling or kind is not None:
            kept.add(_block(block))
        _inside(block, nested)


def _inside(block: Json, nested: _Kept) -> None:
    for key, inner in block.items():
        if key not in _LOOKED_AT:
            _inner(inner, nested)
    source = block.get("source")
    if type(source) is dict:
        _inner(source.get("content"), nested)


def _inner(value: object, nested: _Kept) -> None:
    if type(value) is list:
        _blocks(value, nested, nested)
    elif type(value) is dict:
        _blocks([value], nested, nested)


_LOOKED_AT = frozenset(("source", "tool", "tool_changes", "input"))


def _block(block: Json) -> Json:
    kept: Json = {"type": _word(block.get("type"))}
    if "source" in block:
        kept["source"] = _SOURCE(block["source"])
    tool = block.get("tool")
    if type(tool) is dict:
        kept["tool"] = {"type": _word(tool.get("type"))}
        definition = tool.get("definition")
        if type(definition) is dict:
            kept["tool"]["definition"] = _TOOL(definition)
    changes = block.get("tool_changes")
    if type(changes) is list:
        kept["tool_changes"] = [_block(c) for c in changes[:MAX_ITEMS] if type(c) is dict]
    return kept
