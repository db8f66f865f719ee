"""From exchange records to aggregates.

Most exchanges resemble one before: same route, model, team and end. Such a *lane* keeps
the series its exchanges are counted in, so that counting is a handful of additions.
"""

from dataclasses import dataclass

from tidegate.record import ExchangeRecord, Inspection, ShadowDifference
from tidegate_plugins.metrics import catalogue
from tidegate_plugins.metrics.config import MetricsConfig
from tidegate_plugins.metrics.decisions import Decisions
from tidegate_plugins.metrics.labels import NONE, OTHER
from tidegate_plugins.metrics.labelset import Labels
from tidegate_plugins.metrics.redacted import Redacted
from tidegate_plugins.metrics.series import CounterSeries, HistogramSeries, observe, observe_traced
from tidegate_plugins.metrics.state import Buckets, Count, State
from tidegate_plugins.metrics.upstream import Upstream
from tidegate_plugins.metrics.usage import MAX_TOKENS, Pricing, Used

UNTIMED_ROUTES = frozenset({"probe", "options", "none"})
"""Answered here and at once: their durations would say nothing of the traffic."""

_Raw = tuple[str, str | None, bool, str | None, bool, str, int | None]


@dataclass(slots=True)
class Lane:
    """Exchanges that are counted in the same series. Those come to be when needed."""

    model: str
    team: str
    route: str
    outcome: str
    requests: Count
    duration: Buckets | None = None
    request_bytes: Buckets | None = None
    response_bytes: Buckets | None = None
    first_token: Buckets | None = None
    per_token: Buckets | None = None
    longest_gap: Buckets | None = None


class Exchanges:
    """Counts exchange records into a state."""

    def __init__(self, state: State, config: MetricsConfig, pricing: Pricing) -> None:
        self._inflight = state.inflight
        self._labels = Labels(state, config)
        self._shadow = CounterSeries(state, catalogue.SHADOW)
        self._decisions = Decisions(state, self._labels)
        self._redacted = Redacted(state, self._labels, config)
        self._upstream = Upstream(state, self._labels)
        self._used = Used(state, self._labels, pricing)
        self._lanes: dict[_Raw, Lane] = {}
        self._requests = CounterSeries(state, catalogue.REQUESTS)
        self._duration = HistogramSeries(state, catalogue.DURATION)
        self._first_token = HistogramSeries(state, catalogue.FIRST_TOKEN)
        self._per_token = HistogramSeries(state, catalogue.PER_TOKEN)
        self._longest_gap = HistogramSeries(state, catalogue.LONGEST_GAP)
        self._request_bytes = HistogramSeries(state, catalogue.REQUEST_BYTES)
        self._response_bytes = HistogramSeries(state, catalogue.RESPONSE_BYTES)
        overhead = HistogramSeries(state, catalogue.OVERHEAD)
        self._overhead_total = overhead.at(("total",))
        self._overhead_request = overhead.at(("request",))
        self._overhead_response = overhead.at(("response",))

    def add(self, record: ExchangeRecord) -> None:
        """Count one exchange."""
        self._inflight.pop(record.id, None)
        lane = self._lane(record)
        trace = record.trace.trace_id if record.trace else ""
        lane.requests.value += 1
        if trace:
            lane.requests.exemplar = (trace, 1.0, record.at)
        # Where recovery closed it, nobody knows how long it took.
        if lane.duration is not None and record.timing_ms.total:
            self._timing(record, lane, lane.duration, trace)
        for decision in record.decisions:
            self._decisions.add(decision, "admit")
        self._decisions.refused(record, lane.team)
        self._redacted.add(record)
        self._upstream.add(record, lane.model, lane.outcome)
        self._used.add(record, lane.model, lane.team)

    def add_shadow(self, record: ShadowDifference) -> None:
        """Count what the second configuration would have decided otherwise."""
        live, candidate = record.live, record.candidate
        if record.what in ("changed", "identity"):
            live = candidate = "leaves"  # what differs there are values, too many for labels
        rule = self._labels.rule
        self._shadow.add((record.what, rule(live), rule(candidate)))

    def add_inspection(self, record: Inspection) -> None:
        """Count what policies found in an answer."""
        for decision in record.decisions:
            self._decisions.add(decision, "inspect")
        self._redacted.add_inspection(record)

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
        requests = self._requests.at((route, model, team, stream, outcome, status))
        lane = Lane(model, team, route, outcome, requests)
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
        gap = record.timing_ms.longest_gap
        if gap is not None:
            if lane.longest_gap is None:
                lane.longest_gap = self._longest_gap.at((lane.model,))
            observe_traced(lane.longest_gap, catalogue.GAP_S, gap / 1000, trace, record.at)
        usage, last = record.usage, record.timing_ms.last_byte
        if usage is None or last is None or record.outcome != "complete":
            return
        if not 2 <= usage.output <= MAX_TOKENS:
            return
        if lane.per_token is None:
            lane.per_token = self._per_token.at((lane.model,))
        seconds = max(0.0, last - first) / 1000 / (usage.output - 1)
        observe(lane.per_token, catalogue.PER_TOKEN_S, seconds)
