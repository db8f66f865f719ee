"""What is said: a pure function from the request to the blocks of the answer."""

import json
from dataclasses import dataclass, replace
from typing import Any

from tidegate.simulator import prompt, tools
from tidegate.simulator.ids import Ids
from tidegate.simulator.options import Options
from tidegate.simulator.samples import sample

_FILLER = "The tide comes in and the tide goes out again. "
_ECHO_LIMIT = 2_000
Block = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Draft:
    """An answer before it is counted. Thinking is still shown in full."""

    blocks: list[Block]
    stop_reason: str = "end_turn"
    stop_sequence: str | None = None
    stop_details: dict[str, Any] | None = None
    fallback: str = ""
    """The model that took over."""


def compose(document: dict[str, Any], options: Options, ids: Ids) -> Draft:
    """Return what the model says, within `max_tokens` and up to a stop sequence."""
    draft = _plan(document, options, ids)
    if draft.blocks and _thinks(document):
        draft = replace(draft, blocks=[_thinking(document, ids), *draft.blocks])
    draft = _stop(draft, document.get("stop_sequences") or [])
    return _limit(draft, document["max_tokens"])


def cost(block: Block) -> int:
    """Return the output tokens of a block. Results are input, compaction counts by itself."""
    match block["type"]:
        case "text":
            return prompt.tokens(block["text"])
        case "thinking":
            return prompt.tokens(block["thinking"])
        case "redacted_thinking":
            return prompt.tokens(block["data"])
        case "tool_use" | "server_tool_use":
            return prompt.tokens(block["name"] + json.dumps(block["input"], ensure_ascii=False))
        case _:
            return 0


def _plan(document: dict[str, Any], options: Options, ids: Ids) -> Draft:
    match options.answer:
        case "refusal" if not document.get("fallbacks"):
            return _refusal()
        case "refusal" | "fallback":
            return _fallback(document, options)
        case "compaction":
            return Draft([_compaction(document), _text(document, options)])
        case "redacted_thinking":
            hidden = {"type": "redacted_thinking", "data": _signature(ids)}
            return Draft([hidden, _text(document, options)])
        case "context_window":
            return Draft([_text(document, options)], "model_context_window_exceeded")
        case "text":
            return Draft([_text(document, options)])
        case _:
            return _by_request(document, options, ids)


def _by_request(document: dict[str, Any], options: Options, ids: Ids) -> Draft:
    """Return what the request itself leads to."""
    if document.get("compaction"):
        return Draft([_compaction(document)], "compaction")
    turn = prompt.last_turn(document)
    text = prompt.text_of(turn)
    answered = any(block["type"] == "tool_result" for block in turn) or _resumes(document)
    if options.answer == "tool_use" and not document.get("tool_choice"):
        document = document | {"tool_choice": {"type": "any"}}
    uses = [] if answered else tools.client_uses(document, text, ids)
    if uses:
        names = " and ".join(use["name"] for use in uses)
        return Draft([{"type": "text", "text": f"I will use {names}."}, *uses], "tool_use")
    served = [] if answered else tools.server_uses(document, text, ids)
    said = _text(document, options)
    if options.answer == "pause_turn" and not answered:
        return Draft(served or [said], "pause_turn")
    if any(block["type"] == "web_search_tool_result" for block in served):
        said["citations"] = [tools.search_citation()]
    return Draft([*served, said])


def _resumes(document: dict[str, Any]) -> bool:
    """Whether the caller sends a paused turn back, for the rest of it."""
    last = document["messages"][-1]
    return bool(last["role"] == "assistant")


def _refusal() -> Draft:
    details = {
        "type": "refusal",
        "category": "general_harms",
        "explanation": "The simulator was asked to refuse.",
    }
    return Draft([], "refusal", stop_details=details)


def _fallback(document: dict[str, Any], options: Options) -> Draft:
    target = _second_model(document.get("fallbacks"))
    hop = {
        "type": "fallback",
        "from": {"model": document["model"]},
        "to": {"model": target},
        "trigger": {"type": "refusal", "category": "general_harms"},
    }
    return Draft([hop, _text(document, options)], fallback=target)


