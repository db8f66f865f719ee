"""What a request uses of the API beyond text and the client's own tools: one walk, pure values.

Each use is an area (`tools`, `betas`, …), a value and a JSON pointer. The walk follows the
request schema where that is fixed, and goes through conversations generically, so that a
source is seen also inside of a block type that nobody knows yet.
"""

import re
from collections.abc import Iterator
from typing import Any, NamedTuple

from tidegate.wire.body import Body

Json = dict[str, Any]

FIELDS = frozenset(
    {
        *("model", "max_tokens", "messages", "system", "stream", "stop_sequences", "temperature"),
        *("top_p", "top_k", "metadata", "tools", "tool_choice", "thinking", "output_config"),
        *("output_format", "cache_control", "container", "service_tier", "speed", "inference_geo"),
        *("diagnostics", "mcp_servers", "context_management", "compaction", "fallbacks"),
        *("fallback_credit_token", "billing_policy", "thread"),
    }
)
"""Top-level fields of a Messages request (messages-api sheet, section 2.1)."""

PLAIN = frozenset(
    {
        *("model", "max_tokens", "messages", "system", "stream", "stop_sequences", "temperature"),
        *("top_p", "top_k", "metadata", "tools", "tool_choice", "thinking", "output_config"),
        *("service_tier", "speed", "inference_geo", "cache_control"),
    }
)
"""Those that every client uses, or that have an area of their own."""

_CLIENT = ("bash", "text_editor", "memory", "computer", "browser")
_SERVER = ("web_search", "web_fetch", "code_execution", "tool_search", "advisor", "mcp_toolset")
_DATED = re.compile(r"([a-z_]+?)(?:_toolset)?(?:_(?:regex|bm25))?(?:_[0-9]{8})?")


class Use(NamedTuple):
    """One thing that a request uses. `value` is short, and no prompt content."""

    area: str
    value: str
    pointer: str


class ToolKind(NamedTuple):
    """What a tool's `type` says: its family, and who runs it."""

    family: str
    runs: str
    """`client`, `server`, or `unknown`, which may be either."""


def tool_kind(type_: object) -> ToolKind:
    """Return what a tool's `type` says; dated versions of tomorrow are of the same family."""
    if type_ is None or type_ == "custom":
        return ToolKind("custom", "client")
    if type(type_) is not str:
        return ToolKind("unknown", "unknown")
    match = _DATED.fullmatch(type_)
    family = "" if match is None else match[1].removesuffix("_tool")
    if type_ == "mcp_toolset":
        family = "mcp_toolset"
    if family in _CLIENT:
        return ToolKind(family, "client")
    if family in _SERVER:
        return ToolKind(family, "server")
    return ToolKind("unknown", "unknown")


def uses(body: Body) -> Iterator[Use]:
    """Yield everything that the body uses beyond text and tools of the client's own."""
    document = body.frame
    yield from _top(document)
    yield from _tools(document.get("tools"), "/tools")
    # An upload brings a `file_id`; one that does not, and hides its type as well, is none.
    if body.mentions("source", "file_id", "tool", "tool_changes") or _UPLOAD in body.raw:
        yield from _conversation(body.document)


def _conversation(document: Json) -> Iterator[Use]:
    for index, message in enumerate(_list(document.get("messages"))):
        content = message.get("content") if type(message) is dict else None
        if type(content) is list or type(content) is dict:
            yield from _nested(content, f"/messages/{index}/content")
    yield from _nested(document.get("system"), "/system")


_UPLOAD = b"container_upload"
_WORDS = ("service_tier", "speed", "inference_geo")


def _top(document: Json) -> Iterator[Use]:
    for key, value in document.items():
        if key in PLAIN or value is None:
            continue
        yield Use("fields", key[:64] if key in FIELDS else "unknown", f"/{_token(key)}")
        if key == "mcp_servers":
            yield from _mcp_servers(value)
        elif key == "container":
            yield from _skills(value)
        elif key == "fallbacks":
            for index, entry in enumerate(_list(value)):
                yield from _words(entry, f"/fallbacks/{index}")
    yield from _words(document, "")


def _words(holder: object, pointer: str) -> Iterator[Use]:
    if type(holder) is not dict:
        return
    for key in _WORDS:
        if holder.get(key) is not None:
            yield Use(f"{key}s", _word(holder[key]), f"{pointer}/{key}")
        elif key == "inference_geo" and not pointer:
            yield Use("inference_geos", UNSAID, "")


def _mcp_servers(servers: object) -> Iterator[Use]:
    for index, server in enumerate(_list(servers)):
        url = server.get("url") if type(server) is dict else None
        scheme, host = origin(url)
        yield Use("mcp_hosts", host, f"/mcp_servers/{index}/url")
        yield Use("url_schemes", scheme, f"/mcp_servers/{index}/url")


