"""What redactors did: masked, blocked, or only saw; how long it took, over how much."""

from collections.abc import Sequence

from tidegate.record import DecisionRecord, ExchangeRecord, Inspection
from tidegate_plugins.metrics import catalogue
from tidegate_plugins.metrics.config import MetricsConfig
from tidegate_plugins.metrics.labelset import Labels
from tidegate_plugins.metrics.series import CounterSeries, HistogramSeries, observe
from tidegate_plugins.metrics.state import State

VERDICTS = frozenset({"admit", "edit", "answer", "refuse", "error", "timeout", "inspect"})
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
        """Count what was done to one request."""
        for edit in record.edits:
            if edit.plugin in self._redactors:
                self._count(edit.rule, "mask", "request", edit.count)
        self._searched(record.decisions, record.bytes.request_in, "request")

    def add_inspection(self, record: Inspection) -> None:
        """Count what was found in one answer."""
        self._searched(record.decisions, record.bytes, "response")

    def _searched(self, found: Sequence[DecisionRecord], size: int, direction: str) -> None:
        decisions = [one for one in found if one.plugin in self._redactors]
        unknown = {one.plugin for one in decisions if one.verdict == NOT_EVALUATED}
        for decision in decisions:
            if decision.verdict not in VERDICTS:
                self._found(decision, direction)
            elif decision.plugin in unknown:
                self._timed(decision, NOT_EVALUATED)
            else:
                self._timed(decision, decision.verdict)
                if decision.verdict not in FAILED:
                    self._bytes.add((self._labels.plugin(decision.plugin), direction), size)

    def _timed(self, decision: DecisionRecord, verdict: str) -> None:
        key = (self._labels.plugin(decision.plugin), self._labels.verdict(verdict))
        observe(self._seconds.at(key), catalogue.OWN_S, decision.us / 1_000_000)

    def _found(self, decision: DecisionRecord, direction: str) -> None:
        if decision.verdict == "found":
            self._count(decision.rule, "detect", direction)
        elif decision.verdict == "blocked" and decision.mode == "enforce":
            self._count(decision.rule, "block", direction)

    def _count(self, rule: str, action: str, direction: str, count: int = 1) -> None:
        self._redactions.add((self._labels.rule(rule), action, direction), count)
