"""From records to spans, with the record's own ids and times.

SERVER, what the caller did; in it CLIENT, the operation on the model; in that CLIENT, the HTTP
request upstream. A policy is an event, or a span where it was slow or did not just say yes.
"""

from collections.abc import Sequence
from typing import NamedTuple

from opentelemetry.attributes import BoundedAttributes
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event, ReadableSpan, SpanLimits
from opentelemetry.sdk.util import BoundedList
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode
from opentelemetry.util import types

from tidegate.record import DecisionRecord, ExchangeRecord, TraceRecord
from tidegate_plugins.otlp import attributes, semconv
from tidegate_plugins.otlp.attributes import Attributes
from tidegate_plugins.otlp.ids import at, child_id, context

MOST_ATTRIBUTES = 64
"""No span of ours has more."""
_ASKED = frozenset({"admit", "edit", "answer", "refuse", "error", "timeout", "not_evaluated"})
"""What the host writes once per policy and request. Any other word is a finding."""
_PLAIN = frozenset({"admit", "not_evaluated"})
_BROKEN = frozenset({"error", "timeout"})


class _Decided(NamedTuple):
    """One decision, or a finding of it, in its time."""

    decision: DecisionRecord
    start: int
    end: int


class SpanBuilder:
    """Makes the spans of an exchange. The same record gives the same spans, ids included."""

    def __init__(self, resource: Resource, version: str, *, slow_policy_ms: float = 50.0) -> None:
        self._resource = resource
        self._scope = InstrumentationScope("tidegate", version)
        self._slow_us = slow_policy_ms * 1000
        self._limits = SpanLimits()
        self._bounds_hold = (
            self._limits.max_span_attribute_length is None
            and (self._limits.max_span_attributes or 0) >= MOST_ATTRIBUTES
        )

    def build(self, record: ExchangeRecord, kept_for: str) -> list[ReadableSpan]:
        """Return the exchange's SERVER span, and whatever else it has come to."""
        if record.trace is None:
            return []
        server = context(record.trace, record.trace.span_id, remote=False)
        own, others = self._sorted(record)
        spans = [self._server(record, kept_for, record.trace, server, others)]
        spans += [self._policy(record, record.trace, server, found) for found in own]
        if not record.dispatched:
            return spans
        above = server
        if record.route in attributes.OPERATIONS:
            above = context(record.trace, child_id(record.id, "inference"), remote=False)
            spans.append(self._inference(record, above, server))
        if record.route in attributes.ROUTES:
            spans.append(self._request(record, record.trace, above))
        return spans

    def _server(
        self,
        record: ExchangeRecord,
        kept_for: str,
        trace: TraceRecord,
        own: SpanContext,
        decided: Sequence[_Decided],
    ) -> ReadableSpan:
        method, path = attributes.ROUTES.get(record.route, ("HTTP", ""))
        parent = context(trace, trace.parent_id, remote=True) if trace.parent_id else None
        return self._span(
            f"{method} {path}".rstrip(),
            place=(own, parent),
            kind=SpanKind.SERVER,
            said=attributes.server_attributes(record, kept_for),
            times=(at(record, 0.0), at(record, record.timing_ms.total)),
            status=_status(attributes.server_error(record), record.error),
            events=self._events(decided),
        )

    def _inference(
        self, record: ExchangeRecord, own: SpanContext, parent: SpanContext
    ) -> ReadableSpan:
        operation = attributes.OPERATIONS[record.route]
        return self._span(
            f"{operation} {record.model.sent}" if record.model.sent else operation,
            place=(own, parent),
            kind=SpanKind.CLIENT,
            said=attributes.inference_attributes(record),
            times=_upstream_times(record),
            status=_status(attributes.inference_error(record), record.error),
        )

    def _request(
        self, record: ExchangeRecord, trace: TraceRecord, parent: SpanContext
    ) -> ReadableSpan:
        own = context(trace, child_id(record.id, "request"), remote=False)
        return self._span(
            attributes.ROUTES[record.route][0],
            place=(own, parent),
            kind=SpanKind.CLIENT,
            said=attributes.request_attributes(record),
            times=_upstream_times(record),
            status=_status(attributes.request_error(record), None),
        )

    def _policy(
        self,
        record: ExchangeRecord,
        trace: TraceRecord,
        parent: SpanContext,
        found: Sequence[_Decided],
    ) -> ReadableSpan:
        decision, start, end = found[0]
        own = context(trace, child_id(record.id, f"policy {decision.plugin}"), remote=False)
        failed = decision.verdict if decision.verdict in _BROKEN else ""
        said = attributes.decision_attributes(decision)
        return self._span(
            f"{semconv.DECISION} {decision.plugin}",
            place=(own, parent),
            kind=SpanKind.INTERNAL,
            said=said | {semconv.ERROR_TYPE: failed} if failed else said,
            times=(start, end),
            status=_status(failed, None),
            events=self._events(found[1:]),
        )

    def _span(
        self,
        name: str,
        *,
        place: tuple[SpanContext, SpanContext | None],
        kind: SpanKind,
        said: Attributes,
        times: tuple[int, int],
        status: Status,
        events: Sequence[Event] = (),
    ) -> ReadableSpan:
        return ReadableSpan(
            name=name,
            context=place[0],
            parent=place[1],
            resource=self._resource,
            attributes=self._bounded(said),
            events=events,
            kind=kind,
            status=status,
            start_time=times[0],
            end_time=times[1],
            instrumentation_scope=self._scope,
        )

    def _sorted(
        self, record: ExchangeRecord
    ) -> tuple[Sequence[Sequence[_Decided]], Sequence[_Decided]]:
        """Return decisions that become spans, each with its findings, and those that do not."""
        own: dict[str, list[_Decided]] = {}
        others: list[_Decided] = []
        for found in _decided(record):
            decision = found.decision
            asked = decision.verdict in _ASKED
            if asked and (decision.verdict not in _PLAIN or decision.us >= self._slow_us):
                own[decision.plugin] = [found]
            elif not asked and decision.plugin in own:
                own[decision.plugin].append(found)
            else:
                others.append(found)
        return list(own.values()), others

    def _events(self, decided: Sequence[_Decided]) -> Sequence[Event]:
        events = [
            Event(
                semconv.DECISION,
                self._bounded(attributes.decision_attributes(found.decision)),
                found.end,
            )
            for found in decided
        ]
        most = self._limits.max_events
        within = most is None or len(events) <= most
        return events if within else BoundedList.from_seq(most, events)

    def _bounded(self, found: Attributes) -> types.Attributes:
        if self._bounds_hold:
            return found  # half of the work of making a span would go into cleaning it
        limits = self._limits
        return BoundedAttributes(
            limits.max_span_attributes, found, max_value_len=limits.max_span_attribute_length
        )


def _decided(record: ExchangeRecord) -> list[_Decided]:
    # The record says how long each policy took and when the last was done. They ran one
    # after another, so the other moments follow, but for what lies between them.
    left = sum(decision.us for decision in record.decisions)
    done = (record.timing_ms.admit or 0.0) * 1000
    found = []
    start = at(record, max(0.0, done - left) / 1000)
    for decision in record.decisions:
        left -= decision.us
        end = at(record, max(0.0, done - left) / 1000)
        found.append(_Decided(decision, start, end))
        start = end
    return found


def _upstream_times(record: ExchangeRecord) -> tuple[int, int]:
    timing = record.timing_ms
    start = timing.dispatched or timing.admit or 0.0
    return at(record, start), at(record, max(start, timing.last_byte or timing.total))


_UNSET = Status(StatusCode.UNSET)


def _status(error: str, description: str | None) -> Status:
    return Status(StatusCode.ERROR, description) if error else _UNSET
