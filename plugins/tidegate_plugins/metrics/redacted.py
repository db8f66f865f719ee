"""What redactors did: masked, blocked, or only saw; how long it took, over how much."""

from tidegate.record import DecisionRecord, ExchangeRecord
from tidegate_plugins.metrics import catalogue
from tidegate_plugins.metrics.config import MetricsConfig
from tidegate_plugins.metrics.labelset import Labels
from tidegate_plugins.metrics.series import CounterSeries, HistogramSeries, observe
from tidegate_plugins.metrics.state import State

VERDICTS = frozenset({"admit", "edit", "answer", "refuse", "error", "timeout"})
"""What the host writes once per policy and request. Any other word is a finding."""
FAILED = frozenset({"error", "timeout"})
NOT_EVALUATED = "not_evaluated"
"""A redactor's word for a body that it could not search in time."""


class Redacted:
    """Counts the decisions, findings and edits of redactors."""

    def __init__(self, state: State, labels: Labels, config: MetricsConfig) -> None:
        self._labels = labels
        self._redactors = frozenset(config.redactors)
        self._redactions = CounterSeries(state, catalogue.REDACTIONS)
        self._bytes = CounterSeries(state, catalogue.REDACT_BYTES)
        self._seconds = HistogramSeries(state, catalogue.REDACT)

    def add(self, record: ExchangeRecord) -> None:
        """Count one exchange."""
        for edit in record.edits:
            if edit.plugin in self._redactors:
                self._count(edit.rule, "mask")
        decisions = [one for one in record.decisions if one.plugin in self._redactors]
        unknown = {one.plugin for one in decisions if one.verdict == NOT_EVALUATED}
        for decision in decisions:
            if decision.verdict in VERDICTS:
                self._decided(decision, record, searched=decision.plugin not in unknown)
            else:
                self._found(decision)

    def _decided(self, decision: DecisionRecord, record: ExchangeRecord, *, searched: bool) -> None:
        plugin = self._labels.plugin(decision.plugin)
        verdict = decision.verdict if searched else NOT_EVALUATED
        buckets = self._seconds.at((plugin, self._labels.verdict(verdict)))
        observe(buckets, catalogue.OWN_S, decision.us / 1_000_000)
        if searched and verdict not in FAILED:
            self._bytes.add((plugin,), record.bytes.request_in)

    def _found(self, decision: DecisionRecord) -> None:
        if decision.verdict == "found":
            self._count(decision.rule, "detect")
        elif decision.verdict == "blocked" and decision.mode == "enforce":
            self._count(decision.rule, "block")

    def _count(self, rule: str, action: str) -> None:
        self._redactions.add((self._labels.rule(rule), action))
