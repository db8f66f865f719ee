"""What we write as OTLP, read by protobuf and held against what the SDK writes."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.attributes import BoundedAttributes
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.sdk.util import BoundedList
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode

from observed import exchange, refusal, trace
from tidegate.record import ExchangeRecord, Usage
from tidegate_plugins.otlp.encoding import MAX_REMEMBERED_CHARS, encoded
from tidegate_plugins.tracing.spans import SpanBuilder

RESOURCE = Resource({"service.name": "tidegate", "many": ("a", "b")}, "https://example.org/schema")
SCOPE = InstrumentationScope("tidegate", "1.2.3", "https://example.org/scope")
RECORDS = {
    "complete": exchange(3, trace=trace()),
    "a root": exchange(4, trace=trace(parent_id=None)),
    "refused": refusal(5),
    "failed": exchange(
        6, outcome="upstream_cut", status=200, error_type="upstream_cut", error="cut — half way"
    ),
    "costly": exchange(7, usage=Usage(input=2**40, output=300, thinking=129)),
}


def same(spans: Sequence[ReadableSpan]) -> bool:
    return ExportTraceServiceRequest.FromString(encoded(spans)) == encode_spans(spans)


@pytest.mark.parametrize("record", RECORDS.values(), ids=RECORDS)
def test_the_spans_of_a_record_are_what_the_sdk_makes_of_them(record: ExchangeRecord) -> None:
    spans = SpanBuilder(RESOURCE, "1.2.3").build(record, "ratio")
    assert spans
    assert same(spans)


def test_nothing_is_an_empty_request() -> None:
    assert encoded([]) == b""


values = st.one_of(
    st.text(max_size=2 * MAX_REMEMBERED_CHARS),
    st.booleans(),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(allow_nan=False),
    st.lists(st.text(max_size=200)).map(tuple),
)
attributes = st.dictionaries(st.text(max_size=200), values, max_size=6)
moments = st.integers(0, 2**64 - 1)
contexts = st.builds(
    SpanContext, st.integers(1, 2**128 - 1), st.integers(1, 2**64 - 1), is_remote=st.booleans()
)
statuses = st.just(Status(StatusCode.UNSET)) | st.builds(
    Status, st.just(StatusCode.ERROR), st.none() | st.text()
)
spans = st.builds(
    ReadableSpan,
    st.text(),
    context=contexts,
    parent=st.none() | contexts,
    resource=st.just(RESOURCE),
    attributes=attributes,
    events=st.lists(st.builds(Event, st.text(), attributes, moments), max_size=3),
    kind=st.sampled_from(SpanKind),
    status=statuses,
    start_time=moments,
    end_time=moments,
    instrumentation_scope=st.just(SCOPE),
)


@given(st.lists(spans, min_size=1, max_size=4))
def test_any_spans_are_what_the_sdk_makes_of_them(found: list[ReadableSpan]) -> None:
    assert same(found)


def test_equal_values_of_different_types_are_told_apart() -> None:
    each = [{"a": 1}, {"a": True}, {"a": 1.0}, {"a": "1"}, {"a": ("1",)}]
    context = SpanContext(1, 2, is_remote=False)
    made = [
        ReadableSpan("a", context, resource=RESOURCE, attributes=said, instrumentation_scope=SCOPE)
        for said in each
    ]
    assert same(made)


def test_what_the_limits_drop_is_counted() -> None:
    said = BoundedAttributes(1, {"a": "b", "c": "d"}, immutable=False)
    events = BoundedList.from_seq(1, [Event("a", said, 1), Event("b", said, 2)])
    context = SpanContext(1, 2, is_remote=False)
    span = ReadableSpan("a", context, None, RESOURCE, said, events, instrumentation_scope=SCOPE)
    assert (span.dropped_attributes, span.dropped_events) == (1, 1)
    assert same([span])
