"""From records to OTLP log records. The only module that knows the SDK's unfinished logs API."""

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

from tidegate.record import ExchangeRecord
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
        severity = severity_of(record)
        when = at(record, record.timing_ms.total)
        entry = LogRecord(
            timestamp=when,
            observed_timestamp=when,
            context=set_span_in_context(NonRecordingSpan(_span(record))),
            severity_number=severity,
            severity_text=_NAMES[severity],
            body=line(record),
            attributes=self._bounded(_said(record)),
            event_name=semconv.EXCHANGE,
        )
        return [ReadableLogRecord(entry, self._resource, self._scope, self._limits)]

    def _bounded(self, found: Attributes) -> Attributes | BoundedAttributes:
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
        return SpanContext(0, 0, is_remote=False)
    operation = record.dispatched and record.route in attributes.OPERATIONS
    span_id = child_id(record.id, "inference") if operation else trace.span_id
    flags = TraceFlags(trace.flags)
    return SpanContext(
        int(trace.trace_id, 16), int(span_id, 16), is_remote=False, trace_flags=flags
    )
