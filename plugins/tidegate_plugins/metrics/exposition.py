"""From aggregates to what Prometheus reads."""

from collections.abc import Callable, Iterable, Iterator
from itertools import accumulate, repeat

from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector
from prometheus_client.samples import Exemplar
from prometheus_client.utils import floatToGoString

from tidegate.plugin import Host
from tidegate.record import Vitals
from tidegate_plugins.metrics import catalogue, state
from tidegate_plugins.metrics.config import MetricsConfig
from tidegate_plugins.metrics.state import State

_VITALS: tuple[tuple[str, str, Callable[[Vitals], float]], ...] = (
    (
        "tidegate_event_loop_lag_seconds",
        "Worst lateness of a worker's timers over the last few seconds.",
        lambda vitals: vitals.loop_lag_ms / 1000,
    ),
    (
        "tidegate_worker_resident_memory_bytes",
        "Resident memory of a worker.",
        lambda vitals: vitals.rss_bytes,
    ),
    (
        "tidegate_worker_inflight_requests",
        "Exchanges that a worker has in hand, admitted or not.",
        lambda vitals: vitals.inflight,
    ),
    (
        "tidegate_worker_last_seen_timestamp_seconds",
        "When a worker last wrote how it is.",
        lambda vitals: vitals.at,
    ),
    (
        "tidegate_journal_pending_records",
        "Records that a worker could not write yet.",
        lambda vitals: vitals.journal_pending,
    ),
)
_SUFFIXES = {
    "remaining": "What the newest answer said is left until the upstream's limit resets.",
    "limit": "The upstream's limit, as of the newest answer.",
}


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
        for counter in catalogue.COUNTERS:
            yield _counter(counter, current, created=self._created)
        for histogram in catalogue.HISTOGRAMS:
            yield _histogram(histogram, current, created=self._created)
        yield from _progress(current)
        yield from self._workers(current)
        yield from self._limits(current)
        yield self._build()

    def _workers(self, current: State) -> Iterator[Metric]:
        since = self._host.clock.now() - self._config.worker_stale_s
        workers = sorted((worker, v) for worker, v in current.vitals.items() if v.at >= since)
        for name, text, value in _VITALS:
            yield _gauge(name, text, ("worker",), (((str(w),), value(v)) for w, v in workers))
        connections = GaugeMetricFamily(
            "tidegate_upstream_connections",
            "Connections to the upstream.",
            labels=("worker", "state"),
        )
        configs = GaugeMetricFamily(
            "tidegate_config_info",
            "Digest of the configuration in use.",
            labels=("worker", "config"),
        )
        digest = dict(self._host.info).get("config")
        if digest is not None:
            configs.add_metric(("observatory", digest), 1)
        for worker, vitals in workers:
            connections.add_metric((str(worker), "idle"), vitals.upstream_idle)
            connections.add_metric((str(worker), "open"), vitals.upstream_open)
            configs.add_metric((str(worker), vitals.config), 1)
        yield connections
        yield configs
        yield from _reloads(current)

    def _limits(self, current: State) -> Iterator[Metric]:
        since = self._host.clock.now() - self._config.ratelimit_stale_s
        fresh = {key: value for key, (at, value) in current.limits.items() if at >= since}
        for suffix, text in _SUFFIXES.items():
            values = (
                ((key.removesuffix(f"-{suffix}"),), value)
                for key, value in sorted(fresh.items())
                if key.endswith(f"-{suffix}")
            )
            yield _gauge(f"tidegate_upstream_ratelimit_{suffix}", text, ("limit",), values)

    def _build(self) -> Metric:
        info = {name: value for name, value in self._host.info if name != "config"}
        return _gauge(
            "tidegate_build_info",
            "What runs here; always 1.",
            tuple(info),
            [(tuple(info.values()), 1)],
        )


def _progress(current: State) -> Iterator[Metric]:
    yield _gauge(
        "tidegate_inflight_requests",
        "Exchanges that have left towards the upstream and are not over.",
        (),
        [((), len(current.open))],
    )
    yield _gauge(
        "tidegate_open_streams",
        "Those of them that asked for a stream.",
        (),
        [((), len(current.open_streams))],
    )
    yield _gauge(
        "tidegate_observer_newest_record_timestamp_seconds",
        "Time of the newest journal record counted here.",
        (),
        [((), current.newest)],
    )


def _reloads(current: State) -> Iterator[Metric]:
    tried = sorted(current.reloaded.items())
    yield _gauge(
        "tidegate_config_last_reload_successful",
        "Whether a worker took the newest configuration that it was given.",
        ("worker",),
        (((str(worker),), float(took)) for worker, (_, took) in tried),
    )
    yield _gauge(
        "tidegate_config_last_reload_timestamp_seconds",
        "When that was known; a start counts.",
        ("worker",),
        (((str(worker),), at) for worker, (at, _) in tried),
    )


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


def _gauge(
    name: str,
    text: str,
    labels: tuple[str, ...],
    values: Iterable[tuple[tuple[str, ...], float]],
) -> Metric:
    family = GaugeMetricFamily(name, text, labels=labels)
    for key, value in values:
        family.add_metric(key, value)
    return family
