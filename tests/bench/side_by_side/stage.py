"""The stage: the mock upstream, the candidates, and one load at a time through one of them."""

import http.client
import json
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from bench.side_by_side import bodies
from bench.side_by_side.candidates import CALLER_KEY, Candidate, Place, environment
from bench.side_by_side.cases import RAMP, Case, Figures, fault, figures
from bench.side_by_side.native import compiled
from bench.side_by_side.processes import Process
from support.ports import free_port

START_S = 60.0
POLL_S = 0.002
HOLD_S = 60.0
LOAD_S = 120.0


class Failed(Exception):
    """A measurement that is worth nothing, and why."""


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
    took_s: float


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
            self._folder = Path(self._stack.enter_context(folder))
            bodies.write(self._folder)
            self._generator = compiled("loadgen")
            self._mock_port = free_port()
            self._mock = self._start_mock()
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
        """Start one, which serves until the end."""
        self._running[candidate.name] = self._stack.enter_context(self._started(candidate))

    def measure(self, candidate: Candidate, case: Case) -> Figures:
        """Put one load through one candidate."""
        if case.mode == "fresh":
            return self._measure_fresh(candidate, case)
        running = self._running[candidate.name]
        self._mock_admin(delay_us=case.pause_us)
        if case.resent:
            self._load(running.port, case.first_time())
        running.process.settle()
        before, counted = running.process.cpu(), self._mock_admin()
        found = self._load(running.port, case)
        running.process.settle()
        cpu, now = running.process.cpu().since(before), self._mock_admin()
        done = {name: now[name] - counted[name] for name in ("requests", "events")}
        return figures(case, found, cpu, done)

    # the upstream

    def _start_mock(self) -> Process:
        command = [compiled("mock_upstream"), "-p", str(self._mock_port)]
        process = Process(command, self._cores.load, self._folder / "mock.log")
        self._stack.callback(process.stop)
        _until_answered(process, self._mock_port, "GET", "/_mock/stats", b"")
        return process

    def _mock_admin(self, **settings: int) -> dict[str, Any]:
        query = "&".join(f"{name}={value}" for name, value in settings.items())
        path = f"/_mock/set?{query}" if settings else "/_mock/stats"
        answer: dict[str, Any] = json.loads(_ask(self._mock_port, "GET", path, b"")[1])
        return answer

    # the candidates

    @contextmanager
    def _started(self, candidate: Candidate) -> Iterator[Running]:
        if candidate.command is None:
            yield Running(self._mock, self._mock_port, 0)
            return
        self._count += 1
        folder = self._folder / f"{candidate.name}-{self._count}"
        folder.mkdir()
        place = Place(free_port(), self._mock_port, folder)
        command = candidate.command(place)
        began = time.monotonic()
        process = Process(
            command,
            self._cores.server,
            folder / "log",
            worker=candidate.worker,
            env=environment(),
        )
        try:
            body = (self._folder / "1k.json").read_bytes()
            _until_answered(process, place.port, "POST", "/v1/messages", body)
            yield Running(process, place.port, time.monotonic() - began)
        finally:
            process.stop()

    def _measure_fresh(self, candidate: Candidate, case: Case) -> Figures:
        if candidate.command is None:
            return {}
        warm_up = Case("warm-up", "", "unary", "1k", seconds=0.5, warm_s=0.1)
        with self._started(candidate) as running:
            self._load(running.port, warm_up)
            running.process.settle()
            idle = running.process.memory()
            with self._held(running.port, case):
                held = running.process.memory()
        return {
            "start_ms": running.took_s * 1000,
            "idle_mb": idle.tree / 1024,
            "worker_kb": (held.worker - idle.worker) / case.clients,
            "tree_kb": (held.tree - idle.tree) / case.clients,
        }

    # the load

    def _command(self, mode: str, port: int, case: Case, more: Sequence[str]) -> list[str | Path]:
        body = self._folder / f"{case.body}.json"
        pinned = ["setpriv", "--pdeathsig", "TERM", "taskset", "-c", str(self._cores.load)]
        given = [mode, "-p", str(port), "-k", CALLER_KEY, "-b", body]
        return [*pinned, self._generator, *given, *more]

    def _load(self, port: int, case: Case) -> dict[str, Any]:
        command = self._command(case.mode, port, case, case.arguments())
        ran = subprocess.run(command, capture_output=True, text=True, timeout=LOAD_S, check=False)
        if ran.returncode:
            raise Failed(f"the load generator failed: {ran.stderr[-300:]}")
        found: dict[str, Any] = json.loads(ran.stdout)
        if why := fault(case, found):
            raise Failed(why)
        return found

    @contextmanager
    def _held(self, port: int, case: Case) -> Iterator[None]:
        """Hold the streams open, each with an event now and then."""
        self._mock_admin(delay_us=case.pause_us)
        limits = ["-c", str(case.clients), "-R", str(RAMP), "-d", str(HOLD_S), "-w", "0", "-u"]
        load = subprocess.Popen(
            self._command("hold", port, case, limits),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            self._until_open(case.clients)
            yield
        finally:
            load.terminate()
            load.wait()
            self._until_open(0)

    def _until_open(self, count: int) -> None:
        deadline = time.monotonic() + HOLD_S / 2
        while (there := self._mock_admin()["streams_open"]) != count:
            if time.monotonic() > deadline:
                raise Failed(f"{there} streams are open upstream, not {count}")
            time.sleep(0.1)
        time.sleep(0.5)  # some events more on each of them


def _until_answered(process: Process, port: int, method: str, path: str, body: bytes) -> None:
    deadline = time.monotonic() + START_S
    status, answer = 0, b""
    while status != 200:
        if process.ended or time.monotonic() > deadline:
            words = f"{status} {answer[:300].decode(errors='replace')}"
            raise SystemExit(f"{path} is not served: {words}\n{process.last_words()}")
        time.sleep(POLL_S)
        try:
            status, answer = _ask(port, method, path, body)
        except OSError:
            continue


def _ask(port: int, method: str, path: str, body: bytes) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    headers = {"content-type": "application/json", "anthropic-version": "2023-06-01"}
    try:
        connection.request(method, path, body, headers | {"x-api-key": CALLER_KEY})
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()
