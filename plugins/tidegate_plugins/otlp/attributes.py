"""What of a record becomes an attribute. No content, no credential, no pointer.

Pointers stay in the journal: they name keys of documents that callers wrote.
"""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any
from urllib.parse import urlsplit

from tidegate.record import DecisionRecord, ExchangeRecord, Usage
from tidegate_plugins.otlp import semconv

Value = str | bool | int | float | tuple[str, ...]
Attributes = dict[str, Value]

ROUTES: dict[str, tuple[str, str]] = {
    "messages": ("POST", "/v1/messages"),
    "count_tokens": ("POST", "/v1/messages/count_tokens"),
    "models": ("GET", "/v1/models"),
    "model": ("GET", "/v1/models/{model_id}"),
}
OPERATIONS = {"messages": "chat", "count_tokens": "count_tokens"}
"""Routes that are an operation on a model. The conventions have no word for the second."""

_FINISH = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "max_tokens": "length",
    "tool_use": "tool_call",
}
_UNFAILED = frozenset({"complete", "answered", "refused", "client_gone"})


def server_error(record: ExchangeRecord) -> str:
    """Return what failed on our side of the exchange, as the caller saw it; or nothing.

    A 4xx is the caller's, and a client that left wanted it so: neither is an error here.
    """
    if record.status is not None and record.status >= 500:
        return record.error_type or str(record.status)
    if record.outcome in _UNFAILED or record.outcome == "upstream_error":
        return ""
    return record.error_type or record.outcome


def inference_error(record: ExchangeRecord) -> str:
    """Return what failed about the operation on the model; or nothing."""
    if record.outcome in ("complete", "answered", "client_gone"):
        return ""
    return record.error_type or record.outcome


def answered_status(record: ExchangeRecord) -> int | None:
    """Return the status that the upstream gave; nothing if it gave none, whatever we answered."""
    return record.status if record.timing_ms.upstream_head is not None else None


def request_error(record: ExchangeRecord) -> str:
    """Return what failed about the HTTP request to the upstream; or nothing.

    An error within a stream that came whole is none of HTTP's.
    """
    status = answered_status(record)
    if status is not None and status >= 400:
        return str(status)
    if record.outcome in ("complete", "client_gone", "upstream_error", "upstream_error_event"):
        return ""
    return record.outcome


def server_attributes(record: ExchangeRecord, kept_for: str) -> Attributes:
    """Return the attributes of the SERVER span: HTTP, and our own."""
    method, path = ROUTES.get(record.route, ("_OTHER", None))
    refused = record.refused_by
    return _present(
        (semconv.HTTP_METHOD, method),
        (semconv.HTTP_ROUTE, path),
        (semconv.URL_PATH, path_of(record)),
        (semconv.URL_SCHEME, record.scheme),
        (semconv.HTTP_STATUS, record.status),
        (semconv.HTTP_REQUEST_SIZE, record.bytes.request_in),
        (semconv.HTTP_RESPONSE_SIZE, record.bytes.response),
        (semconv.ERROR_TYPE, server_error(record)),
        (semconv.ID, record.id),
        (semconv.OUTCOME, record.outcome),
        (semconv.KEPT_FOR, kept_for),
        (semconv.TEAM, record.principal.team),
        (semconv.PRINCIPAL, record.principal.id),
        (semconv.WORKER, record.worker),
        (semconv.CONFIG, record.config),
        (semconv.APP, record.client.app),
        (semconv.REFUSED_BY, refused.plugin if refused else None),
        (semconv.REFUSED_RULE, refused.rule if refused else None),
        (semconv.EDITS, sum(edit.count for edit in record.edits)),
        (semconv.EDIT_RULES, tuple(sorted({edit.rule for edit in record.edits}))),
        (semconv.OVERHEAD, record.timing_ms.overhead / 1000),
    )


def inference_attributes(record: ExchangeRecord) -> Attributes:
    """Return the attributes of the operation on the model, GenAI and our own."""
    model = record.model
    host, port = _server(record)
    return (
        _present(
            (semconv.OPERATION, OPERATIONS[record.route]),
            (semconv.PROVIDER, record.provider or "anthropic"),
            (semconv.SERVER_ADDRESS, host),
            (semconv.SERVER_PORT, port),
            (semconv.REQUEST_MODEL, model.sent),
            (semconv.RESPONSE_ID, record.response_id),
            (semconv.RESPONSE_MODEL, model.answered),
            (semconv.REQUEST_MAX_TOKENS, record.shape.max_tokens),
            (semconv.REQUEST_STREAM, record.stream or None),
            (semconv.TIME_TO_FIRST_CHUNK, _first_chunk_s(record)),
            (semconv.FINISH_REASONS, _finish_reasons(record)),
            (semconv.CONVERSATION, record.client.session),
            (semconv.AGENT, record.client.agent),
            (semconv.HTTP_STATUS, record.status),
            (semconv.ERROR_TYPE, inference_error(record)),
            (semconv.MODEL_ASKED, model.asked if model.asked != model.sent else None),
            (semconv.PARENT_AGENT, record.client.parent_agent),
            (semconv.UPSTREAM, record.upstream),
            (semconv.UPSTREAM_REQUEST_ID, record.upstream_request_id),
            (semconv.USAGE_SOURCE, record.usage_source),
            (semconv.EVENTS, record.events if record.stream else None),
        )
        | _asked(record.shape.outline)
        | _used(record)
    )


