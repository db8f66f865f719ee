"""What the upstream answered, how long it took, and what it still allows."""

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
        error_type = NONE
        if record.outcome in FAILURES:
            error_type = self._labels.error_type(record.error_type or record.outcome)
            self._errors.add((model, error_type))
        if record.stop_reason:
            self._stop_reasons.add((model, self._labels.stop_reason(record.stop_reason)))
        if record.dispatched:
            self._dispatched(record, model, outcome, error_type)
        if record.upstream_limits:
            self._upstream_limits(record.upstream_limits, record.at)

    def _dispatched(
        self, record: ExchangeRecord, model: str, outcome: str, error_type: str
    ) -> None:
        timing = record.timing_ms
        if record.stream:
            self._streams.add((model, outcome))
        if timing.upstream_head is not None:
            status = self._labels.status(str(record.status or NONE))
            self._responses.add((model, status))
        if timing.dispatched is not None and timing.total:
            took = (timing.last_byte or timing.total) - timing.dispatched
            buckets = self._duration.at((model, "true" if record.stream else "false", error_type))
            observe(buckets, catalogue.DURATION_S, max(0.0, took) / 1000)
        if timing.connect is not None:
            observe(self._connect, catalogue.OWN_S, timing.connect / 1000)

    def _upstream_limits(self, limits: dict[str, str], at: float) -> None:
        for header, text in limits.items():
            key = self._limit_keys.get(header) or self._limit_key(header)
            if key and text.isdecimal() and self._limits.get(key, (0.0, 0.0))[0] <= at:
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
