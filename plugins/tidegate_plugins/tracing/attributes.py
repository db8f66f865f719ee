"""What of a record becomes an attribute. No content, no credential, no pointer.

Pointers stay in the journal: they name keys of documents that callers wrote.
"""

from tidegate.record import DecisionRecord, ExchangeRecord, Usage
from tidegate_plugins.tracing import semconv

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
_EMPTY: tuple[Value, ...] = ("", ())
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


def server_attributes(record: ExchangeRecord, kept_for: str) -> Attributes:
    """Return the attributes of the SERVER span: HTTP, and our own."""
    method, path = ROUTES.get(record.route, ("_OTHER", None))
    refused = record.refused_by
    return _present(
        (semconv.HTTP_METHOD, method),
        (semconv.HTTP_ROUTE, path),
        (semconv.URL_PATH, _path(record, path)),
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
        (semconv.EDITS, len(record.edits)),
        (semconv.EDIT_RULES, tuple(sorted({edit.rule for edit in record.edits}))),
        (semconv.OVERHEAD, record.timing_ms.overhead / 1000),
    )


def inference_attributes(record: ExchangeRecord) -> Attributes:
    """Return the attributes of the operation on the model, GenAI and our own."""
    model = record.model
    return _present(
        (semconv.OPERATION, OPERATIONS[record.route]),
        (semconv.PROVIDER, "anthropic"),
        (semconv.REQUEST_MODEL, model.sent),
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
        (semconv.UPSTREAM_REQUEST_ID, record.upstream_request_id),
        (semconv.USAGE_SOURCE, record.usage_source),
        (semconv.EVENTS, record.events if record.stream else None),
    ) | (_usage(record.usage) if record.usage and record.route == "messages" else {})


def decision_attributes(decision: DecisionRecord) -> Attributes:
    """Return the attributes of the event that a decision is."""
    return _present(
        (semconv.PLUGIN, decision.plugin),
        (semconv.RULE, decision.rule),
        (semconv.VERDICT, decision.verdict),
        (semconv.MODE, decision.mode),
        (semconv.DURATION, decision.us or None),
    )


def _usage(usage: Usage) -> Attributes:
    written = usage.cache_write_5m + usage.cache_write_1h
    return _present(
        # The conventions count what was cached as input; the API does not.
        (semconv.INPUT_TOKENS, usage.input + usage.cache_read + written),
        (semconv.CACHE_READ_TOKENS, usage.cache_read),
        (semconv.CACHE_WRITE_TOKENS, written),
        (semconv.OUTPUT_TOKENS, usage.output),
        (semconv.REASONING_TOKENS, usage.thinking or None),
        (semconv.CACHE_WRITE_5M, usage.cache_write_5m or None),
        (semconv.CACHE_WRITE_1H, usage.cache_write_1h or None),
        (semconv.WEB_SEARCHES, usage.web_search_requests or None),
        (semconv.SERVICE_TIER, usage.service_tier),
    )


def _present(*pairs: tuple[str, Value | None]) -> Attributes:
    return {name: value for name, value in pairs if value is not None and value not in _EMPTY}


def _path(record: ExchangeRecord, path: str | None) -> str | None:
    return path if record.route != "model" else None  # the record has no id as it was asked


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
