"""What is read off a run, each figure with its unit, and what makes a run worthless."""

from typing import Any

from bench.side_by_side.cases import Case
from bench.side_by_side.processes import Cpu

Figures = dict[str, float]

UNITS = {
    "per_second": "answers/s",
    "events_per_second": "events/s",
    "mb_per_s": "sent, MB/s",
    "worker_us": "CPU worker, µs",
    "tree_us": "CPU all, µs",
    "p50_us": "p50, µs",
    "p99_us": "p99, µs",
    "added_p50_us": "added p50, µs",
    "added_p99_us": "added p99, µs",
    "mean_us": "mean, µs",
    "added_mean_us": "added mean, µs",
    "inside_us": "`overhead` mean, µs",
    "first_p50_us": "first byte p50, µs",
    "first_p99_us": "first byte p99, µs",
    "added_first_p50_us": "added p50, µs",
    "added_first_p99_us": "added p99, µs",
    "event_p50_us": "event p50, µs",
    "event_p99_us": "event p99, µs",
    "event_max_us": "event max, µs",
    "added_event_p50_us": "added p50, µs",
    "added_event_p99_us": "added p99, µs",
    "added_event_max_us": "added max, µs",
    "other_per_s": "10 MB bodies/s",
    "start_ms": "start, ms",
    "streams": "streams",
    "idle_mb": "idle all, MB",
    "worker_kb": "worker, KB/stream",
    "tree_kb": "all, KB/stream",
}

LATENCIES = tuple(name.removeprefix("added_") for name in UNITS if name.startswith("added_"))


def figures(case: Case, found: dict[str, Any], cpu: Cpu, requests: int) -> Figures:
    """Read the figures off what the load generator says; `requests` is what the upstream counted.

    CPU is that of the whole run, warm-up and what was put off included, over all the work: the
    requests that arrived, or the events that came back. Of streams that nobody reads any more, a
    gateway may leave some open, whose events would be no work of its own.
    """
    if case.mode == "unary":
        return {
            "per_second": found["rps"],
            **_cpu(cpu, requests),
            **_latency("", found["lat_us"], "p50", "p99", "mean"),
        }
    if case.mode == "mixed":
        return {
            "per_second": found["rps"],
            "mb_per_s": found["sent"] / (case.seconds + case.warm_s) / 1e6,
            **_cpu(cpu, requests),
            **_latency("", found["unary_us"], "p50", "p99"),
            **_latency("first_", found["ttfb_us"], "p50", "p99"),
            **_latency("event_", found["event_us"], "p50", "p99", "max"),
        }
    if not case.pause_us and case.body.endswith("s20"):
        return _latency("first_", found["ttfb_us"], "p50", "p99")
    return {
        "events_per_second": found["events_s"],
        **_cpu(cpu, found["all_events"]),
        **_latency("event_", found["event_us"], "p50", "p99", "max"),
    }


def _latency(what: str, found: dict[str, float], *which: str) -> Figures:
    return {f"{what}{each}_us": found[each] for each in which}


def _cpu(cpu: Cpu, count: int) -> Figures:
    return {"worker_us": cpu.worker / count * 1e6, "tree_us": cpu.tree / count * 1e6}


def fault(case: Case, found: dict[str, Any]) -> str:
    """Say what makes a run worthless: refusals are quick, and so are broken streams."""
    if found["non200"]:
        return f"{found['non200']} answers were bad, the last {found['last_bad_status']}"
    if found["errors"]:
        return f"{found['errors']} connections broke"
    if case.streams and found["max_open"] < case.clients:
        return f"only {found['max_open']} of {case.clients} streams were opened"
    if not found["events" if case.pause_us or case.streams else "ok"]:
        return "nothing was answered"
    return ""
