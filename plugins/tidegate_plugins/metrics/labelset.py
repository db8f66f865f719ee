"""The labels that hold a free value, opened on a state."""

from collections.abc import Callable

from tidegate_plugins.metrics import catalogue
from tidegate_plugins.metrics.config import MetricsConfig
from tidegate_plugins.metrics.labels import Label, ModelLabel
from tidegate_plugins.metrics.series import CounterSeries
from tidegate_plugins.metrics.state import State


class Labels:
    """One bounded label for each free value of a record."""

    def __init__(self, state: State, config: MetricsConfig) -> None:
        self._state = state
        self._limit = config.label_limit
        self._dropped = CounterSeries(state, catalogue.DROPPED)
        self.model = ModelLabel(*self._places("model"), config.models)
        self.route = self._label("route")
        self.team = self._label("team")
        self.outcome = self._label("outcome")
        self.status = self._label("status")
        self.plugin = self._label("plugin")
        self.rule = self._label("rule")
        self.verdict = self._label("verdict")
        self.mode = self._label("mode")
        self.stop_reason = self._label("stop_reason")
        self.error_type = self._label("error_type")
        self.reason = self._label("reason")
        self.limit = self._label("limit")
        self.upstream = self._label("upstream")

    def _label(self, name: str) -> Label:
        return Label(*self._places(name))

    def _places(self, name: str) -> tuple[dict[str, bool], int, Callable[[], None]]:
        key = (name,)
        self._dropped.at(key)
        known = self._state.labels.setdefault(name, {})
        return known, self._limit, lambda: self._dropped.add(key)
