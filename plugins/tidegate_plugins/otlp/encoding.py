"""Spans as OTLP's protobuf, written directly: the SDK makes an object for each attribute, and its value.

Sources: Protocol Buffers, "Encoding"; opentelemetry-proto 1.x, `trace.proto` and `common.proto`.
`tests/unit/plugins/test_otlp_encoding.py` holds it against the SDK's own encoder.
"""

import struct
from collections.abc import Iterator, Sequence
from functools import lru_cache

from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import INVALID_SPAN_CONTEXT, SpanContext, SpanKind, Status, StatusCode
from opentelemetry.util.types import Attributes

REMEMBERED = 4_096
"""Encoded attributes of each type: most are the same in the next span."""
MAX_REMEMBERED_CHARS = 64

_FIXED64, _BYTES, _FIXED32 = 1, 2, 5
"""Wire types; the varint is 0."""
_LOW_64 = (1 << 64) - 1
_PARENT_KNOWN, _PARENT_REMOTE = 0x100, 0x200
"""`SpanFlags`: whether it is known, and true, that the parent is in another process."""
_pack_64, _pack_double, _pack_32 = (struct.Struct(kind).pack for kind in ("<Q", "<d", "<I"))


def encoded(spans: Sequence[ReadableSpan]) -> bytes:
    """Return an ExportTraceServiceRequest. All spans have one resource and one scope."""
    if not spans:
        return b""
    resource, scope = _around(spans[0].resource, spans[0].instrumentation_scope)
    each = (_field(2, _span(span)) for span in spans)
    return _field(1, resource + _field(2, b"".join((scope, *each))))


@lru_cache(4)
def _around(resource: Resource, scope: InstrumentationScope | None) -> tuple[bytes, bytes]:
    """Return a ResourceSpans without its scopes, and a ScopeSpans without its spans."""
    nothing = SpanContext(1, 1, is_remote=False)
    span = ReadableSpan("", context=nothing, resource=resource, instrumentation_scope=scope)
    outer = encode_spans([span]).resource_spans[0]
    inner = outer.scope_spans[0]
    inner.ClearField("spans")
    found = inner.SerializeToString()
    outer.ClearField("scope_spans")
    return outer.SerializeToString(), found


def _span(span: ReadableSpan) -> bytes:
    own, parent = span.get_span_context() or INVALID_SPAN_CONTEXT, span.parent
    flags = _PARENT_KNOWN
    if parent is not None and parent.is_remote:
        flags |= _PARENT_REMOTE
    return b"".join(
        (
            *(_TRACE, own.trace_id.to_bytes(16, "big"), _ID, own.span_id.to_bytes(8, "big")),
            *((_PARENT, parent.span_id.to_bytes(8, "big")) if parent is not None else ()),
            _named(span.name, span.kind),
            *(_START, _pack_64(span.start_time or 0), _END, _pack_64(span.end_time or 0)),
            *_attributes(9, span.attributes),
            *_dropped(10, span.dropped_attributes),
            *(_field(11, _event(event)) for event in span.events),
            *_dropped(12, span.dropped_events),
            _status(span.status),
            *(_FLAGS, _pack_32(flags)),
        )
    )


def _event(event: Event) -> bytes:
    said = _attributes(3, event.attributes)
    dropped = _dropped(4, event.dropped_attributes)
    return b"".join((_AT, _pack_64(event.timestamp), _text_field(2, event.name), *said, *dropped))


@lru_cache(REMEMBERED)
def _named(name: str, kind: SpanKind) -> bytes:
    return _text_field(5, name) + _number_field(6, kind.value + 1)


def _status(status: Status) -> bytes:
    if status.status_code is StatusCode.UNSET:
        return _STATUS_UNSET
    message = _text_field(2, status.description) if status.description else b""
    return _field(15, message + _number_field(3, status.status_code.value))


def _dropped(number: int, count: int) -> tuple[bytes, ...]:
    return (_number_field(number, count),) if count else ()


# attributes


def _attributes(number: int, said: Attributes) -> Iterator[bytes]:
    """Yield each as a field `number` of what it belongs to."""
    for name, value in (said or {}).items():
        if type(value) is str:
            short = len(value) <= MAX_REMEMBERED_CHARS
            yield _text(number, name, value) if short else _text_pair(number, name, value)
        elif isinstance(value, bool):
            yield _flag(number, name, value)
        elif isinstance(value, int):
            yield _integer(number, name, value)
        elif isinstance(value, float):
            yield _pair(number, name, _DOUBLE + _pack_double(value))
        elif isinstance(value, Sequence):  # of strings: we have no other
            yield _list(number, name, tuple(map(str, value)))


def _text_pair(number: int, name: str, value: str) -> bytes:
    return _pair(number, name, _text_field(1, value))


_text = lru_cache(REMEMBERED)(_text_pair)


@lru_cache(REMEMBERED)
def _flag(number: int, name: str, value: bool) -> bytes:
    return _pair(number, name, _number_field(2, value))


@lru_cache(REMEMBERED)
def _integer(number: int, name: str, value: int) -> bytes:
    return _pair(number, name, _number_field(3, value))


@lru_cache(REMEMBERED)
def _list(number: int, name: str, values: tuple[str, ...]) -> bytes:
    each = (_field(1, _text_field(1, value)) for value in values)
    return _pair(number, name, _field(5, b"".join(each)))


def _pair(number: int, name: str, value: bytes) -> bytes:
    """Return a KeyValue as a field; `value` is the inside of an AnyValue."""
    return _field(number, _text_field(1, name) + _field(2, value))


# the wire


def _field(number: int, inside: bytes) -> bytes:
    return _lead(number, len(inside)) + inside


@lru_cache(REMEMBERED)
def _lead(number: int, length: int) -> bytes:
    return _tag(number, _BYTES) + _varint(length)


def _text_field(number: int, text: str) -> bytes:
    return _field(number, text.encode())


def _number_field(number: int, value: int) -> bytes:
    return _tag(number, 0) + _varint(value & _LOW_64)


def _tag(number: int, wire_type: int) -> bytes:
    return _varint(number << 3 | wire_type)


def _varint(value: int) -> bytes:
    found = bytearray()
    while value > 0x7F:
        found.append(value & 0x7F | 0x80)
        value >>= 7
    found.append(value)
    return bytes(found)


_TRACE, _ID, _PARENT = _lead(1, 16), _lead(2, 8), _lead(4, 8)
_START, _END, _FLAGS = _tag(7, _FIXED64), _tag(8, _FIXED64), _tag(16, _FIXED32)
_AT, _DOUBLE = _tag(1, _FIXED64), _tag(4, _FIXED64)
_STATUS_UNSET = _field(15, b"")
