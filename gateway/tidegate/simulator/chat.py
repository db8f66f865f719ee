"""Chat completions as the reselling provider has them (messages-api sheet, section 9): texts and tools."""

import json
from collections.abc import Iterator
from typing import Any

from tidegate.simulator.checks import bad

_CREATED = 1_795_000_000
_MAX_TOKENS = 4096
_REASONS = {"tool_use": "tool_calls", "max_tokens": "length", "refusal": "content_filter"}
_PIECE = 24


def to_messages(document: dict[str, Any]) -> dict[str, Any]:
    """Return a chat request as one of Messages.

    Raises:
        ApiError: it holds what is not converted here.
    """
    turns = document.get("messages")
    if not isinstance(turns, list) or not all(isinstance(turn, dict) for turn in turns):
        raise bad("messages: Input should be a valid list")
    system = [turn.get("content") for turn in turns if turn.get("role") in ("system", "developer")]
    rest = [_turn(turn) for turn in turns if turn.get("role") not in ("system", "developer")]
    made: dict[str, Any] = {
        "model": document.get("model"),
        "max_tokens": document.get(
            "max_completion_tokens", document.get("max_tokens", _MAX_TOKENS)
        ),
        "messages": rest,
    }
    if system:
        made["system"] = "\n".join(map(str, system))
    if document.get("tools"):
        made["tools"] = [_tool(tool["function"]) for tool in document["tools"]]
    return made


def _tool(function: dict[str, Any]) -> dict[str, Any]:
    schema = function.get("parameters") or {"type": "object", "properties": {}}
    made = {"name": function["name"], "input_schema": schema}
    return made | ({"description": function["description"]} if "description" in function else {})


def _turn(turn: dict[str, Any]) -> dict[str, Any]:
    match turn.get("role"):
        case "user":
            return {"role": "user", "content": turn.get("content")}
        case "assistant":
            calls = [
                {
                    "type": "tool_use",
                    "id": call["id"],
                    "name": call["function"]["name"],
                    "input": json.loads(call["function"]["arguments"] or "{}"),
                }
                for call in turn.get("tool_calls") or []
            ]
            text = [{"type": "text", "text": turn["content"]}] if turn.get("content") else []
            return {"role": "assistant", "content": text + calls}
        case "tool":
            result = {"type": "tool_result", "tool_use_id": turn.get("tool_call_id")}
            return {"role": "user", "content": [result | {"content": turn.get("content")}]}
        case other:
            raise bad(f"messages: there is no role {other!r}")


def completion(message: dict[str, Any]) -> dict[str, Any]:
    """Return a Message as a chat completion."""
    said: dict[str, Any] = {"role": "assistant", "content": _text(message)}
    calls = _calls(message)
    if calls:
        said["tool_calls"] = calls
    choice = {"index": 0, "message": said, "finish_reason": _reason(message)}
    return _frame(message, "chat.completion") | {"choices": [choice], "usage": _usage(message)}


def frames(message: dict[str, Any], *, usage: bool) -> tuple[bytes, ...]:
    """Return a Message as the events of a streamed completion."""
    found = [b"data: %s\n\n" % _encode(chunk) for chunk in _chunks(message, usage=usage)]
    return (*found, b"data: [DONE]\n\n")


def _chunks(message: dict[str, Any], *, usage: bool) -> Iterator[dict[str, Any]]:
    frame = _frame(message, "chat.completion.chunk")

    def chunk(delta: dict[str, Any], reason: str | None = None) -> dict[str, Any]:
        return frame | {"choices": [{"index": 0, "delta": delta, "finish_reason": reason}]}

    yield chunk({"role": "assistant", "content": ""})
    text = _text(message) or ""
    for at in range(0, len(text), _PIECE):
        yield chunk({"content": text[at : at + _PIECE]})
    for index, call in enumerate(_calls(message)):
        yield chunk({"tool_calls": [{"index": index, **call}]})
    yield chunk({}, _reason(message))
    if usage:
        yield frame | {"choices": [], "usage": _usage(message)}


def _frame(message: dict[str, Any], kind: str) -> dict[str, Any]:
    return {
        "id": f"chatcmpl-{message['id']}",
        "object": kind,
        "created": _CREATED,
        "model": message["model"],
    }


def _text(message: dict[str, Any]) -> str | None:
    return "".join(b["text"] for b in message["content"] if b["type"] == "text") or None


def _calls(message: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        {
            "id": block["id"],
            "type": "function",
            "function": {"name": block["name"], "arguments": json.dumps(block["input"])},
        }
        for block in message["content"]
        if block["type"] == "tool_use"
    ]


def _reason(message: dict[str, Any]) -> str:
    return _REASONS.get(message["stop_reason"], "stop")


def _usage(message: dict[str, Any]) -> dict[str, int]:
    usage = message["usage"]
    cached = usage["cache_creation_input_tokens"] + usage["cache_read_input_tokens"]
    given, output = usage["input_tokens"] + cached, usage["output_tokens"]
    return {"prompt_tokens": given, "completion_tokens": output, "total_tokens": given + output}


def _encode(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")
