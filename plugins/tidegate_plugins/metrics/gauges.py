"""What is shown as it is now: workers, limits, observers, the journal, the build."""

import contextlib
from collections.abc import Callable, Iterator, Sequence

from prometheus_client.metrics_core import Metric

from tidegate.plugin import Host, JournalState, ObserverLag
from tidegate.record import Vitals
from tidegate_plugins.metrics.config import MetricsConfig
from tidegate_plugins.metrics.family import counted, gauge
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
_LIMITS = {
    "remaining": "What the newest answer said is left until the upstream's limit resets.",
    "limit": "The upstream's limit, as of the newest answer.",
}
_LAGS: tuple[tuple[str, str, Callable[[ObserverLag], float]], ...] = (
    (
        "tidegate_observer_lag_bytes",
        "Bytes of the journal that an observer has not read yet.",
        lambda lag: lag.bytes,
    ),
    (
        "tidegate_observer_unsafe_records",
        "Records that an observer has read and not made safe yet.",
        lambda lag: lag.records,
    ),
    (
        "tidegate_observer_lag_seconds",
        "Since when an observer has not had everything safe; 0 if it has now.",
        lambda lag: lag.seconds,
    ),
)
_SIZES: tuple[tuple[str, str, Callable[[JournalState], int]], ...] = (
    ("tidegate_journal_bytes", "Size of the journal.", lambda size: size.bytes),
    ("tidegate_journal_segments", "Segments of the journal.", lambda size: size.segments),
)
_REMOVED: tuple[tuple[str, str, Callable[[JournalState], int]], ...] = (
    (
        "tidegate_journal_removed_segments_total",
        "Segments that retention has removed.",
        lambda size: size.removed_segments,
    ),
    (
        "tidegate_journal_removed_records_total",
        "Records that retention has removed.",
        lambda size: size.removed_records,
    ),
)


def of_state(current: State, config: MetricsConfig, host: Host) -> Iterator[Metric]:
    """Yield what the journal told last."""
    now = host.clock.now()
    yield from _progress(current)
    workers = living(current, config, now)
    for name, text, value in _VITALS:
        yield gauge(name, text, ("worker",), (((str(w),), value(v)) for w, v in workers))
    yield gauge(
        "tidegate_upstream_connections",
        "Connections to the upstream.",
        ("worker", "state"),
        (
            ((str(worker), state), count)
            for worker, vitals in workers
            for state, count in (("idle", vitals.upstream_idle), ("open", vitals.upstream_open))
        ),
    )
    yield _configs(host, {str(worker): vitals.config for worker, vitals in workers})
    yield from _reloads(current)
    yield from _limits(current, now - config.ratelimit_stale_s)


def living(current: State, config: MetricsConfig, now: float) -> list[tuple[int, Vitals]]:
    """Return the workers that have written lately, and how they are."""
    since = now - config.worker_stale_s
    return sorted((worker, v) for worker, v in current.vitals.items() if v.at >= since)


def of_host(host: Host) -> Iterator[Metric]:
    """Yield what the host says when it is asked: observers, the journal's size, the build."""
    lags: Sequence[ObserverLag] = ()
    sizes: Sequence[JournalState] = ()
    with contextlib.suppress(OSError):  # the disk is gone; what was counted still shows
        lags, sizes = host.lags(), [host.journal()]
    for name, text, value in _LAGS:
        yield gauge(name, text, ("observer",), (((lag.observer,), value(lag)) for lag in lags))
    yield counted(
        "tidegate_observer_lost_records_total",
        "Records that were removed before an observer had read them.",
        ("observer",),
        (((lag.observer,), lag.lost_records) for lag in lags),
    )
    yield from _journal(sizes)
    yield gauge(
        "tidegate_plugin_loaded",
        "The plugins of the configuration in use; always 1.",
        ("plugin", "use", "stage", "mode", "version"),
        (((p.name, p.use, p.stage, p.mode, p.version), 1) for p in host.plugins()),
    )
    info = dict(host.info)
    labels, values = tuple(info), tuple(info.values())
    yield gauge("tidegate_build_info", "What runs here; always 1.", labels, [(values, 1)])


def _progress(current: State) -> Iterator[Metric]:
    yield gauge(
        "tidegate_inflight_requests",
        "Exchanges that have left towards the upstream and are not over.",
        (),
        [((), len(current.inflight))],
    )
    yield gauge(
        "tidegate_open_streams",
        "Those of them that asked for a stream.",
        (),
        [((), sum(current.inflight.values()))],
    )
    yield gauge(
        "tidegate_observer_newest_record_timestamp_seconds",
        "Time of the newest journal record counted here.",
        (),
        [((), current.newest)],
    )


def _configs(host: Host, workers: dict[str, str]) -> Metric:
    used = {"observatory": host.digest()}
    return gauge(
        "tidegate_config_info",
        "Digest of the configuration in use.",
        ("worker", "config"),
        (((worker, digest), 1) for worker, digest in (used | workers).items()),
    )


def _reloads(current: State) -> Iterator[Metric]:
    tried = sorted(current.reloaded.items())
    yield gauge(
        "tidegate_config_last_reload_successful",
        "Whether a worker took the newest configuration that it was given.",
        ("worker",),
        (((str(worker),), float(took)) for worker, (_, took) in tried),
    )
    yield gauge(
        "tidegate_config_last_reload_timestamp_seconds",
        "When that was known; a start counts.",
        ("worker",),
        (((str(worker),), at) for worker, (at, _) in tried),
    )


def _limits(current: State, since: float) -> Iterator[Metric]:
    fresh = {key: value for key, (at, value) in current.limits.items() if at >= since}
    for suffix, text in _LIMITS.items():
        found = []
        for key, value in sorted(fresh.items()):
            kind, _, upstream = key.partition(" ")
            if kind.endswith(f"-{suffix}"):
                found.append(((kind.removesuffix(f"-{suffix}"), upstream or "default"), value))
        yield gauge(f"tidegate_upstream_ratelimit_{suffix}", text, ("limit", "upstream"), found)


def _journal(sizes: Sequence[JournalState]) -> Iterator[Metric]:
    for name, text, value in _SIZES:
        yield gauge(name, text, (), (((), value(size)) for size in sizes))
    for name, text, value in _REMOVED:
        yield counted(name, text, (), (((), value(size)) for size in sizes))
