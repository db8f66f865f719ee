"""Every place of a Messages request in which a model can be asked for.

One walk, shared by the policies that have a say about models, so that a place found once
is known to all of them: the request itself, `fallbacks`, tools that bring a second model,
and tools that are added inside the conversation.
"""

import enum
from collections.abc import Iterator
from typing import Any

import msgspec

from tidegate.plugin import Refuse
from tidegate.wire.body import Body

Json = dict[str, Any]


class Kind(enum.Enum):
    """What asks for the model."""

    REQUEST = "request"
    FALLBACK = "fallback"
    TOOL = "tool"
    SERVERS_CHOICE = "default"
    """`"fallbacks": "default"`: the provider picks the model."""


class Place(msgspec.Struct, frozen=True):
    """One object that names a model, and where it stands."""

    kind: Kind
    pointer: str
    holder: Json


class Unreadable(Exception):
    """A place is not written as the API defines it, so nobody can say what it asks for."""

    def __init__(self, pointer: str, wanted: str) -> None:
        super().__init__(pointer)
        self.pointer = pointer
        self.wanted = wanted

    def refusal(self) -> Refuse:
        """The answer for the caller."""
        return bad_request(self.pointer, self.wanted, "unreadable")


def bad_request(pointer: str, message: str, rule: str) -> Refuse:
    """Return a 400 whose message begins with the path, as the API's own do."""
    return Refuse(
        status=400,
        error_type="invalid_request_error",
        message=f"{dotted(pointer)}: {message}" if pointer else message,
        rule=rule,
        pointer=pointer,
    )


def dotted(pointer: str) -> str:
    """Return a JSON pointer the way the API writes paths: `fallbacks.1.model`."""
    return pointer[1:].replace("/", ".")


def places(body: Body) -> Iterator[Place]:
    """Yield every place, the request itself first.

    Raises:
        Unreadable: where something has a shape in which a model could not be found.
    """
    document = body.frame
    yield Place(Kind.REQUEST, "", document)
    yield from _fallbacks(document, "")
    yield from _tools(document, "")
    if body.mentions("tool", "tool_changes"):
        yield from _messages(body.document.get("messages"))


def _messages(messages: object) -> Iterator[Place]:
    for index, message in enumerate(messages if type(messages) is list else ()):
        content = message.get("content") if type(message) is dict else None
        for number, block in enumerate(content if type(content) is list else ()):
            # Nearly all blocks are neither, and a conversation has thousands.
            if type(block) is dict and ("tool" in block or "tool_changes" in block):
                yield from _block(block, f"/messages/{index}/content/{number}")


def _fallbacks(holder: Json, pointer: str) -> Iterator[Place]:
    fallbacks = holder.get("fallbacks")
    if fallbacks is None:
        return
    at = f"{pointer}/fallbacks"
    if fallbacks == "default":
        yield Place(Kind.SERVERS_CHOICE, at, holder)
        return
    if type(fallbacks) is not list:
        raise Unreadable(at, 'must be "default" or an array')
    for index, entry in enumerate(fallbacks):
        if type(entry) is not dict:
            raise Unreadable(f"{at}/{index}", "must be an object")
        yield Place(Kind.FALLBACK, f"{at}/{index}", entry)
        # The API knows no fallback of a fallback. If it ever does, it is already governed.
        yield from _fallbacks(entry, f"{at}/{index}")


def _tools(holder: Json, pointer: str) -> Iterator[Place]:
    tools = holder.get("tools")
    for index, tool in enumerate(tools if type(tools) is list else ()):
        if type(tool) is dict:
            yield from _tool(tool, f"{pointer}/tools/{index}")


def _tool(tool: Json, pointer: str) -> Iterator[Place]:
    """A tool with a model of its own: the advisor today, whatever carries `model` tomorrow."""
    kind = tool.get("type")
    if "model" in tool or (type(kind) is str and kind.startswith("advisor")):
        yield Place(Kind.TOOL, pointer, tool)


def _block(block: Json, pointer: str) -> Iterator[Place]:
    """Tools defined in the conversation: a `tool_addition`, alone or kept in a `compaction`."""
    tool = block.get("tool")
    definition = tool.get("definition") if type(tool) is dict else None
    if type(definition) is dict:
        yield from _tool(definition, f"{pointer}/tool/definition")
    changes = block.get("tool_changes")
    for index, change in enumerate(changes if type(changes) is list else ()):
        if type(change) is dict:
            yield from _block(change, f"{pointer}/tool_changes/{index}")
