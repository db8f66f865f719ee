"""The models: which there are, what they take, and the pages in which they are listed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tidegate.simulator import options
from tidegate.simulator.errors import ApiError

_LEVELS = ("low", "medium", "high", "max")
_ALL_LEVELS = ("low", "medium", "high", "xhigh", "max")
_ADAPTIVE = ("adaptive",)
_OPTIONAL = ("adaptive", "disabled")
_BETWEEN = ("adaptive", "between_tools", "disabled")
_EITHER = ("adaptive", "disabled", "enabled")
_MANUAL = ("disabled", "enabled")


@dataclass(frozen=True, slots=True)
class Model:
    """One model, as far as requests are checked against it."""

    id: str
    created: str
    thinking: tuple[str, ...]
    effort: tuple[str, ...] = _ALL_LEVELS
    max_input: int = 1_000_000
    max_output: int = 128_000
    alias: str = ""
    lifecycle: str = "active"
    prefill: bool = False
    """Whether a conversation may end with the assistant."""


def _older(name: str, date: str, lifecycle: str = "active") -> Model:
    created = f"{date[:4]}-{date[4:6]}-{date[6:]}"
    sizes = (200_000, 64_000)
    return Model(f"{name}-{date}", created, _MANUAL, (), *sizes, name, lifecycle, prefill=True)


REAL = (
    Model("claude-fable-5-2", "2026-11-09", _ADAPTIVE),
    Model("claude-mythos-5-2", "2026-11-09", _ADAPTIVE),
    Model("claude-haiku-5-5", "2026-10-07", _OPTIONAL),
    Model("claude-sonnet-5-5", "2026-09-28", _BETWEEN),
    Model("claude-opus-5-5", "2026-09-22", _ADAPTIVE),
    Model("claude-fable-5-1", "2026-09-01", _ADAPTIVE),
    Model("claude-mythos-5-1", "2026-09-01", _ADAPTIVE),
    Model("claude-fable-5", "2026-06-09", _ADAPTIVE),
    Model("claude-mythos-5", "2026-06-09", _ADAPTIVE),
    Model("claude-sonnet-5", "2026-06-09", _OPTIONAL),
    Model("claude-opus-5", "2026-06-09", _OPTIONAL),
    Model("claude-opus-4-8", "2026-05-01", _OPTIONAL),
    Model("claude-opus-4-7", "2026-04-01", _OPTIONAL),
    Model("claude-opus-4-6", "2026-02-05", _EITHER, _LEVELS),
    Model("claude-sonnet-4-6", "2026-02-17", _EITHER, _LEVELS),
    _older("claude-opus-4-5", "20251101"),
    _older("claude-haiku-4-5", "20251001"),
    _older("claude-sonnet-4-5", "20250929", "deprecated"),
)
"""Newest first, as the API lists them. Dates before September 2026 are not exact."""

_ANY_THINKING = ("adaptive", "between_tools", "disabled", "enabled")


def _simulated(name: str) -> Model:
    return Model(name, "1970-01-01", _ANY_THINKING, prefill=True)


_EXAMPLES = ("sim-echo", "sim-error-529", "sim-cut-3", "sim-slow-50")
ALL = (*REAL, *map(_simulated, _EXAMPLES))
_BY_NAME = {name: model for model in REAL for name in (model.id, model.alias) if name}


def find(name: str) -> Model:
    """Return the model that a request means.

    Raises:
        ApiError: there is none of that name.
    """
    base, pairs = options.split_model(name)
    model = _BY_NAME.get(base)
    if model is not None:
        return model
    if name == options.ECHO or (pairs and base == name):
        return _simulated(name)
    raise ApiError(404, f"model: {name}")


def describe(model: Model) -> dict[str, Any]:
    """Return the model object of the API."""
    words = model.id.split("-")
    return {
        "type": "model",
        "id": model.id,
        "display_name": (model.alias or model.id).replace("-", " ").title(),
        "created_at": f"{model.created}T00:00:00Z",
        "lifecycle": model.lifecycle,
        "deprecated_at": None if model.lifecycle == "active" else "2026-09-28T00:00:00Z",
        "retires_at": None if model.lifecycle == "active" else "2026-11-30T00:00:00Z",
        "line": words[1] if words[0] == "claude" else None,
        "max_input_tokens": model.max_input,
        "max_tokens": model.max_output,
        "capabilities": _capabilities(model),
    }


def _capabilities(model: Model) -> dict[str, Any]:
    yes = {"supported": True}
    simple = ("batch", "citations", "code_execution", "image_input", "pdf_input")
    return {
        **dict.fromkeys((*simple, "structured_outputs"), yes),
        "context_management": {"supported": True, "compact_20260112": yes},
        "effort": {"supported": bool(model.effort)} | _support(_ALL_LEVELS, model.effort),
        "server_tools": {"supported": True, "code_execution": yes, "web_search": yes},
        "thinking": {"supported": True, "types": _support(_ANY_THINKING, model.thinking)},
    }


def _support(known: Sequence[str], accepted: Sequence[str]) -> dict[str, Any]:
    return {name: {"supported": name in accepted} for name in known}


def page(query: Mapping[str, str]) -> dict[str, Any]:
    """Return the page of the list that `limit`, `after_id` and `before_id` select.

    Raises:
        ApiError: one of them is not usable.
    """
    limit = _limit(query.get("limit", "20"))
    ids = [model.id for model in ALL]
    start, end = 0, len(ids)
    if after := query.get("after_id"):
        start = _index(ids, "after_id", after) + 1
    if before := query.get("before_id"):
        end = _index(ids, "before_id", before)
        start = max(start, end - limit)
    chosen = ALL[start:end][:limit]
    more = start > 0 if before else start + len(chosen) < end
    return {
        "data": [describe(model) for model in chosen],
        "has_more": more,
        "first_id": chosen[0].id if chosen else None,
        "last_id": chosen[-1].id if chosen else None,
    }


def _limit(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 1000:
        raise ApiError(400, "limit: Input should be a valid integer from 1 to 1000")
    return int(text)


def _index(ids: Sequence[str], key: str, wanted: str) -> int:
    if wanted not in ids:
        raise ApiError(400, f"{key}: there is no model {wanted}")
    return ids.index(wanted)
