"""The Message: an answer with its ids and its usage, which adds up."""

from dataclasses import dataclass
from typing import Any

from tidegate.simulator import prompt
from tidegate.simulator.answers import Draft, cost
from tidegate.simulator.catalogue import Model
from tidegate.simulator.ids import Ids
from tidegate.simulator.prompt import Prompt

_DECLINED_TOKENS = 1
_EXPIRES = "2026-12-31T00:00:00Z"


@dataclass(frozen=True, slots=True)
class Answer:
    """A Message, and what a stream says differently at its start."""

    message: dict[str, Any]
    first_model: str
    first_usage: dict[str, Any]


def build(document: dict[str, Any], model: Model, given: Prompt, draft: Draft, ids: Ids) -> Answer:
    """Return the Message for a draft."""
    start = _start_usage(document, given)
    usage = start | _final_usage(document, model, draft, start)
    shown = model.id
    message = {
        "model": draft.fallback or shown,
        "id": ids.new("msg_01"),
        "type": "message",
        "role": "assistant",
        "content": [_displayed(block, document) for block in draft.blocks],
        "stop_reason": draft.stop_reason,
        "stop_sequence": draft.stop_sequence,
        "usage": usage,
    }
    if draft.stop_details:
        message["stop_details"] = draft.stop_details
    if _has(draft, "code_execution_tool_result"):
        message["container"] = {"id": ids.new("container_01"), "expires_at": _EXPIRES}
    return Answer(message, shown, start)


def _start_usage(document: dict[str, Any], given: Prompt) -> dict[str, Any]:
    usage = {
        "input_tokens": given.fresh,
        "cache_creation_input_tokens": given.write_5m + given.write_1h,
        "cache_read_input_tokens": given.read,
        "cache_creation": {
            "ephemeral_5m_input_tokens": given.write_5m,
            "ephemeral_1h_input_tokens": given.write_1h,
        },
        "output_tokens": 1,
        "service_tier": "standard",
        "inference_geo": document.get("inference_geo") or "global",
    }
    if document.get("speed"):
        usage["speed"] = document["speed"]
    return usage


def _final_usage(
    document: dict[str, Any], model: Model, draft: Draft, start: dict[str, Any]
) -> dict[str, Any]:
    """Return what is known at the end only."""
    thought = sum(cost(block) for block in draft.blocks if "thinking" in block["type"])
    # What a server tool returns is input of the next pass: the input grows on the way.
    returned = sum(prompt.weigh(block) for block in draft.blocks if _is_result(block))
    usage: dict[str, Any] = {
        "input_tokens": start["input_tokens"] + returned,
        "output_tokens": _output(draft),
    }
    if thought:
        usage["output_tokens_details"] = {"thinking_tokens": thought}
    counts = {
        "web_search_requests": _count(draft, "web_search_tool_result"),
        "web_fetch_requests": _count(draft, "web_fetch_tool_result"),
    }
    if any(counts.values()):
        usage["server_tool_use"] = counts
    passes = _iterations(document, model, draft, start | usage)
    return usage | {"iterations": passes} if passes else usage


def _output(draft: Draft) -> int:
    """Return the output tokens; a summary counts only where it is the whole answer."""
    if draft.stop_reason == "compaction":
        return prompt.tokens(draft.blocks[-1]["content"])
    return sum(map(cost, draft.blocks))


def _iterations(
    document: dict[str, Any], model: Model, draft: Draft, usage: dict[str, Any]
) -> list[dict[str, Any]]:
    """Return the passes of an answer that took more than one.

    The top level is the sum of the serving model's messages; what a summary, an adviser or
    a model that declined has used is here alone.
    """
    if draft.fallback:
        declined = _pass("message", _once(usage, _DECLINED_TOKENS), model.id)
        return [declined, _pass("fallback_message", usage, draft.fallback)]
    if _has(draft, "compaction") and draft.stop_reason != "compaction":
        found = (block for block in draft.blocks if block["type"] == "compaction")
        summary = sum(prompt.tokens(block["content"]) for block in found)
        return [_pass("compaction", _once(usage, summary)), _pass("message", usage, model.id)]
    for tool in document.get("tools") or []:
        if str(tool.get("type", "")).startswith("advisor_") and _has(draft, "advisor_tool_result"):
            advice = _once(usage, _advice_tokens(draft))
            advised = _pass("advisor_message", advice, tool.get("model", ""))
            first = _pass("message", usage | {"output_tokens": 0}, model.id)
            rest = _pass("message", _once({"input_tokens": 0}, usage["output_tokens"]), model.id)
            return [first, advised, rest]
    return []


def _pass(kind: str, usage: dict[str, Any], model: str = "") -> dict[str, Any]:
    keys = (
        "input_tokens",
        "output_tokens",
        "cache_read_input_tokens",
        "cache_creation_input_tokens",
        "cache_creation",
    )
    entry = {"type": kind} | {key: usage[key] for key in keys}
    return entry | {"model": model} if model else entry


def _once(usage: dict[str, Any], output: int) -> dict[str, Any]:
    """Return the usage of a pass that took the whole input anew and no cache."""
    return {
        "input_tokens": usage["input_tokens"],
        "output_tokens": output,
        "cache_read_input_tokens": 0,
        "cache_creation_input_tokens": 0,
        "cache_creation": {"ephemeral_5m_input_tokens": 0, "ephemeral_1h_input_tokens": 0},
    }


def _advice_tokens(draft: Draft) -> int:
    found = (block for block in draft.blocks if block["type"] == "advisor_tool_result")
    return sum(prompt.tokens(block["content"]["text"]) for block in found)


def _is_result(block: dict[str, Any]) -> bool:
    return str(block["type"]).endswith("_tool_result")


def _count(draft: Draft, kind: str) -> int:
    return sum(block["type"] == kind for block in draft.blocks)


def _has(draft: Draft, kind: str) -> bool:
    return _count(draft, kind) > 0


def _displayed(block: dict[str, Any], document: dict[str, Any]) -> dict[str, Any]:
    """Return the block as it is shown: thinking is charged in full, shown or not."""
    omitted = (document.get("thinking") or {}).get("display") == "omitted"
    return block | {"thinking": ""} if omitted and block["type"] == "thinking" else block