def _second_model(fallbacks: Any) -> str:
    first = fallbacks[0] if isinstance(fallbacks, list) and fallbacks else None
    model = first.get("model") if isinstance(first, dict) else None
    return model if isinstance(model, str) else "claude-opus-4-8"


def _compaction(document: dict[str, Any]) -> Block:
    said = prompt.text_of(prompt.last_turn(document))[:_ECHO_LIMIT]
    return {"type": "compaction", "content": f"Summary so far: {said}", "encrypted_content": None}


def _text(document: dict[str, Any], options: Options) -> Block:
    text = _structured(document) or _words(document)
    if options.tokens is not None:
        text = _stretch(text, 4 * options.tokens)[: 4 * options.tokens]
    elif options.events is not None:
        text = _stretch(text, 8 * options.events)
    block: Block = {"type": "text", "text": text}
    cited = _document_citation(document)
    return block | {"citations": [cited]} if cited else block


def _structured(document: dict[str, Any]) -> str:
    config = document.get("output_config") or {}
    form = config.get("format") or document.get("output_format")
    if not isinstance(form, dict):
        return ""
    return json.dumps(sample(form.get("schema")), ensure_ascii=False)


def _words(document: dict[str, Any]) -> str:
    turn = prompt.last_turn(document)
    if returned := prompt.text_of(turn, "tool_result"):
        return f"The tool returned: {returned[:_ECHO_LIMIT]}"
    said = prompt.text_of(turn)[:_ECHO_LIMIT]
    return f"You said: {said}" if said else "There was nothing to read."


def _stretch(text: str, length: int) -> str:
    missing = length - len(text)
    return text if missing <= 0 else f"{text} {_FILLER * (missing // len(_FILLER) + 1)}"


def _document_citation(document: dict[str, Any]) -> dict[str, Any] | None:
    """Return a citation of the first plain-text document that wants to be cited."""
    found = [block for block in prompt.last_turn(document) if block["type"] == "document"]
    for index, block in enumerate(found):
        source = block.get("source") or {}
        if (block.get("citations") or {}).get("enabled") and source.get("type") == "text":
            return {
                "type": "char_location",
                "cited_text": source["data"][:40],
                "document_index": index,
                "document_title": block.get("title"),
                "start_char_index": 0,
                "end_char_index": len(source["data"][:40]),
            }
    return None


def _thinks(document: dict[str, Any]) -> bool:
    thinking = (document.get("thinking") or {}).get("type")
    effort = (document.get("output_config") or {}).get("effort")
    return thinking in {"enabled", "adaptive"} or (thinking is None and effort is not None)


def _thinking(document: dict[str, Any], ids: Ids) -> Block:
    said = prompt.text_of(prompt.last_turn(document))[:80]
    text = f"The message is about {said!r}. A short answer will do. {_FILLER}"
    return {"type": "thinking", "thinking": text, "signature": _signature(ids)}


def _signature(ids: Ids) -> str:
    return "EqQBCgIYAhIM" + "".join(ids.new("") for _ in range(6)) + "=="


def _stop(draft: Draft, sequences: list[str]) -> Draft:
    """Return the draft as far as the first stop sequence in a text."""
    for index, block in enumerate(draft.blocks):
        text = block.get("text", "") if block["type"] == "text" else ""
        found = [(text.index(each), each) for each in sequences if each and each in text]
        if found:
            at, sequence = min(found)
            kept = [*draft.blocks[:index], *_shortened(block, text[:at])]
            return replace(draft, blocks=kept, stop_reason="stop_sequence", stop_sequence=sequence)
    return draft


def _limit(draft: Draft, budget: int) -> Draft:
    """Return the draft as far as `max_tokens` reach. A tool use is whole or not there."""
    kept: list[Block] = []
    for block in draft.blocks:
        if cost(block) > budget:
            kept += _shortened(
                block, (block.get("text") or block.get("thinking") or "")[: 4 * budget]
            )
            return replace(draft, blocks=kept, stop_reason="max_tokens")
        budget -= cost(block)
        kept.append(block)
    return draft


def _shortened(block: Block, text: str) -> list[Block]:
    key = {"text": "text", "thinking": "thinking"}.get(block["type"])
    return [block | {key: text}] if key and text else []
