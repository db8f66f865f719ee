"""From aggregates to what Prometheus reads."""

from collections.abc import Callable, Iterator
from itertools import accumulate, repeat

from prometheus_client.metrics_core import CounterMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector
from prometheus_client.samples import Exemplar
from prometheus_client.utils import floatToGoString

from tidegate.plugin import Host
from tidegate_plugins.metrics import catalogue, gauges, state
from tidegate_plugins.metrics.config import MetricsConfig
from tidegate_plugins.metrics.policies import of_policies
from tidegate_plugins.metrics.state import State


class StateCollector(Collector):
    """Shows one copy of the state at each scrape.

    `created` adds since when each series counts, which belongs into OpenMetrics only: the
    older text format would show it as series of its own.
    """

    def __init__(
        self, config: MetricsConfig, host: Host, copy: Callable[[], State], *, created: bool
    ) -> None:
        self._config = config
        self._host = host
        self._copy = copy
        self._created = created

    def collect(self) -> Iterator[Metric]:
        """Yield every metric family."""
        current = self._copy()
        taken = set()
        for family in self._ours(current):
            taken.add(family.name)
            yield family
        workers = gauges.living(current, self._config, self._host.clock.now())
        yield from of_policies(workers, self._config.label_limit, taken)

    def _ours(self, current: State) -> Iterator[Metric]:
        for counter in catalogue.COUNTERS:
            yield _counter(counter, current, created=self._created)
        for histogram in catalogue.HISTOGRAMS:
            yield _histogram(histogram, current, created=self._created)
        yield from gauges.of_state(current, self._config, self._host)
        yield from gauges.of_host(self._host)


def _counter(counter: catalogue.Counter, current: State, *, created: bool) -> Metric:
    family = CounterMetricFamily(counter.name, counter.help, labels=counter.labels)
    unit = counter.per_unit
    for key, count in current.counters[counter.name].items():
        since = count.created or None if created else None
        # An integer over a power of ten is rounded once, here: what is kept is exact.
        value = count.value if unit == 1 else count.value / unit
        family.add_metric(key, value, created=since, exemplar=_exemplar(count.exemplar))
    return family


def _histogram(histogram: catalogue.Histogram, current: State, *, created: bool) -> Metric:
    family = HistogramMetricFamily(histogram.name, histogram.help, labels=histogram.labels)
    bounds = [*map(floatToGoString, histogram.bounds), "+Inf"]
    for key, buckets in current.histograms[histogram.name].items():
        counts = accumulate(buckets.counts)
        points = map(_exemplar, buckets.exemplars or repeat(None, len(bounds)))
        shown = [
            (bound, count, point) if point else (bound, count)
            for bound, count, point in zip(bounds, counts, points, strict=True)
        ]
        family.add_metric(key, shown, buckets.sum)
        if created and buckets.created:
            family.add_sample(
                f"{histogram.name}_created",
                dict(zip(histogram.labels, key, strict=True)),
                buckets.created,
            )
    return family


def _exemplar(exemplar: state.Exemplar | None) -> Exemplar | None:
    if exemplar is None:
        return None
    trace, value, at = exemplar
    return Exemplar({"trace_id": trace}, value, at)
