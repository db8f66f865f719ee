"""Counting: where a series begins, and how a value gets into it."""

from bisect import bisect_left

from tidegate_plugins.metrics import catalogue
from tidegate_plugins.metrics.state import Buckets, Count, Key, State


class CounterSeries:
    """The series of one counter."""

    __slots__ = ("_series", "_state")

    def __init__(self, state: State, counter: catalogue.Counter) -> None:
        self._state = state
        self._series = state.counters[counter.name]

    def at(self, key: Key) -> Count:
        """Return the series of these label values; it begins at 0."""
        count = self._series.get(key)
        if count is None:
            count = self._series[key] = Count(created=self._state.now)
        return count

    def add(self, key: Key, amount: int = 1) -> None:
        """Count."""
        self.at(key).value += amount


class HistogramSeries:
    """The series of one histogram."""

    __slots__ = ("_series", "_size", "_state")

    def __init__(self, state: State, histogram: catalogue.Histogram) -> None:
        self._state = state
        self._series = state.histograms[histogram.name]
        self._size = len(histogram.bounds) + 1

    def at(self, key: Key) -> Buckets:
        """Return the series of these label values; it begins empty."""
        buckets = self._series.get(key)
        if buckets is None:
            created = self._state.now
            buckets = self._series[key] = Buckets([0] * self._size, created=created)
        return buckets


def observe(buckets: Buckets, bounds: tuple[float, ...], value: float) -> int:
    """Count a value; return the place of its bucket."""
    place = bisect_left(bounds, value)
    buckets.counts[place] += 1
    buckets.sum += value
    return place


def observe_traced(
    buckets: Buckets, bounds: tuple[float, ...], value: float, trace: str, at: float
) -> None:
    """Count a value, and point from its bucket to the trace where there is one."""
    place = observe(buckets, bounds, value)
    if trace:
        if not buckets.exemplars:
            buckets.exemplars = [None] * len(buckets.counts)
        buckets.exemplars[place] = (trace, value, at)