def request_attributes(record: ExchangeRecord) -> Attributes:
    """Return the attributes of the HTTP request to the upstream."""
    host, port = _server(record)
    path = path_of(record)
    return _present(
        (semconv.HTTP_METHOD, ROUTES[record.route][0]),
        (semconv.SERVER_ADDRESS, host),
        (semconv.SERVER_PORT, port),
        (semconv.URL_FULL, f"{record.origin}{path}" if record.origin and path else None),
        (semconv.PROTOCOL_VERSION, "1.1"),
        (semconv.HTTP_STATUS, answered_status(record)),
        (semconv.HTTP_REQUEST_SIZE, record.bytes.request_out),
        (semconv.HTTP_RESPONSE_SIZE, record.bytes.response),
        (semconv.ERROR_TYPE, request_error(record)),
        (semconv.UPSTREAM_REQUEST_ID, record.upstream_request_id),
    )


def decision_attributes(decision: DecisionRecord) -> Attributes:
    """Return the attributes of the event that a decision is."""
    said = _said(decision.plugin, decision.rule, decision.verdict, decision.mode)
    return {**said, semconv.DURATION: decision.us} if decision.us else dict(said)


@lru_cache(512)
def _said(plugin: str, rule: str, verdict: str, mode: str) -> Attributes:
    return _present(
        (semconv.PLUGIN, plugin),
        (semconv.RULE, rule),
        (semconv.VERDICT, verdict),
        (semconv.MODE, mode),
    )


def _used(record: ExchangeRecord) -> Attributes:
    usage = record.usage
    if usage is None or record.route != "messages":
        return {}
    written = usage.cache_write_5m + usage.cache_write_1h
    return _present(
        # The conventions count what was cached as input; the API does not.
        (semconv.INPUT_TOKENS, usage.input + usage.cache_read + written),
        (semconv.CACHE_READ_TOKENS, usage.cache_read),
        (semconv.CACHE_WRITE_TOKENS, written),
        (semconv.OUTPUT_TOKENS, usage.output),
        (semconv.REASONING_TOKENS, usage.thinking or None),
        (semconv.COMPACTED, _compacted(usage)),
        (semconv.CACHE_WRITE_5M, usage.cache_write_5m or None),
        (semconv.CACHE_WRITE_1H, usage.cache_write_1h or None),
        (semconv.WEB_SEARCHES, usage.web_search_requests or None),
        (semconv.SERVICE_TIER, usage.service_tier),
    )


def _compacted(usage: Usage) -> bool | None:
    return any(each.get("type") == "compaction" for each in usage.iterations) or None


def _asked(outline: Mapping[str, Any]) -> Attributes:
    """Return what the request asks for beside its content, as far as it has the right type."""
    config = outline.get("output_config")
    config = config if isinstance(config, dict) else {}
    form = config.get("format")
    json = isinstance(form, dict) and form.get("type") == "json_schema"
    effort = config.get("effort")
    top_k = outline.get("top_k")
    return _present(
        (semconv.REQUEST_TEMPERATURE, _float(outline.get("temperature"))),
        (semconv.REQUEST_TOP_P, _float(outline.get("top_p"))),
        (semconv.REQUEST_TOP_K, top_k if type(top_k) is int else None),
        (semconv.REQUEST_REASONING, effort if isinstance(effort, str) else None),
        (semconv.OUTPUT_TYPE, "json" if json else None),
    )


def _float(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


@lru_cache(64)
def _parts(origin: str) -> tuple[str | None, int | None]:
    parts = urlsplit(origin)
    return parts.hostname, parts.port


def _server(record: ExchangeRecord) -> tuple[str | None, int | None]:
    return _parts(record.origin) if record.origin else (None, None)


def path_of(record: ExchangeRecord) -> str | None:
    """Return the path that was asked for, of routes that have one."""
    _, path = ROUTES.get(record.route, ("", None))
    if record.route != "model":
        return path
    model = record.shape.outline.get("model")
    return f"/v1/models/{model}" if model else None


def _present(*pairs: tuple[str, Value | None]) -> Attributes:
    return {
        name: value
        for name, value in pairs
        if value is not None and value != "" and value != ()  # noqa: PLR1714 - twice as fast
    }


def _first_chunk_s(record: ExchangeRecord) -> float | None:
    first, sent = record.timing_ms.first_byte, record.timing_ms.dispatched
    if not record.stream or first is None or sent is None:
        return None
    return max(0.0, first - sent) / 1000


def _finish_reasons(record: ExchangeRecord) -> tuple[str, ...]:
    if record.outcome != "complete":
        return ("error",)
    reason = record.stop_reason
    return (_FINISH.get(reason, reason),) if reason else ()
