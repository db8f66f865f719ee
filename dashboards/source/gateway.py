"""6: the gateway itself."""

from grafana_foundation_sdk.builders.dashboard import Dashboard

from source.page import Row, page
from source.panels import Column, Query, lines, stat, table
from source.queries import grown, highest, of, rate, total

LAG = "tidegate_observer_lag_seconds"
SEEN = "tidegate_worker_last_seen_timestamp_seconds"


def board() -> Dashboard:
    """Workers, loop lag, journal, observers, exporters, reloads."""
    return page(
        "gateway",
        "The gateway itself",
        "Whether the gateway's processes, its journal and what reads the journal are well.",
        [_now(), _workers(), _journal(), _observers(), _config()],
    )


def _now() -> Row:
    return Row(
        "Now",
        [
            stat(
                "Gateways",
                "Instances that were scraped.",
                "short",
                f"count({of('tidegate_build_info')})",
            ),
            stat(
                "Workers",
                "That have written how they are within the last minutes.",
                "short",
                f"count({of(SEEN)})",
            ),
            stat(
                "Loop lag",
                "Worst lateness of a worker's timers.",
                "s",
                highest("tidegate_event_loop_lag_seconds"),
                warn=0.1,
                bad=0.25,
            ),
            stat(
                "Records not written",
                "By workers, as the disk does not take them. While there are any, nothing is admitted unless the file says so.",
                "short",
                total("tidegate_journal_pending_records"),
                warn=1,
                bad=100,
            ),
            stat(
                "Observer lag",
                "Since when the slowest observer has not had everything safe.",
                "s",
                highest(LAG),
                warn=60,
                bad=300,
            ),
            stat(
                "Configurations",
                "In use at the same time; more than one is a roll-out, or a reload that failed somewhere.",
                "short",
                f"count(count by (config) ({of('tidegate_config_info')}))",
                warn=2,
                bad=3,
            ),
        ],
    )


def _workers() -> Row:
    by = "instance, worker"
    legend = "{{instance}} {{worker}}"
    return Row(
        "Workers",
        [
            lines(
                "Event loop lag",
                "Worst lateness of a worker's timers since it last told. Every stream of that worker waited as long.",
                "s",
                Query(highest("tidegate_event_loop_lag_seconds", by=by), legend),
                warn=0.1,
                bad=0.25,
            ),
            lines(
                "Requests in hand",
                "By worker, admitted or not.",
                "short",
                Query(highest("tidegate_worker_inflight_requests", by=by), legend),
            ),
            lines(
                "Memory of workers",
                "Resident memory of each. It should be level after the first hours.",
                "bytes",
                Query(highest("tidegate_worker_resident_memory_bytes", by=by), legend),
            ),
            lines(
                "Upstream connections",
                "Of all workers: all that are open, and those that are idle.",
                "short",
                Query(total("tidegate_upstream_connections", by="state"), "{{state}}"),
            ),
            lines(
                "Since workers last told",
                "Every few seconds is normal; what is silent for longer than `worker_stale_s` is not shown.",
                "s",
                Query(f"time() - {highest(SEEN, by=by)}", legend),
                warn=30,
                bad=60,
            ),
            lines(
                "Processes that ended",
                "By themselves (writer), or found dead by recovery, in each interval.",
                "short",
                Query(
                    grown("tidegate_writers_ended_total", by="by", window="$__rate_interval"),
                    "{{by}}",
                ),
                bad=1,
                least=2,
            ),
        ],
    )


def _journal() -> Row:
    removed = [
        grown(f"tidegate_journal_removed_{what}_total", window="$__rate_interval")
        for what in ("segments", "records")
    ]
    return Row(
        "Journal",
        [
            lines(
                "Size of the journal",
                "On disk, by instance. Retention bounds it.",
                "bytes",
                Query(highest("tidegate_journal_bytes", by="instance"), "{{instance}}"),
            ),
            lines(
                "Segments",
                "Files of the journal, by instance.",
                "short",
                Query(highest("tidegate_journal_segments", by="instance"), "{{instance}}"),
            ),
            lines(
                "Removed by retention",
                "Segments and records, in each interval.",
                "short",
                Query(removed[0], "segments"),
                Query(removed[1], "records"),
            ),
            lines(
                "Records not written",
                "By worker. Above 0 the disk is full or gone.",
                "short",
                Query(
                    highest("tidegate_journal_pending_records", by="instance, worker"),
                    "{{instance}} {{worker}}",
                ),
                bad=1,
                least=2,
                span=12,
            ),
            lines(
                "Records given up",
                "That could be neither written nor kept, in each interval. These exchanges are in no account.",
                "short",
                Query(
                    grown(
                        "tidegate_journal_lost_records_total",
                        by="instance, worker",
                        window="$__rate_interval",
                    ),
                    "{{instance}} {{worker}}",
                ),
                bad=1,
                least=2,
                span=12,
            ),
        ],
    )


