"""From exchange records to aggregates.

Most exchanges resemble one before: same route, model, team and end. Such a *lane* keeps
the series its exchanges are counted in, so that counting is a handful of additions.
"""

from dataclasses import dataclass

from tidegate.record import DecisionRecord, ExchangeRecord, Usage
from tidegate_plugins.metrics import catalogue
from tidegate_plugins.metrics.config import MetricsConfig
from tidegate_plugins.metrics.labels import NONE, OTHER
from tidegate_plugins.metrics.labelset import Labels
from tidegate_plugins.metrics.redacted import VERDICTS, Redacted
from tidegate_plugins.metrics.series import CounterSeries, HistogramSeries, observe, observe_traced
from tidegate_plugins.metrics.state import Buckets, Count, State

UNTIMED_ROUTES = frozenset({"probe", "options", "none"})
"""Answered here and at once: their durations would say nothing of the traffic."""
UPSTREAM_OUTCOMES = frozenset(
    {"upstream_error", "upstream_error_event", "upstream_cut", "upstream_timeout", "unreachable"}
)
TOKEN_TYPES = ("input", "cache_read", "cache_write_5m", "cache_write_1h", "output")
MAX_TOKENS = 2**40
"""No answer has more. What an upstream says must not make a counter fall or overflow."""
_LIMITS = ("-remaining", "-limit")

_Raw = tuple[str, str | None, bool, str | None, bool, str, int | None]
_Decided = tuple[Count, Buckets | None]


@dataclass(slots=True)
class Lane:
    """Exchanges that are counted in the same series. Those come to be when needed."""

    model: str
    team: str
    route: str
    requests: Count
    duration: Buckets | None = None
    request_bytes: Buckets | None = None
    response_bytes: Buckets | None = None
    first_token: Buckets | None = None
    per_token: Buckets | None = None
    tokens: tuple[Count, ...] = ()


