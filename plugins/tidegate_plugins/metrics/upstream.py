"""What upstreams answered, how long they took, and what they still allow."""

from tidegate.record import ExchangeRecord
from tidegate_plugins.metrics import catalogue
from tidegate_plugins.metrics.labels import NONE, OTHER
from tidegate_plugins.metrics.labelset import Labels
from tidegate_plugins.metrics.series import CounterSeries, HistogramSeries, observe
from tidegate_plugins.metrics.state import State

FAILURES = frozenset(
    {"upstream_error", "upstream_error_event", "upstream_cut", "upstream_timeout", "unreachable"}
)
_LIMITS = ("-remaining", "-limit")


class Upstream:
    """Counts the upstream's side of exchanges."""

    def __init__(self, state: State, labels: Labels) -> None:
        self._labels = labels
        self._limits = state.limits
        self._limit_keys: dict[str, str] = {}
        self._responses = CounterSeries(state, catalogue.UPSTREAM_RESPONSES)
        self._errors = CounterSeries(state, catalogue.UPSTREAM_ERRORS)
        self._streams = CounterSeries(state, catalogue.STREAMS)
        self._stop_reasons = CounterSeries(state, catalogue.STOP_REASONS)
        self._duration = HistogramSeries(state, catalogue.UPSTREAM_DURATION)
        self._connect = HistogramSeries(state, catalogue.CONNECT).at(())

    def add(self, record: ExchangeRecord, model: str, outcome: str) -> None:
        """Count one exchange, under these values of the labels."""
        error_type, upstream = NONE, self._labels.upstream(record.upstream)
        if record.outcome in FAILURES:
            error_type = self._labels.error_type(record.error_type or record.outcome)
            self._errors.add((model, error_type, upstream))
        if record.stop_reason:
            self._stop_reasons.add((model, self._labels.stop_reason(record.stop_reason)))
        if record.dispatched:
            if record.stream:
                self._streams.add((model, outcome))
            self._dispatched(record, model, error_type, upstream)
        if record.upstream_limits:
            self._upstream_limits(record.upstream_limits, record.at, upstream)

    def _dispatched(
        self, record: ExchangeRecord, model: str, error_type: str, upstream: str
    ) -> None:
        timing = record.timing_ms
        if timing.upstream_head is not None:
            status = self._labels.status(str(record.status or NONE))
            self._responses.add((model, status, upstream))
        if timing.dispatched is not None and timing.total:
            took = (timing.last_byte or timing.total) - timing.dispatched
            stream = "true" if record.stream else "false"
            buckets = self._duration.at((model, stream, error_type, upstream))
            observe(buckets, catalogue.DURATION_S, max(0.0, took) / 1000)
        if timing.connect is not None:
            observe(self._connect, catalogue.OWN_S, timing.connect / 1000)

    def _upstream_limits(self, limits: dict[str, str], at: float, upstream: str) -> None:
        for header, text in limits.items():
            kind = self._limit_keys.get(header) or self._limit_key(header)
            key = f"{kind} {upstream}"
            if kind and text.isdecimal() and self._limits.get(key, (0.0, 0.0))[0] <= at:
                self._limits[key] = (at, float(text))

    def _limit_key(self, header: str) -> str:
        name = header.lower().removeprefix("anthropic-ratelimit-")
        if not name.endswith(_LIMITS):
            return ""
        kind, _, suffix = name.rpartition("-")
        label = self._labels.limit(kind)
        if label != OTHER:
            self._limit_keys[header] = f"{label}-{suffix}"
        return f"{label}-{suffix}"
