"""From records to spans, with the record's own ids and times."""

from collections.abc import Sequence
from hashlib import blake2b

from opentelemetry.attributes import BoundedAttributes
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event, ReadableSpan, SpanLimits
from opentelemetry.sdk.util import BoundedList
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode, TraceFlags
from opentelemetry.util import types

from tidegate.record import ExchangeRecord, TraceRecord
from tidegate_plugins.tracing import attributes, semconv
from tidegate_plugins.tracing.attributes import Attributes

MOST_ATTRIBUTES = 64
"""No span of ours has more."""


class SpanBuilder:
    """Makes the spans of an exchange. The same record gives the same spans, ids included."""

    def __init__(self, resource: Resource, version: str) -> None:
        self._resource = resource
        self._scope = InstrumentationScope("tidegate", version)
        self._limits = SpanLimits()
        self._bounds_hold = (
            self._limits.max_span_attribute_length is None
            and (self._limits.max_span_attributes or 0) >= MOST_ATTRIBUTES
        )

    def build(self, record: ExchangeRecord, kept_for: str) -> list[ReadableSpan]:
        """Return the exchange's SERVER span, and the operation on the model if it left."""
        if record.trace is None:
            return []
        context = _context(record.trace, record.trace.span_id, remote=False)
        spans = [self._server(record, kept_for, record.trace, context)]
        if record.dispatched and record.route in attributes.OPERATIONS:
            spans.append(self._inference(record, record.trace, context))
        return spans

    def _server(
        self, record: ExchangeRecord, kept_for: str, trace: TraceRecord, context: SpanContext
    ) -> ReadableSpan:
        parent = trace.parent_id
        return ReadableSpan(
            name=_name(record),
            context=context,
            parent=_context(trace, parent, remote=True) if parent else None,
            resource=self._resource,
            attributes=self._bounded(attributes.server_attributes(record, kept_for)),
            events=self._decisions(record),
            kind=SpanKind.SERVER,
            status=_status(attributes.server_error(record), record.error),
            start_time=_at(record, 0.0),
            end_time=_at(record, record.timing_ms.total),
            instrumentation_scope=self._scope,
        )

    def _inference(
        self, record: ExchangeRecord, trace: TraceRecord, parent: SpanContext
    ) -> ReadableSpan:
        timing = record.timing_ms
        operation = attributes.OPERATIONS[record.route]
        start = timing.dispatched or timing.admit or 0.0
        return ReadableSpan(
            name=f"{operation} {record.model.sent}" if record.model.sent else operation,
            context=_context(trace, _child_id(record.id, "inference"), remote=False),
            parent=parent,
            resource=self._resource,
            attributes=self._bounded(attributes.inference_attributes(record)),
            kind=SpanKind.CLIENT,
            status=_status(attributes.inference_error(record), record.error),
            start_time=_at(record, start),
            end_time=_at(record, max(start, timing.last_byte or timing.total)),
            instrumentation_scope=self._scope,
        )

    def _decisions(self, record: ExchangeRecord) -> Sequence[Event]:
        # The record says how long each policy took and when the last was done. They ran one
        # after another, so the other moments follow, but for what lies between them.
        left = sum(decision.us for decision in record.decisions)
        done = (record.timing_ms.admit or 0.0) * 1000
        events = []
        for decision in record.decisions:
            left -= decision.us
            when = _at(record, max(0.0, done - left) / 1000)
            found = self._bounded(attributes.decision_attributes(decision))
            events.append(Event(semconv.DECISION, found, when))
        return BoundedList.from_seq(self._limits.max_events, events)

    def _bounded(self, found: Attributes) -> types.Attributes:
        if self._bounds_hold:
            return found  # half of the work of making a span would go into cleaning it
        limits = self._limits
        return BoundedAttributes(
            limits.max_span_attributes, found, max_value_len=limits.max_span_attribute_length
        )


def _name(record: ExchangeRecord) -> str:
    method, path = attributes.ROUTES.get(record.route, ("HTTP", ""))
    return f"{method} {path}".rstrip()


def _context(trace: TraceRecord, span_id: str, *, remote: bool) -> SpanContext:
    # Flagged as sampled whatever the caller's flag said: it is on its way to the collector.
    return SpanContext(
        int(trace.trace_id, 16),
        int(span_id, 16),
        is_remote=remote,
        trace_flags=TraceFlags(trace.flags | TraceFlags.SAMPLED),
    )


def _child_id(exchange: str, role: str) -> str:
    return blake2b(exchange.encode(), digest_size=8, person=role.encode()).hexdigest()


def _status(error: str, description: str | None) -> Status:
    return Status(StatusCode.ERROR, description) if error else Status(StatusCode.UNSET)


def _at(record: ExchangeRecord, ms: float) -> int:
    return round(record.at * 1_000_000_000) + round(ms * 1_000_000)
