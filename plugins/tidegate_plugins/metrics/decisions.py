"""What policies decided, found and refused, before a request left and after its answer."""

from tidegate.record import DecisionRecord, ExchangeRecord
from tidegate_plugins.metrics import catalogue
from tidegate_plugins.metrics.labels import OTHER
from tidegate_plugins.metrics.labelset import Labels
from tidegate_plugins.metrics.redacted import VERDICTS
from tidegate_plugins.metrics.series import CounterSeries, HistogramSeries, observe
from tidegate_plugins.metrics.state import Buckets, Count, State

_Raw = tuple[str, str, str, str, str]
_Decided = tuple[Count, Buckets | None]


class Decisions:
    """Counts decisions and findings, and times the former."""

    def __init__(self, state: State, labels: Labels) -> None:
        self._labels = labels
        self._known: dict[_Raw, _Decided] = {}
        self._decisions = CounterSeries(state, catalogue.DECISIONS)
        self._refusals = CounterSeries(state, catalogue.REFUSALS)
        self._plugin = HistogramSeries(state, catalogue.PLUGIN)

    def add(self, decision: DecisionRecord, phase: str) -> None:
        """Count one of `phase`: `admit` or `inspect`."""
        raw = (decision.plugin, decision.rule, decision.verdict, decision.mode, phase)
        count, duration = self._known.get(raw) or self._new(raw)
        count.value += 1
        if duration is not None:
            observe(duration, catalogue.OWN_S, decision.us / 1_000_000)

    def refused(self, record: ExchangeRecord, team: str) -> None:
        """Count whose word it was that an exchange of this team was refused."""
        by = record.refused_by
        if by is not None:
            labels = self._labels
            self._refusals.add((labels.plugin(by.plugin), labels.rule(by.rule), team))

    def _new(self, raw: _Raw) -> _Decided:
        labels = self._labels
        plugin, rule = labels.plugin(raw[0]), labels.rule(raw[1])
        verdict, mode = labels.verdict(raw[2]), labels.mode(raw[3])
        duration = self._plugin.at((plugin, raw[4])) if raw[2] in VERDICTS else None
        decided = self._decisions.at((plugin, rule, verdict, mode, raw[4])), duration
        # Values without a place are looked at each time, so that each is counted as dropped.
        if OTHER not in (plugin, rule, verdict, mode):
            self._known[raw] = decided
        return decided