def _observers() -> Row:
    by, legend = "instance, observer", "{{instance}} {{observer}}"
    return Row(
        "Observers and exporters",
        [
            lines(
                "Lag in time",
                "Since when an observer (metrics, tracing, logs, usage, …) has not had everything safe. An exporter whose collector is down rises here.",
                "s",
                Query(highest(LAG, by=by), legend),
                warn=60,
                bad=300,
            ),
            lines(
                "Lag in bytes",
                "Of the journal, not read yet.",
                "bytes",
                Query(highest("tidegate_observer_lag_bytes", by=by), legend),
            ),
            lines(
                "Not safe yet",
                "Records that were read and not yet saved, or not yet delivered.",
                "short",
                Query(highest("tidegate_observer_unsafe_records", by=by), legend),
            ),
            lines(
                "Lost to observers",
                "Records that retention removed before an observer had read them, in each interval.",
                "short",
                Query(
                    grown("tidegate_observer_lost_records_total", by=by, window="$__rate_interval"),
                    legend,
                ),
                bad=1,
                least=2,
            ),
            lines(
                "Records counted",
                "By these metrics, each second, by kind.",
                "ops",
                Query(rate("tidegate_observer_records_total", by="kind"), "{{kind}}"),
                stacked=True,
            ),
            lines(
                "Age of the newest record",
                "Seconds since the time of the newest record that these metrics counted; workers write at least every few seconds.",
                "s",
                Query(
                    f"time() - {highest('tidegate_observer_newest_record_timestamp_seconds', by='instance')}",
                    "{{instance}}",
                ),
                warn=30,
                bad=60,
            ),
            lines(
                "CPU of the observatory",
                "The process that serves these metrics and runs the observers; 100 % is one core.",
                "percentunit",
                Query(rate("process_cpu_seconds_total", by="instance"), "{{instance}}"),
                span=6,
            ),
            lines(
                "Memory of the observatory",
                "Resident memory of that process.",
                "bytes",
                Query(highest("process_resident_memory_bytes", by="instance"), "{{instance}}"),
                span=6,
            ),
            lines(
                "Label values without room",
                "Counted as `other`, in each interval: raise `label_limit`, or find who invents names.",
                "short",
                Query(
                    grown("tidegate_dropped_series_total", by="label", window="$__rate_interval"),
                    "{{label}}",
                ),
                bad=1,
                least=2,
                span=6,
            ),
            lines(
                "Series in a scrape",
                "By instance. Prometheus keeps each of them in memory.",
                "short",
                Query(f"max by (instance) ({of('scrape_samples_scraped')})", "{{instance}}"),
                warn=20000,
                bad=50000,
                span=6,
            ),
        ],
    )


def _config() -> Row:
    return Row(
        "Build and configuration",
        [
            lines(
                "Reloads",
                "Of workers, in each interval, by result.",
                "short",
                Query(
                    grown("tidegate_config_reloads_total", by="result", window="$__rate_interval"),
                    "{{result}}",
                ),
            ),
            table(
                "Last reload",
                "Whether each worker took the newest configuration that it was given (1) or kept the one before (0), and when; a start counts.",
                Column(
                    "Taken",
                    highest("tidegate_config_last_reload_successful", by="instance, worker"),
                    "short",
                ),
                Column(
                    "When",
                    f"{highest('tidegate_config_last_reload_timestamp_seconds', by='instance, worker')} * 1000",
                    "dateTimeFromNow",
                ),
                labels=("instance", "worker"),
                span=8,
            ),
            table(
                "Configurations in use",
                "By digest. The journal names the same digest in each record.",
                Column(
                    "Processes",
                    f"count by (instance, config) ({of('tidegate_config_info')})",
                    "short",
                ),
                labels=("instance", "config"),
                span=8,
            ),
            table(
                "Builds",
                "What runs where.",
                Column(
                    "Instances",
                    f"count by (instance, version) ({of('tidegate_build_info')})",
                    "short",
                ),
                labels=("instance", "version"),
                span=8,
            ),
            table(
                "Plugins in use",
                "Policies by stage, and observers; the version is that of the package that brings them. A policy in mode shadow refuses and changes nothing.",
                Column(
                    "Instances",
                    f"count by (plugin, use, stage, mode, version) ({of('tidegate_plugin_loaded')})",
                    "short",
                ),
                labels=("plugin", "use", "stage", "mode", "version"),
                span=16,
            ),
        ],
    )