class Exchanges:
    """Counts exchange records into a state."""

    def __init__(self, state: State, config: MetricsConfig) -> None:
        self._open = state.open
        self._limits = state.limits
        self._labels = Labels(state, config)
        self._redacted = Redacted(state, self._labels, config)
        self._lanes: dict[_Raw, Lane] = {}
        self._limit_keys: dict[str, str] = {}
        self._decided: dict[tuple[str, str, str, str], _Decided] = {}
        self._requests = CounterSeries(state, catalogue.REQUESTS)
        self._tokens = CounterSeries(state, catalogue.TOKENS)
        self._reasoning = CounterSeries(state, catalogue.REASONING)
        self._decisions = CounterSeries(state, catalogue.DECISIONS)
        self._stop_reasons = CounterSeries(state, catalogue.STOP_REASONS)
        self._upstream_errors = CounterSeries(state, catalogue.UPSTREAM_ERRORS)
        self._unparsed = CounterSeries(state, catalogue.UNPARSED)
        self._duration = HistogramSeries(state, catalogue.DURATION)
        self._first_token = HistogramSeries(state, catalogue.FIRST_TOKEN)
        self._per_token = HistogramSeries(state, catalogue.PER_TOKEN)
        self._plugin = HistogramSeries(state, catalogue.PLUGIN)
        self._request_bytes = HistogramSeries(state, catalogue.REQUEST_BYTES)
        self._response_bytes = HistogramSeries(state, catalogue.RESPONSE_BYTES)
        overhead = HistogramSeries(state, catalogue.OVERHEAD)
        self._overhead_total = overhead.at(("total",))
        self._overhead_request = overhead.at(("request",))
        self._overhead_response = overhead.at(("response",))

    def add(self, record: ExchangeRecord) -> None:
        """Count one exchange."""
        self._open.discard(record.id)
        lane = self._lane(record)
        trace = record.trace.trace_id if record.trace else ""
        lane.requests.value += 1
        if trace:
            lane.requests.exemplar = (trace, 1.0, record.at)
        # Where recovery closed it, nobody knows how long it took.
        if lane.duration is not None and record.timing_ms.total:
            self._timing(record, lane, lane.duration, trace)
        if record.usage is not None:
            self._usage(record.usage, lane)
        for decision in record.decisions:
            self._decision(decision)
        self._redacted.add(record)
        self._ending(record, lane.model)

    def _lane(self, record: ExchangeRecord) -> Lane:
        model, team = record.model, record.principal.team
        name, proven = model.sent or model.asked, model.answered is not None
        raw = (record.route, name, proven, team, record.stream, record.outcome, record.status)
        return self._lanes.get(raw) or self._new_lane(raw)

    def _new_lane(self, raw: _Raw) -> Lane:
        labels = self._labels
        route, model = labels.route(raw[0]), labels.model(raw[1], proven=raw[2])
        team, stream = labels.team(raw[3]), "true" if raw[4] else "false"
        outcome, status = labels.outcome(raw[5]), labels.status(str(raw[6] or NONE))
        lane = Lane(
            model, team, route, self._requests.at((route, model, team, stream, outcome, status))
        )
        if raw[0] not in UNTIMED_ROUTES:
            lane.duration = self._duration.at((route, model, stream, outcome))
        # Values without a place are looked at each time, so that each is counted as dropped.
        if OTHER not in (route, model, team, outcome, status):
            self._lanes[raw] = lane
        return lane

    def _timing(self, record: ExchangeRecord, lane: Lane, duration: Buckets, trace: str) -> None:
        timing, size = record.timing_ms, record.bytes
        observe_traced(duration, catalogue.DURATION_S, timing.total / 1000, trace, record.at)
        observe(self._overhead_total, catalogue.OWN_S, timing.overhead / 1000)
        observe(self._overhead_request, catalogue.OWN_S, timing.overhead_request / 1000)
        if lane.request_bytes is None:
            lane.request_bytes = self._request_bytes.at((lane.route,))
        observe(lane.request_bytes, catalogue.BODY_BYTES, size.request_in)
        if timing.first_byte is not None:
            observe(self._overhead_response, catalogue.OWN_S, timing.overhead_response / 1000)
            if lane.response_bytes is None:
                lane.response_bytes = self._response_bytes.at((lane.route,))
            observe(lane.response_bytes, catalogue.BODY_BYTES, size.response)
        if timing.first_token is not None:
            self._tokens_timing(record, lane, timing.first_token, trace)

    def _tokens_timing(self, record: ExchangeRecord, lane: Lane, first: float, trace: str) -> None:
        if lane.first_token is None:
            lane.first_token = self._first_token.at((lane.model,))
        observe_traced(lane.first_token, catalogue.FIRST_TOKEN_S, first / 1000, trace, record.at)
        usage, last = record.usage, record.timing_ms.last_byte
        if usage is None or last is None or record.outcome != "complete":
            return
        if not 2 <= usage.output <= MAX_TOKENS:
            return
        if lane.per_token is None:
            lane.per_token = self._per_token.at((lane.model,))
        seconds = max(0.0, last - first) / 1000 / (usage.output - 1)
        observe(lane.per_token, catalogue.PER_TOKEN_S, seconds)

    def _usage(self, usage: Usage, lane: Lane) -> None:
        if not lane.tokens:
            types = tuple(self._tokens.at((lane.model, lane.team, type_)) for type_ in TOKEN_TYPES)
            lane.tokens = (*types, self._reasoning.at((lane.model, lane.team)))
        amounts = (
            *(usage.input, usage.cache_read, usage.cache_write_5m, usage.cache_write_1h),
            *(usage.output, usage.thinking),
        )
        if min(amounts) < 0 or max(amounts) > MAX_TOKENS:
            self._unparsed.add(("implausible",))
            return
        for series, amount in zip(lane.tokens, amounts, strict=True):
            series.value += amount

    def _decision(self, decision: DecisionRecord) -> None:
        raw = (decision.plugin, decision.rule, decision.verdict, decision.mode)
        count, duration = self._decided.get(raw) or self._new_decision(raw)
        count.value += 1
        if duration is not None:
            observe(duration, catalogue.OWN_S, decision.us / 1_000_000)

    def _new_decision(self, raw: tuple[str, str, str, str]) -> _Decided:
        labels = self._labels
        plugin, rule = labels.plugin(raw[0]), labels.rule(raw[1])
        verdict, mode = labels.verdict(raw[2]), labels.mode(raw[3])
        duration = self._plugin.at((plugin,)) if raw[2] in VERDICTS else None
        decided = self._decisions.at((plugin, rule, verdict, mode)), duration
        if OTHER not in (plugin, rule, verdict, mode):
            self._decided[raw] = decided
        return decided

    def _ending(self, record: ExchangeRecord, model: str) -> None:
        if record.stop_reason:
            self._stop_reasons.add((model, self._labels.stop_reason(record.stop_reason)))
        if record.outcome in UPSTREAM_OUTCOMES:
            error_type = self._labels.error_type(record.error_type or record.outcome)
            self._upstream_errors.add((model, error_type))
        if record.meter:
            self._unparsed.add((self._labels.reason(record.meter),))
        if record.upstream_limits:
            self._upstream_limits(record.upstream_limits, record.at)

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
