"""Messages of the API as the GenAI conventions write them: roles, and parts of a few kinds.

Source: GenAI conventions, "Events", the schemas of input messages, output messages and system
instructions; messages-api sheet, sections 2 and 3, for what is translated.
"""

from collections.abc import Mapping
from typing import Any

Json = dict[str, Any]


def input_messages(request: Mapping[str, Any]) -> list[Json]:
    """Return the conversation that was sent; what answers a tool has the role `tool`."""
    found = []
    for message in _objects(request.get("messages")):
        parts = _parts(message.get("content"))
        role = message.get("role", "user")
        answers = parts and all(part["type"] == "tool_call_response" for part in parts)
        found.append({"role": "tool" if answers else role, "parts": parts})
    return found


def output_messages(response: Mapping[str, Any]) -> list[Json]:
    """Return the answer, as a list of one."""
    parts = _parts(response.get("content"))
    return [{"role": response.get("role", "assistant"), "parts": parts}] if parts else []


def system_instructions(request: Mapping[str, Any]) -> list[Json]:
    """Return what the system prompt says: text parts only."""
    return [part for part in _parts(request.get("system")) if part["type"] == "text"]


def _parts(content: Any) -> list[Json]:
    if isinstance(content, str):
        return [_text(content)] if content else []
    return [_part(block) for block in _objects(content)]


def _part(block: Json) -> Json:
    match kind := block.get("type"):
        case "text":
            return _text(block.get("text", ""))
        case "thinking":
            return {"type": "reasoning", "content": block.get("thinking", "")}
        case "tool_use":
            return {
                "type": "tool_call",
                "id": block.get("id"),
                "name": block.get("name"),
                "arguments": block.get("input"),
            }
        case "tool_result":
            answer = block.get("content")
            return {
                "type": "tool_call_response",
                "id": block.get("tool_use_id"),
                "response": answer,
            }
        case "server_tool_use":
            call = {"type": block.get("name"), "input": block.get("input")}
            said = {"id": block.get("id"), "name": block.get("name"), "server_tool_call": call}
            return {"type": "server_tool_call", **said}
        case str() if kind.endswith("_tool_result"):
            answer = {"type": kind, "content": block.get("content")}
            said = {"id": block.get("tool_use_id"), "server_tool_call_response": answer}
            return {"type": "server_tool_call_response", **said}
        case _:
            return {"type": "generic", "generic_type": str(kind)}


def _text(text: Any) -> Json:
    return {"type": "text", "content": text}


def _objects(value: Any) -> list[Json]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []
