"""What is measured: the loads, and what is read off each."""

from dataclasses import dataclass, replace
from typing import Any, Literal

from bench.side_by_side.bodies import LONG_STREAM, SHORT_STREAM
from bench.side_by_side.processes import Cpu

Figures = dict[str, float]

RAMP = 500.0
"""Streams that are opened per second."""


@dataclass(frozen=True)
class Case:
    """One load, bounded in time."""

    name: str
    about: str
    mode: Literal["unary", "stream", "fresh"]
    """`fresh` starts another instance: how long that takes, then the memory of held streams."""
    body: str
    clients: int = 32
    seconds: float = 2.5
    warm_s: float = 0.5
    rate: float = 0
    """Requests a second, whether answered or not; 0: each client sends when it is answered."""
    pause_us: int = 0
    """Between two events of a stream."""
    resent: bool = False
    """The same body each time; otherwise no text was ever sent before."""
    shown: tuple[str, ...] = ()

    def arguments(self) -> list[str]:
        """Return the load generator's arguments."""
        given = ["-c", self.clients, "-d", self.seconds, "-w", self.warm_s]
        given += ["-r", self.rate] if self.rate else []
        given += ["-R", RAMP] if self.pause_us else []
        given += [] if self.resent else ["-u"]
        return [str(each) for each in given]

    def quick(self) -> "Case":
        """Return a small one, which shows only that the harness works."""
        return replace(
            self,
            clients=min(self.clients, 20),
            seconds=1.5 if self.body == "1m" else 0.3,
            warm_s=min(self.warm_s, 0.2),
        )

    def first_time(self) -> "Case":
        """Return what makes the gateway know the body that will be sent again."""
        return replace(self, clients=1, seconds=0.3, warm_s=0)


UNARY = ("per_second", "worker_us", "tree_us", "p50_us", "p99_us")
RATE = ("added_p50_us", "added_p99_us", "p50_us", "p99_us", "tree_us")
FIRST = ("added_first_p50_us", "added_first_p99_us", "first_p50_us", "first_p99_us")
PACED = (
    *("events_per_second", "worker_us", "tree_us"),
    *("event_p50_us", "event_p99_us", "added_event_p50_us", "added_event_p99_us"),
)
FRESH = ("start_ms", "idle_mb", "worker_kb", "tree_kb")


def _large(name: str, body: str, clients: int, *, resent: bool = False) -> Case:
    """Few connections: what is under way at the end is work that nobody counts."""
    texts = "the same one again" if resent else "every text new"
    about = f"{body[:-1]} {body[-1].upper()}B bodies, {texts}, {clients} connections, closed loop"
    return Case(name, about, "unary", body, clients, seconds=3.5, resent=resent, shown=UNARY)


def _paced(clients: int) -> Case:
    return Case(
        f"paced_{clients}",
        f"{clients} streams, an event every 20 ms on each; CPU per event",
        "stream",
        f"1k_s{LONG_STREAM}",
        clients,
        seconds=4,
        warm_s=clients / RAMP + 1,
        pause_us=20_000,
        shown=PACED,
    )


CASES = (
    Case("unary_1k", "1 KB bodies, 32 connections, closed loop", "unary", "1k", shown=UNARY),
    _large("unary_100k", "100k", 8),
    _large("unary_1m", "1m", 4),
    _large("resent_100k", "100k", 8, resent=True),
    _large("resent_1m", "1m", 4, resent=True),
    Case(
        "rate_200",
        "1 KB bodies, 200 a second, open loop; added to direct",
        "unary",
        "1k",
        seconds=5,
        rate=200,
        shown=RATE,
    ),
    Case(
        "first_byte",
        "time to the first byte of a stream, one client; added to direct",
        "stream",
        f"1k_s{SHORT_STREAM}",
        clients=1,
        shown=FIRST,
    ),
    _paced(40),
    _paced(400),
    Case(
        "fresh",
        "start to first answer; resident memory idle, and per stream of 1000 held open",
        "fresh",
        f"1k_s{LONG_STREAM}",
        clients=1000,
        pause_us=200_000,
        shown=FRESH,
    ),
)

UNITS = {
    "per_second": "answers/s",
    "events_per_second": "events/s",
    "worker_us": "CPU worker, µs",
    "tree_us": "CPU all, µs",
    "p50_us": "p50, µs",
    "p99_us": "p99, µs",
    "added_p50_us": "added p50, µs",
    "added_p99_us": "added p99, µs",
    "first_p50_us": "first byte p50, µs",
    "first_p99_us": "first byte p99, µs",
    "added_first_p50_us": "added p50, µs",
    "added_first_p99_us": "added p99, µs",
    "event_p50_us": "event p50, µs",
    "event_p99_us": "event p99, µs",
    "added_event_p50_us": "added p50, µs",
    "added_event_p99_us": "added p99, µs",
    "start_ms": "start, ms",
    "idle_mb": "idle all, MB",
    "worker_kb": "worker, KB/stream",
    "tree_kb": "all, KB/stream",
}

LATENCIES = tuple(name.removeprefix("added_") for name in UNITS if name.startswith("added_"))


def figures(case: Case, found: dict[str, Any], cpu: Cpu, done: dict[str, int]) -> Figures:
    """Read the figures off what the load generator says; `done` is what the upstream counted.

    CPU is that of the whole run, warm-up and what was put off included, over all the work.
    """
    if case.mode == "unary":
        return {
            "per_second": found["rps"],
            **_cpu(cpu, done["requests"]),
            "p50_us": found["lat_us"]["p50"],
            "p99_us": found["lat_us"]["p99"],
        }
    if not case.pause_us:
        first = found["ttfb_us"]
        return {"first_p50_us": first["p50"], "first_p99_us": first["p99"]}
    return {
        "events_per_second": found["events_s"],
        **_cpu(cpu, done["events"]),
        "event_p50_us": found["event_us"]["p50"],
        "event_p99_us": found["event_us"]["p99"],
    }


def _cpu(cpu: Cpu, count: int) -> Figures:
    return {"worker_us": cpu.worker / count * 1e6, "tree_us": cpu.tree / count * 1e6}


def fault(case: Case, found: dict[str, Any]) -> str:
    """Say what makes a run worthless: refusals are quick, and so are broken streams."""
    if found["non200"]:
        return f"{found['non200']} answers were bad, the last {found['last_bad_status']}"
    if found["errors"]:
        return f"{found['errors']} connections broke"
    if case.mode == "stream" and found["max_open"] < case.clients:
        return f"only {found['max_open']} of {case.clients} streams were opened"
    if not found["events" if case.pause_us else "ok"]:
        return "nothing was answered"
    return ""
