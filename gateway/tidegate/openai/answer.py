"""A message as a chat completion (messages-api sheet, section 9.3)."""

from typing import Any

from tidegate.openai.encoding import encoded
from tidegate.openai.refusing import Json
from tidegate.wire.counts import count

_REASONS = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "pause_turn": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
    "refusal": "content_filter",
}


def completion(message: Json, created: int) -> Json:
    """Return a message as a completion. Thinking and what servers' tools did has no field there."""
    blocks = [block for block in _list(message.get("content")) if type(block) is dict]
    texts = [block["text"] for block in blocks if _says(block, "text", "text")]
    calls = [_call(block) for block in blocks if _says(block, "tool_use", "name")]
    said: Json = {
        "role": "assistant",
        "content": "".join(texts) if texts else None,
        "refusal": None,
    }
    if calls:
        said["tool_calls"] = calls
    choice = {
        "index": 0,
        "message": said,
        "logprobs": None,
        "finish_reason": finish_reason(message.get("stop_reason")),
    }
    return {
        "id": message.get("id"),
        "object": "chat.completion",
        "created": created,
        "model": message.get("model"),
        "choices": [choice],
        "usage": usage(message.get("usage")),
    }


def finish_reason(stop_reason: Any) -> str:
    """Return why it ended; a reason of tomorrow is a plain end."""
    return _REASONS.get(stop_reason, "stop") if type(stop_reason) is str else "stop"


def usage(found: Any) -> Json | None:
    """Return Messages' usage as OpenAI counts: cached tokens are a part of the prompt."""
    if type(found) is not dict:
        return None
    read, written = count(found, "cache_read_input_tokens"), count(found, "cache_creation_input_tokens")  # fmt: skip
    prompt, output = count(found, "input_tokens") + read + written, count(found, "output_tokens")
    details = found.get("output_tokens_details")
    thought = count(details, "thinking_tokens") if type(details) is dict else 0
    return {
        "prompt_tokens": prompt,
        "completion_tokens": output,
        "total_tokens": prompt + output,
        "prompt_tokens_details": {"cached_tokens": read, "cache_write_tokens": written},
        "completion_tokens_details": {"reasoning_tokens": thought},
    }


def _call(block: Json) -> Json:
    arguments = encoded(block.get("input") or {}).decode()
    function = {"name": block["name"], "arguments": arguments}
    return {"id": block.get("id"), "type": "function", "function": function}


def _says(block: Json, kind: str, key: str) -> bool:
    return block.get("type") == kind and type(block.get(key)) is str


def _list(value: Any) -> list[Any]:
    return value if type(value) is list else []