def _skills(container: object) -> Iterator[Use]:
    if type(container) is not dict:
        return
    for index, item in enumerate(_list(container.get("skills"))):
        skill = item if type(item) is dict else {}
        name = f"{_word(skill.get('type'))}/{_word(skill.get('skill_id'))}"
        yield Use("skills", name, f"/container/skills/{index}")


def _tools(tools: object, pointer: str) -> Iterator[Use]:
    for index, tool in enumerate(_list(tools)):
        if type(tool) is dict:
            yield from _tool(tool, f"{pointer}/{index}")


def _tool(tool: Json, pointer: str) -> Iterator[Use]:
    type_ = tool.get("type")
    if type_ is not None and type_ != "custom":
        yield Use("tools", _word(type_), pointer)


_SIGNED = ("thinking", "redacted_thinking")
_OPAQUE = frozenset({"tool_use", "server_tool_use", "mcp_tool_use"})
"""Blocks whose `input` is the model's or a tool's own data, in which a `source` means nothing."""


def _content(content: object, pointer: str) -> Iterator[Use]:
    """Everything in a list of blocks; nearly all of them are text, so that comes first."""
    for index, block in enumerate(_list(content)):
        if type(block) is not dict:
            continue
        type_ = block.get("type")
        if (type_ == "text" and "source" not in block) or type_ in _SIGNED:
            continue
        yield from _block(block, type_, f"{pointer}/{index}")


def _block(block: Json, type_: object, pointer: str) -> Iterator[Use]:
    if type_ == "container_upload":
        yield Use("sources", "file", f"{pointer}/file_id")
    if "source" in block:
        yield from _source(block["source"], f"{pointer}/source")
    if "tool" in block:
        yield from _added(block["tool"], f"{pointer}/tool")
    for index, change in enumerate(_list(block.get("tool_changes"))):
        if type(change) is dict:
            yield from _block(change, change.get("type"), f"{pointer}/tool_changes/{index}")
    opaque = type(type_) is str and type_ in _OPAQUE
    for key, value in block.items():
        if key in ("source", "tool", "tool_changes") or (opaque and key == "input"):
            continue
        yield from _nested(value, f"{pointer}/{_token(key)}")


def _nested(value: object, pointer: str) -> Iterator[Use]:
    """Blocks within a block, wherever a type of today or tomorrow keeps them."""
    if type(value) is list:
        yield from _content(value, pointer)
    elif type(value) is dict:
        yield from _block(value, value.get("type"), pointer)


def _source(source: object, pointer: str) -> Iterator[Use]:
    if type(source) is not dict:
        return
    yield Use("sources", _word(source.get("type")), f"{pointer}/type")
    if "url" in source:
        scheme, host = origin(source["url"])
        yield Use("url_schemes", scheme, f"{pointer}/url")
        yield Use("url_hosts", host, f"{pointer}/url")
    if "file_id" in source and source.get("type") != "file":
        yield Use("sources", "file", f"{pointer}/file_id")
    yield from _nested(source.get("content"), f"{pointer}/content")


def _added(tool: object, pointer: str) -> Iterator[Use]:
    if type(tool) is dict and type(tool.get("definition")) is dict:
        yield from _tool(tool["definition"], f"{pointer}/definition")
    elif type(tool) is dict and tool.get("type") in ("mcp_tool_reference", "mcp_toolset_reference"):
        yield Use("tools", "mcp_toolset", pointer)


_URL = re.compile(r"(https?)://([A-Za-z0-9](?:[A-Za-z0-9.-]{0,251}[A-Za-z0-9])?)\.?(?::[0-9]{1,5})?(?:[/?#][!-~]*)?", re.IGNORECASE)  # fmt: skip
UNREADABLE = "unreadable"
"""A value that is not written as the API defines it. Rules may name it, and no `allow` does."""
UNSAID = "unsaid"


def origin(url: object) -> tuple[str, str]:
    """Return scheme and host of a URL, in lower case; `unreadable` where parsers could differ.

    No user name, no backslash, no space, no letter beyond ASCII, no address in brackets.
    """
    match = _URL.fullmatch(url) if type(url) is str else None
    if match is None:
        scheme = url.partition(":")[0].lower() if type(url) is str else ""
        return scheme if scheme in (
            "http",
            "https",
            "data",
            "file",
            "ftp",
        ) else UNREADABLE, UNREADABLE
    return match[1].lower(), match[2].lower()


def _list(value: object) -> list[Any]:
    return value if type(value) is list else []


def _word(value: object) -> str:
    """A value as it may be recorded: short, and printable."""
    if type(value) is not str:
        return UNREADABLE
    return value if len(value) <= 64 and value.isascii() and value.isprintable() else UNREADABLE


def _token(key: str) -> str:
    return key.replace("~", "~0").replace("/", "~1")[:64]
