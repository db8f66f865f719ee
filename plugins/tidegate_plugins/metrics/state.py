"""The aggregates: plain containers that are saved whole and come back whole."""

from bisect import bisect_left

import msgspec

from tidegate.record import Vitals
from tidegate_plugins.metrics import catalogue

Key = tuple[str, ...]
"""Label values, in the order of the metric's labels."""
Exemplar = tuple[str, float, float]
"""Trace id, observed value, seconds since the epoch."""


class Count(msgspec.Struct, array_like=True):
    """One series of a counter."""

    value: int = 0
    exemplar: Exemplar | None = None
    created: float = 0.0
    """Since when it counts, in seconds since the epoch; 0 if nobody knows."""


class Buckets(msgspec.Struct, array_like=True):
    """One series of a histogram. `counts` are not cumulative; the last one has no bound."""

    counts: list[int]
    sum: float = 0.0
    exemplars: list[Exemplar | None] = []
    """Empty, or one place for each count."""
    created: float = 0.0
    """As of a counter."""


class State(msgspec.Struct, omit_defaults=True):
    """Everything that is shown and everything that decides what will be."""

    counters: dict[str, dict[Key, Count]] = {}
    histograms: dict[str, dict[Key, Buckets]] = {}
    bounds: dict[str, tuple[float, ...]] = {}
    """The bounds under which `histograms` were counted."""
    labels: dict[str, dict[str, bool]] = {}
    """Label values that have their place; true where the upstream vouched for it."""
    limits: dict[str, tuple[float, float]] = {}
    """Upstream rate limits, by kind and upstream: when and what the last answer said."""
    vitals: dict[int, Vitals] = {}
    inflight: dict[str, bool] = {}
    """Ids that have left and are not over; true for those that asked for a stream."""
    reloaded: dict[int, tuple[float, bool]] = {}
    """By worker: when it last tried a configuration, and whether it took it."""
    newest: float = 0.0
    """Time of the newest record, in seconds since the epoch."""
    began: float = 0.0
    """When counting began, in seconds since the epoch."""

    @property
    def now(self) -> float:
        """The time of what is being counted, as far as that is known before it is."""
        return max(self.newest, self.began)


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(State)


def freeze(state: State) -> bytes:
    """Return the state as bytes. Fast enough to do it at every flush and every scrape."""
    return _encoder.encode(state)


def thaw(data: bytes) -> State:
    """Return the state that `freeze` made bytes of, in the shape of today's catalogue.

    Raises:
        msgspec.MsgspecError: these are other bytes.
    """
    state = _decoder.decode(data) if data else State()
    for counter in catalogue.COUNTERS:
        series = state.counters.get(counter.name, {})
        state.counters[counter.name] = {_whole(key, counter): series[key] for key in series}
    for histogram in catalogue.HISTOGRAMS:
        _fit(state, histogram)
    return state


def _whole(key: Key, metric: catalogue.Counter | catalogue.Histogram) -> Key:
    """Return a key with all labels of today."""
    missing = len(metric.labels) - len(key)
    return key + metric.before[-missing:] if missing > 0 else key


def _fit(state: State, histogram: catalogue.Histogram) -> None:
    found = state.histograms.get(histogram.name, {})
    series = {_whole(key, histogram): found[key] for key in found}
    state.histograms[histogram.name] = series
    old = state.bounds.get(histogram.name, histogram.bounds)
    state.bounds[histogram.name] = histogram.bounds
    if old != histogram.bounds:
        for buckets in series.values():
            _move(buckets, old, histogram.bounds)


def _move(buckets: Buckets, old: tuple[float, ...], new: tuple[float, ...]) -> None:
    # After an upgrade that changed the bounds: count and sum stay exact, and a value is
    # never shown below its true size.
    counts = [0] * (len(new) + 1)
    for index, count in enumerate(buckets.counts):
        place = bisect_left(new, old[index]) if index < len(old) else len(new)
        counts[place] += count
    buckets.counts = counts
    buckets.exemplars = []
