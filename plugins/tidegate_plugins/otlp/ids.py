"""Where a record stands in its trace, and when: the same for its spans and its log record."""

from hashlib import blake2b

from opentelemetry.trace import SpanContext, TraceFlags

from tidegate.record import ExchangeRecord, TraceRecord


def context(trace: TraceRecord, span_id: str, *, remote: bool) -> SpanContext:
    """Return the context of a span of this trace."""
    # Flagged as sampled whatever the caller's flag said: it is on its way to the collector.
    return SpanContext(
        int(trace.trace_id, 16),
        int(span_id, 16),
        is_remote=remote,
        trace_flags=TraceFlags(trace.flags | TraceFlags.SAMPLED),
    )


def child_id(exchange: str, role: str) -> str:
    """Return the id of a span within an exchange: always the same for the same role."""
    return blake2b(role.encode(), digest_size=8, key=exchange.encode()[:64]).hexdigest()


def at(record: ExchangeRecord, ms: float) -> int:
    """Return a moment of an exchange, in nanoseconds since the epoch."""
    return round(record.at * 1_000_000_000) + round(ms * 1_000_000)
