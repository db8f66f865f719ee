"""The stage: the mock upstream, the candidates, and one load at a time through one of them."""

import resource
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from bench.side_by_side import bodies, collector
from bench.side_by_side.candidates import Candidate, environment
from bench.side_by_side.cases import HELD_RAMP, Case
from bench.side_by_side.figures import Figures, fault, figures
from bench.side_by_side.loads import Failed, Generator, Upstream, overhead, until_answered
from bench.side_by_side.native import compiled
from bench.side_by_side.place import Place
from bench.side_by_side.processes import Process
from support.ports import free_port

HOLD_S = 120.0
OPENING_S = 60.0
FEWEST_HELD = 1_000
SPARE_DESCRIPTORS = 300


@dataclass(frozen=True)
class Cores:
    """Which core is whose."""

    server: int
    load: int


@dataclass(frozen=True)
class Running:
    """A candidate that serves."""

    process: Process
    port: int
    admin_port: int
    took_s: float
    wants: tuple[str, ...] = ()
    """More arguments for the load generator."""


class Stage:
    """Starts everything, and ends it."""

    def __init__(self, cores: Cores) -> None:
        self._cores = cores
        self._stack = ExitStack()
        self._running: dict[str, Running] = {}
        self._count = 0

    def __enter__(self) -> Self:
        try:
            folder = tempfile.TemporaryDirectory(prefix="tidegate-bench-")
            self.folder = Path(self._stack.enter_context(folder))
            bodies.write(self.folder)
            self.generator = Generator(compiled("loadgen"), self.folder, self._cores.load)
            self.upstream = Upstream(free_port())
            self._mock = self._start_mock()
            self._collector_port = self._start_collector()
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stack.close()

    def add(self, candidate: Candidate) -> None:
        """Start one, which serves until the end.

        Raises:
            Failed: it does not serve.
        """
        self._running[candidate.name] = self._stack.enter_context(self.started(candidate))

    def measure(self, candidate: Candidate, case: Case) -> Figures:
        """Put one load through one candidate.

        Raises:
            Failed: what was measured is worth nothing.
        """
        if case.mode == "held":
            return self._measure_held(candidate, case)
        if case.mode == "start":
            with self.started(candidate) as fresh:
                return {"start_ms": fresh.took_s * 1000}
        if candidate.name not in self._running:
            raise Failed("it is not running")
        running = self._running[candidate.name]
        if case.resent:
            self.generator.run(running.port, case.first_time())
        if case.mode == "neighbour":
            return self._measure_neighbour(running, case)
        return self._measure(candidate, running, case)

    def _measure(self, candidate: Candidate, running: Running, case: Case) -> Figures:
        if not candidate.measures_itself or case.mode != "unary":
            return self.put(running, case)
        before = overhead(running.admin_port)  # a scrape waits for all that was before it
        result = self.put(running, case)
        return result | {"inside_us": overhead(running.admin_port).mean_since(before) * 1e6}

    def put(self, running: Running, case: Case) -> Figures:
        """Put one load through something that serves.

        Raises:
            Failed: what was measured is worth nothing.
        """
        process = running.process
        self.upstream.abandon()
        process.settle()
        self.upstream.set(delay_us=case.pause_us)
        before, counted = process.cpu(), self.upstream.stats()
        found = self.generator.run(running.port, case, *running.wants)
        _check(case, found)
        process.settle()
        cpu, now = process.cpu().since(before), self.upstream.stats()
        return figures(case, found, cpu, now["requests"] - counted["requests"])

    def _measure_neighbour(self, running: Running, case: Case) -> Figures:
        """No CPU here: whose it is could not be told apart."""
        self.upstream.set(delay_us=case.pause_us)
        running.process.settle()
        counted = self.upstream.stats()
        began = time.monotonic()
        limits = ("-c", "1", "-d", "60", "-w", "0", "-u")
        with self.generator.beside("unary", running.port, case.other_body, *limits):
            found = self.generator.run(running.port, case)
        took = time.monotonic() - began
        _check(case, found)
        now = self.upstream.stats()
        others = now["requests"] - counted["requests"] - case.clients
        if others <= 0:
            raise Failed("the other client got nowhere")
        event = found["event_us"]
        told = {f"event_{each}_us": event[each] for each in ("p50", "p99", "max")}
        return told | {"other_per_s": others / took}

    def _measure_held(self, candidate: Candidate, case: Case) -> Figures:
        count = min(case.clients, (files() - SPARE_DESCRIPTORS) // 2)
        warm_up = Case("warm-up", "", "unary", "1k", seconds=0.5, warm_s=0.1)
        limits = ("-c", str(count), "-R", str(HELD_RAMP), "-d", str(HOLD_S), "-w", "0", "-u")
        with self.started(candidate) as running:
            self.generator.run(running.port, warm_up)
            running.process.settle()
            idle = running.process.memory()
            self.upstream.set(delay_us=case.pause_us)
            with self.generator.beside("hold", running.port, case.body, *limits):
                there = self.upstream.most_open(count, OPENING_S)
                time.sleep(min(1.5, case.pause_us / 1e6))  # some events more on each of them
                held = running.process.memory()
            self.upstream.until_open(0, HOLD_S / 2)
        if there < min(count, FEWEST_HELD):
            raise Failed(f"only {there} of {count} streams were opened within {OPENING_S:g} s")
        return {
            "streams": there,
            "idle_mb": idle.tree / 1024,
            "worker_kb": (held.worker - idle.worker) / there,
            "tree_kb": (held.tree - idle.tree) / there,
        }

    # what is always there

    def _start_mock(self) -> Process:
        command = [compiled("mock_upstream"), "-p", str(self.upstream.port)]
        process = Process(command, str(self._cores.load), self.folder / "mock.log")
        self._stack.callback(process.stop)
        until_answered(process, self.upstream.port, "GET", "/_mock/stats", b"")
        return process

    def _start_collector(self) -> int:
        port = free_port()
        command = [sys.executable, str(Path(collector.__file__)), str(port)]
        process = Process(command, str(self._cores.load), self.folder / "collector.log")
        self._stack.callback(process.stop)
        until_answered(process, port, "GET", "/", b"")
        return port

    # the candidates

    @contextmanager
    def started(self, candidate: Candidate) -> Iterator[Running]:
        """Start another instance, and end it.

        Raises:
            Failed: it does not serve.
        """
        if candidate.command is None:
            yield Running(self._mock, self.upstream.port, 0, 0)
            return
        self._count += 1
        folder = self.folder / f"{candidate.name}-{self._count}"
        folder.mkdir()
        place = Place(
            free_port(), self.upstream.port, folder, free_port(), self._collector_port, files()
        )
        command = candidate.command(place)
        cores = f"{self._cores.server},{self._cores.load}"
        began = time.monotonic()
        process = Process(
            command,
            cores if candidate.both_cores else str(self._cores.server),
            folder / "log",
            worker=candidate.worker,
            env=environment(candidate),
        )
        try:
            body = (self.folder / "1k.json").read_bytes()
            headers = candidate.headers(place)
            until_answered(
                process, place.port, "POST", candidate.path, body, headers, candidate.start_s
            )
            took_s = time.monotonic() - began
            yield Running(process, place.port, place.admin_port, took_s, wants(candidate, place))
        finally:
            process.stop()


def wants(candidate: Candidate, place: Place) -> tuple[str, ...]:
    """Return the load generator's arguments for what a candidate wants of each request."""
    headers = [("-X", f"{name}: {value}") for name, value in candidate.headers(place).items()]
    return (*(each for pair in headers for each in pair), "-P", candidate.path)


def files() -> int:
    """Return how many descriptors a process may have."""
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def _check(case: Case, found: dict[str, Any]) -> None:
    if why := fault(case, found):
        raise Failed(why)
