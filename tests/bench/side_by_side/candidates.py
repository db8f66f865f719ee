"""Who is measured, and how each is started."""

import importlib.util
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from bench.side_by_side import gateway, nginx
from bench.side_by_side.cases import CASES, UNTRACED, USUAL, WORKERS, Case
from bench.side_by_side.place import UPSTREAM_KEY, UPSTREAM_KEY_NAME, Command, Place

PROTOTYPE = Path(__file__).resolve().parents[4] / "shared/bench/prototypes/gw_fast.py"
"""Beside the repository; it is run where it is, if it is there."""


@dataclass(frozen=True)
class Candidate:
    """One whom the load goes through."""

    name: str
    about: str
    command: Callable[[Place], Command] | None = None
    """None: there is nobody, the load goes to the upstream."""
    worker: str = ""
    """What its workers' command lines contain; empty: the first process is the worker."""
    absent: Callable[[], str] = lambda: ""
    """Why it cannot be measured here; empty: it can."""
    both_cores: bool = False
    """It has the load's core as well."""
    measures_itself: bool = False
    """Its /metrics tells `tidegate_overhead_seconds`."""
    settings: tuple[tuple[str, str], ...] = ()
    """Environment variables."""
    headers: Callable[[Place], Mapping[str, str]] = lambda _: {}
    """What it wants of each request beside the usual."""
    path: str = "/v1/messages"
    start_s: float = 60
    """How long it may take until it answers."""

    def takes(self, case: Case) -> bool:
        return self.name in (case.who or USUAL)


def environment(candidate: Candidate | None = None) -> Mapping[str, str]:
    """Return what all are started with: no exporter is configured from outside."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("OTEL_")}
    own = dict(candidate.settings) if candidate is not None else {}
    return kept | {UPSTREAM_KEY_NAME: UPSTREAM_KEY} | own


def _naive(place: Place) -> Command:
    script = Path(__file__).with_name("naive.py")
    return [sys.executable, script, str(place.port), place.upstream]


def _prototype(place: Place) -> Command:
    return [sys.executable, "-B", PROTOTYPE, str(place.port), place.upstream]


def _no_prototype() -> str:
    if not PROTOTYPE.is_file():
        return "the prototype is not there (../shared is absent)"
    missing = [name for name in ("orjson", "uvloop") if importlib.util.find_spec(name) is None]
    return f"the prototype needs {', '.join(missing)}" if missing else ""


FULL_CHAIN = (
    "identify, models, limits, quota in memory, redact; journal; metrics, and tracing to a "
    "collector on the load's core"
)

CANDIDATES = (
    Candidate("direct", "no gateway; the CPU is the mock upstream's own"),
    Candidate(
        "nginx",
        "one worker, proxy_buffering off, keep-alive",
        nginx.command,
        "worker process",
        nginx.absent,
    ),
    Candidate("naive", "aiohttp web.Application + ClientSession", _naive),
    Candidate(
        "tidegate",
        FULL_CHAIN,
        gateway.serving(gateway.CHAIN),
        gateway.MARKER,
        measures_itself=True,
    ),
    Candidate("tidegate-bare", "no plugins; journal", gateway.serving(""), gateway.MARKER),
    Candidate(
        UNTRACED,
        "as tidegate, without tracing",
        gateway.serving(gateway.IN_PATH + gateway.METRICS),
        gateway.MARKER,
    ),
    Candidate(
        "prototype",
        "direct relay with key check, head of the body, usage tap, metrics, log line; no policy on text",
        _prototype,
        absent=_no_prototype,
        settings=(("MODE", "splice"), ("TAP", "1"), ("BIG", "1"), ("FULL", "1")),
    ),
    *(
        Candidate(
            name,
            f"as tidegate, {workers} worker{'s' * (workers > 1)}, on both cores",
            gateway.serving(gateway.CHAIN, workers=workers),
            gateway.MARKER,
            both_cores=True,
        )
        for workers, name in enumerate(WORKERS, start=1)
    ),
)


def taking(cases: tuple[Case, ...] = CASES) -> list[Candidate]:
    """Return whom any of the cases goes through."""
    return [each for each in CANDIDATES if any(each.takes(case) for case in cases)]
