"""What the API refuses in `messages`, `system` and `tools`: shapes, order, pairs."""

from typing import Any

from tidegate.simulator.catalogue import Model
from tidegate.simulator.checks import CURRENT, bad
from tidegate.simulator.prompt import blocks

_ROLES = ("user", "assistant", "system")
_MOST_BREAKPOINTS = 4


def check(document: dict[str, Any], model: Model, api_version: str) -> None:
    """Check what the request says.

    Raises:
        ApiError: with the place where it is wrong.
    """
    if not document["messages"]:
        raise bad("messages: at least one message is required")
    for index, message in enumerate(document["messages"]):
        _message(f"messages.{index}", message, api_version)
    if "system" in document:
        _content("system", document["system"])
    for index, tool in enumerate(document.get("tools") or []):
        _tool(f"tools.{index}", tool)
    _breakpoints(document)
    for index, sequence in enumerate(document.get("stop_sequences") or []):
        if not isinstance(sequence, str) or not sequence.strip():
            raise bad(f"stop_sequences.{index}: each stop sequence must contain non-whitespace")
    _pairs(document["messages"])
    _end(document["messages"][-1], model)


def _message(path: str, message: Any, api_version: str) -> None:
    if not isinstance(message, dict):
        raise bad(f"{path}: Input should be a valid dictionary")
    for key in ("role", "content"):
        if key not in message:
            raise bad(f"{path}.{key}: Field required")
    if message["role"] not in _ROLES:
        raise bad(f"{path}.role: Input should be 'user', 'assistant' or 'system'")
    _content(f"{path}.content", message["content"])
    if api_version == CURRENT:
        _moved(path, message)


def _content(path: str, content: Any) -> None:
    if not isinstance(content, str | list):
        raise bad(f"{path}: Input should be a valid string or list")
    for index, block in enumerate(blocks(content)):
        where = f"{path}.{index}"
        if not isinstance(block, dict):
            raise bad(f"{where}: Input should be a valid dictionary")
        if not isinstance(block.get("type"), str):
            raise bad(f"{where}.type: Field required")
        _block(where, block)


def _block(path: str, block: dict[str, Any]) -> None:
    match block["type"]:
        case "text":
            _text(path, block)
        case "tool_result":
            _id(path, block, "tool_use_id")
            _content(f"{path}.content", block.get("content") or [])
        case "tool_use":
            _id(path, block, "id")
        case "image" | "document":
            _file(path, block)
        case _:
            pass  # others may be anything: the API knows more of them every month


def _file(path: str, block: dict[str, Any]) -> None:
    source = block.get("source")
    if not isinstance(source, dict):
        raise bad(f"{path}.{block['type']}.source: Field required")
    if source.get("type") == "text" and not isinstance(source.get("data"), str):
        raise bad(f"{path}.{block['type']}.source.text.data: Field required")
    if not isinstance(block.get("citations") or {}, dict):
        raise bad(f"{path}.{block['type']}.citations: Input should be a valid dictionary")


def _id(path: str, block: dict[str, Any], key: str) -> None:
    if not isinstance(block.get(key), str):
        raise bad(f"{path}.{block['type']}.{key}: Field required")


def _text(path: str, block: dict[str, Any]) -> None:
    if not isinstance(block.get("text"), str):
        raise bad(f"{path}.text.text: Field required")
    if not block["text"]:
        raise bad(f"{path}: text content blocks must be non-empty")


def _moved(path: str, message: dict[str, Any]) -> None:
    """Check what version 2026-10-21 no longer takes where it was."""
    for index, block in enumerate(blocks(message["content"])):
        where = f"{path}.content.{index}"
        if message["role"] == "assistant" and block["type"] == "document":
            raise bad(f"{where}: document blocks are not permitted in assistant messages")
        if message["role"] == "user" and block["type"] == "text" and block.get("citations"):
            raise bad(f"{where}.citations: citations are not permitted in user messages")


def _tool(path: str, tool: Any) -> None:
    if not isinstance(tool, dict):
        raise bad(f"{path}: Input should be a valid dictionary")
    nameless = str(tool.get("type", "")).partition("_toolset")[1]
    if not nameless and not isinstance(tool.get("name"), str):
        raise bad(f"{path}.name: Field required")
    if tool.get("type", "custom") == "custom" and not isinstance(tool.get("input_schema"), dict):
        raise bad(f"{path}.custom.input_schema: Field required")


def _breakpoints(document: dict[str, Any]) -> None:
    found = [*(document.get("tools") or []), *blocks(document.get("system"))]
    for message in document["messages"]:
        found += blocks(message["content"])
    count = sum(bool(each.get("cache_control")) for each in (document, *found))
    if count > _MOST_BREAKPOINTS:
        raise bad(
            f"A maximum of {_MOST_BREAKPOINTS} blocks with cache_control may be provided. "
            f"Found {count}."
        )


def _pairs(messages: list[dict[str, Any]]) -> None:
    """Check that every tool use is answered in the next message, and nothing else is."""
    asked: set[str] = set()
    for index, message in enumerate(messages):
        content = blocks(message["content"])
        given = {block["tool_use_id"] for block in _of(content, "tool_result")}
        missing = sorted(asked - given)
        if missing:
            raise bad(
                f"messages.{index - 1}: `tool_use` ids were found without `tool_result` blocks "
                f"immediately after: {', '.join(missing)}. Each `tool_use` block must have a "
                "corresponding `tool_result` block in the next message."
            )
        if extra := sorted(given - asked):
            raise bad(
                f"messages.{index}: unexpected `tool_use_id` found in `tool_result` blocks: "
                f"{', '.join(extra)}"
            )
        asked = {block["id"] for block in _of(content, "tool_use")}


def _of(content: list[Any], kind: str) -> list[dict[str, Any]]:
    return [block for block in content if block["type"] == kind]


def _end(message: dict[str, Any], model: Model) -> None:
    """Check that the model has something to answer: prefill, or a paused turn of its own."""
    paused = any(
        block["type"].endswith("_tool_result") or block["type"] == "server_tool_use"
        for block in blocks(message["content"])
    )
    if message["role"] == "assistant" and not paused and not model.prefill:
        raise bad(
            "This model does not support assistant message prefill. The conversation must end "
            "with a user message."
        )
