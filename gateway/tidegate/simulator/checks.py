"""What the API refuses, as far as a caller can tell: fields, types, pairs, versions."""

import json
import re
import zlib
from typing import Any

from tidegate.simulator.catalogue import Model
from tidegate.simulator.errors import ApiError

LEGACY, CURRENT = "2023-06-01", "2026-10-21"
LARGEST_BODY = 32 * 1024 * 1024
_DEEPEST = 200

_SHARED = frozenset(
    (
        "model",
        "messages",
        "system",
        "tools",
        "tool_choice",
        "thinking",
        "output_config",
        "cache_control",
        "speed",
    )
)
"""What both endpoints take."""
_SAMPLING = frozenset({"temperature", "top_p", "top_k"})
_MESSAGES_ONLY = _SAMPLING | {
    "max_tokens",
    "stream",
    "stop_sequences",
    "metadata",
    "container",
    "service_tier",
    "inference_geo",
    "diagnostics",
}
_BETA: dict[str, str | tuple[str, ...]] = {
    "mcp_servers": "mcp-client-",
    "context_management": ("context-management-", "compact-"),
    "compaction": "compact-",
    "fallbacks": "server-side-fallback-",
    "fallback_credit_token": "fallback-credit-",
    "billing_policy": "user-profiles-billing-",
    "thread": "message-threads-",
    "output_format": "structured-outputs-",
}
"""Fields that need a beta, and how its name begins."""

_TYPES: dict[str, tuple[type, str]] = {
    "model": (str, "a valid string"),
    "messages": (list, "a valid list"),
    "max_tokens": (int, "a valid integer"),
    "stream": (bool, "a valid boolean"),
    "tools": (list, "a valid list"),
    "tool_choice": (dict, "a valid dictionary"),
    "thinking": (dict, "a valid dictionary"),
    "output_config": (dict, "a valid dictionary"),
    "metadata": (dict, "a valid dictionary"),
    "stop_sequences": (list, "a valid list"),
}
_NULLABLE = frozenset({"thinking", "output_config", "metadata", "stop_sequences"})


def bad(message: str) -> ApiError:
    """Return the error for a request that is not valid."""
    return ApiError(400, message)


def decode(body: bytes, encoding: str) -> bytes:
    """Return a body without its content coding.

    Raises:
        ApiError: the coding is unknown, or the body is not in it, or too large.
    """
    windows = {"": None, "identity": None, "gzip": 31, "x-gzip": 31, "deflate": 15}
    if encoding not in windows:
        raise ApiError(400, f"content-encoding: {encoding!r} is not supported")
    window = windows[encoding]
    if window is None:
        return body
    decoder = zlib.decompressobj(window)
    try:
        plain = decoder.decompress(body, LARGEST_BODY + 1)
    except zlib.error:
        raise bad("content-encoding: the request body could not be decoded") from None
    if len(plain) > LARGEST_BODY:
        raise ApiError(413, "Request exceeds the maximum size")
    return plain


def parse(body: bytes) -> dict[str, Any]:
    """Return the document of a body. Of duplicate keys the last one counts, as in the API.

    Raises:
        ApiError: it is not a JSON object in UTF-8.
    """
    try:
        document = json.loads(body.decode(), parse_constant=_no_constant)
    except RecursionError:
        raise bad("The request body is nested too deeply") from None
    except ValueError as error:
        raise bad(f"The request body is not valid JSON: {error}") from None
    if not isinstance(document, dict):
        raise bad("The request body must be a JSON object")
    if _deeper_than(document, _DEEPEST):
        raise bad("The request body is nested too deeply")
    return document


def _no_constant(name: str) -> None:
    raise ValueError(f"unexpected token {name}")


def _deeper_than(document: Any, limit: int) -> bool:
    level = [document]
    for _ in range(limit):
        level = [
            value
            for each in level
            for value in (each.values() if isinstance(each, dict) else each)
            if isinstance(value, dict | list)
        ]
        if not level:
            return False
    return True


def version(value: str) -> None:
    """Check `anthropic-version`.

    Raises:
        ApiError: it is missing or unknown.
    """
    if not value:
        raise bad("anthropic-version: header is required")
    if value not in {LEGACY, CURRENT}:
        raise bad(f'anthropic-version: "{value}" is not a valid version')


