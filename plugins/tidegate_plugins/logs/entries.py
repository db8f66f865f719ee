"""From records to OTLP log records. The only module that knows the SDK's unfinished logs API."""

from collections.abc import Mapping
from typing import Any

from opentelemetry._logs import LogRecord, SeverityNumber
from opentelemetry.attributes import BoundedAttributes
from opentelemetry.sdk._logs import LogRecordLimits, ReadableLogRecord
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import (
    NonRecordingSpan,
    SpanContext,
    TraceFlags,
    set_span_in_context,
)

from tidegate.record import Content, ExchangeRecord
from tidegate_plugins.logs.content import details
from tidegate_plugins.otlp import attributes, semconv
from tidegate_plugins.otlp.attributes import Attributes
from tidegate_plugins.otlp.ids import at, child_id

MOST_ATTRIBUTES = 128
"""No log record of ours has more."""
_DEBUG = frozenset({"probe", "options"})
"""Routes that are answered here, by the second where a load balancer asks."""
_INFO = frozenset({"complete", "answered", "client_gone"})
_NAMES = {
    SeverityNumber.DEBUG: "DEBUG",
    SeverityNumber.INFO: "INFO",
    SeverityNumber.WARN: "WARN",
    SeverityNumber.ERROR: "ERROR",
}
_NO_SPAN = SpanContext(0, 0, is_remote=False)


class EntryBuilder:
    """Makes the log record of an exchange. The same record gives the same one."""

    def __init__(self, resource: Resource, version: str) -> None:
        self._resource = resource
        self._scope = InstrumentationScope("tidegate", version)
        self._limits = LogRecordLimits()
        self._bounds_hold = (
            self._limits.max_log_record_attribute_length is None
            and (self._limits.max_log_record_attributes or 0) >= MOST_ATTRIBUTES
        )

    def build(self, record: ExchangeRecord) -> list[ReadableLogRecord]:
        """Return the log record of an exchange."""
        return self._entry(
            at(record, record.timing_ms.total),
            severity=severity_of(record),
            span=_span(record),
            event=semconv.EXCHANGE,
            said=_said(record),
            body=line(record),
        )

    def details(self, content: Content, exchange: ExchangeRecord | None) -> list[ReadableLogRecord]:
        """Return the event with what was asked and answered in an exchange."""
        return self._entry(
            round(content.at * 1_000_000_000),
            severity=severity_of(exchange) if exchange else SeverityNumber.INFO,
            span=_span(exchange) if exchange else _NO_SPAN,
            event=semconv.DETAILS,
            said=details(content, exchange),
        )

    def _entry(
        self,
        when: int,
        *,
        severity: SeverityNumber,
        span: SpanContext,
        event: str,
        said: Mapping[str, Any],
        body: str | None = None,
    ) -> list[ReadableLogRecord]:
        entry = LogRecord(
            timestamp=when,
            observed_timestamp=when,
            context=set_span_in_context(NonRecordingSpan(span)),
            severity_number=severity,
            severity_text=_NAMES[severity],
            body=body,
            attributes=self._bounded(said),
            event_name=event,
        )
        return [ReadableLogRecord(entry, self._resource, self._scope, self._limits)]

    def _bounded(self, found: Mapping[str, Any]) -> Mapping[str, Any]:
        if self._bounds_hold:
            return found
        limits = self._limits
        most, longest = limits.max_log_record_attributes, limits.max_log_record_attribute_length
        return BoundedAttributes(most, found, max_value_len=longest)


def severity_of(record: ExchangeRecord) -> SeverityNumber:
    """Return how bad it is: what broke is an error, what was not let through a warning."""
    if record.route in _DEBUG:
        return SeverityNumber.DEBUG
    if record.outcome in _INFO:
        return SeverityNumber.INFO
    if attributes.server_error(record):
        return SeverityNumber.ERROR
    return SeverityNumber.WARN


def line(record: ExchangeRecord) -> str:
    """Return the exchange in a line, for people: no content, and nothing a caller wrote freely."""
    method, path = attributes.ROUTES.get(record.route, ("", record.route))
    words = [f"{method} {path}".strip(), record.model.sent or "", record.outcome]
    words.append(str(record.status or ""))
    words.append(attributes.inference_error(record) if record.outcome != "refused" else "")
    if record.refused_by is not None:
        words.append(f"{record.refused_by.plugin}:{record.refused_by.rule}")
    words.append(f"{record.timing_ms.total / 1000:.3f} s")
    return " ".join(word for word in words if word)


def _said(record: ExchangeRecord) -> Attributes:
    found = attributes.server_attributes(record, "")
    if record.dispatched and record.route in attributes.OPERATIONS:
        found |= attributes.inference_attributes(record)
    return found


def _span(record: ExchangeRecord) -> SpanContext:
    """Return the span it is about: the operation on the model, or else the whole exchange."""
    trace = record.trace
    if trace is None:
        return _NO_SPAN
    operation = record.dispatched and record.route in attributes.OPERATIONS
    span_id = child_id(record.id, "inference") if operation else trace.span_id
    flags = TraceFlags(trace.flags)
    return SpanContext(
        int(trace.trace_id, 16), int(span_id, 16), is_remote=False, trace_flags=flags
    )