_BETA_NAME = re.compile(r"[a-z0-9-]+-20\d\d-?\d\d-?\d\d")


def betas(value: str) -> None:
    """Check `anthropic-beta`: names with a date, as there are new ones every few weeks.

    Raises:
        ApiError: a value cannot be one.
    """
    names = filter(None, (name.strip() for name in value.split(",")))
    strange = [name for name in names if not _BETA_NAME.fullmatch(name)]
    if strange:
        listed = ", ".join(f"`{name}`" for name in strange)
        raise bad(f"Unexpected value(s) {listed} for the `anthropic-beta` header.")


def fields(document: dict[str, Any], *, api_version: str, betas: str, counting: bool) -> None:
    """Check the names and types at the top level.

    Raises:
        ApiError: a field is missing, unknown, of another type or needs a beta.
    """
    for key in ("model", "messages") if counting else ("model", "max_tokens", "messages"):
        if key not in document:
            raise bad(f"{key}: Field required")
    for key, (kind, wanted) in _TYPES.items():
        if key in document and not _is_typed(key, document[key], kind):
            raise bad(f"{key}: Input should be {wanted}")
    known = _SHARED if counting else _SHARED | _MESSAGES_ONLY
    if api_version == CURRENT:
        known -= _SAMPLING
    for key in document:
        if key not in known and not _offered(_BETA.get(key), betas):
            raise bad(f"{key}: Extra inputs are not permitted")


def _is_typed(key: str, value: Any, kind: type) -> bool:
    return type(value) is kind or (value is None and key in _NULLABLE)


def _offered(prefix: str | tuple[str, ...] | None, betas: str) -> bool:
    names = (name.strip() for name in betas.split(","))
    return prefix is not None and any(name.startswith(prefix) for name in names)


def limits(document: dict[str, Any], model: Model) -> None:
    """Check `max_tokens`, thinking, effort and the choice of tools against the model.

    Raises:
        ApiError: one of them is not possible.
    """
    most: int = document["max_tokens"]
    if most < 0:
        raise bad("max_tokens: Input should be greater than or equal to 0")
    if most > model.max_output:
        raise bad(
            f"max_tokens: {most} > {model.max_output}, which is the maximum allowed number "
            f"of output tokens for {model.id}"
        )
    if most == 0 and document.get("stream"):
        raise bad("max_tokens: 0 is not supported with streaming")
    _budget(document, most)


def _budget(document: dict[str, Any], most: int) -> None:
    thinking = document.get("thinking") or {}
    budget = thinking.get("budget_tokens")
    if thinking.get("type") == "enabled":
        if type(budget) is not int or budget < 1024:
            raise bad("thinking.enabled.budget_tokens: Input should be at least 1024")
        if budget >= most:
            raise bad("max_tokens: must be greater than thinking.budget_tokens")


def abilities(document: dict[str, Any], model: Model) -> None:
    """Check what is asked against what the model can do.

    Raises:
        ApiError: the model cannot.
    """
    kind = (document.get("thinking") or {}).get("type")
    if kind is not None and kind not in model.thinking:
        if kind == "adaptive":
            raise bad("adaptive thinking is not supported on this model")
        raise bad(f'"thinking.type.{kind}" is not supported for this model.')
    effort = (document.get("output_config") or {}).get("effort")
    if effort is not None and effort not in model.effort:
        levels = ", ".join(sorted(model.effort))
        raise bad(
            f"This model does not support effort level '{effort}'. Supported levels: {levels}."
        )
    _choice(document)


def _choice(document: dict[str, Any]) -> None:
    choice = document.get("tool_choice", {"type": "auto"})
    if choice.get("type") not in ("auto", "any", "tool", "none"):
        raise bad("tool_choice.type: Input should be 'auto', 'any', 'tool' or 'none'")
    names = [tool.get("name") for tool in document.get("tools") or []]
    if choice["type"] == "tool" and choice.get("name") not in names:
        raise bad(f"Tool '{choice.get('name')}' not found in provided tools")
