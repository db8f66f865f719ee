"""The load generator and what it is pointed at, as seen from Python."""

import http.client
import json
import re
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from bench.side_by_side.cases import Case
from bench.side_by_side.place import CALLER_KEY
from bench.side_by_side.processes import Process

START_S = 60.0
NOTHING: Mapping[str, str] = MappingProxyType({})
POLL_S = 0.002
LOAD_S = 150.0
OVERHEAD = re.compile(
    r'^tidegate_overhead_seconds_(sum|count)\{[^}]*phase="total"[^}]*\} (\S+)', re.MULTILINE
)


class Failed(Exception):
    """A measurement that is worth nothing, and why."""


class Upstream:
    """The mock upstream's own pages."""

    def __init__(self, port: int) -> None:
        self.port = port

    def set(self, **settings: int) -> None:
        """Change its pace."""
        query = "&".join(f"{name}={value}" for name, value in settings.items())
        ask(self.port, "GET", f"/_mock/set?{query}", b"")

    def abandon(self) -> None:
        """End all streams: those that a gateway has left open are none of the next one's business."""
        ask(self.port, "GET", "/_mock/abandon", b"")

    def stats(self) -> dict[str, Any]:
        """Return what it has counted."""
        answer: dict[str, Any] = json.loads(ask(self.port, "GET", "/_mock/stats", b"")[1])
        return answer

    def most_open(self, count: int, within_s: float) -> int:
        """Wait until so many streams are open, or as many as there are by then; return them."""
        deadline = time.monotonic() + within_s
        there: int = self.stats()["streams_open"]
        while there < count and time.monotonic() < deadline:
            time.sleep(0.1)
            there = self.stats()["streams_open"]
        return there

    def until_open(self, count: int, within_s: float) -> None:
        """Wait until so many streams are open.

        Raises:
            Failed: they do not get there in time.
        """
        deadline = time.monotonic() + within_s
        while (there := self.stats()["streams_open"]) != count:
            if time.monotonic() > deadline:
                raise Failed(f"{there} streams are open upstream, not {count}")
            time.sleep(0.1)


class Generator:
    """The load generator, on its core."""

    def __init__(self, program: Path, folder: Path, core: int) -> None:
        self._program = program
        self._folder = folder
        self._core = core

    def run(self, port: int, case: Case, *more: str) -> dict[str, Any]:
        """Put the case's load on a port; return what the generator says.

        Raises:
            Failed: it broke off.
        """
        mode = "stream" if case.mode == "neighbour" else case.mode
        command = self.command(mode, port, case.body, *case.arguments(), *more)
        try:
            ran = subprocess.run(
                command, capture_output=True, text=True, timeout=LOAD_S, check=False
            )
        except subprocess.TimeoutExpired:
            raise Failed(f"no end of the load after {LOAD_S:g} s") from None
        if ran.returncode:
            raise Failed(f"the load generator failed: {ran.stderr[-300:]}")
        found: dict[str, Any] = json.loads(ran.stdout)
        return found

    @contextmanager
    def beside(self, mode: str, port: int, body: str, *more: str) -> Iterator[None]:
        """Keep another load on a port meanwhile."""
        load = subprocess.Popen(
            self.command(mode, port, body, *more),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            yield
        finally:
            load.terminate()
            load.wait()

    def command(self, mode: str, port: int, body: str, *more: str) -> list[str | Path]:
        """Return the command line; `body` is the name of one of `bodies`."""
        pinned = ["setpriv", "--pdeathsig", "TERM", "taskset", "-c", str(self._core)]
        given = [mode, "-p", str(port), "-k", CALLER_KEY, "-b", self._folder / f"{body}.json"]
        cuts = ["-C", self._folder / f"{body}.cuts"] if mode == "mixed" else []
        return [*pinned, self._program, *given, *cuts, *more]


@dataclass(frozen=True)
class Overhead:
    """`tidegate_overhead_seconds`, so far."""

    sum_s: float
    count: float

    def mean_since(self, before: "Overhead") -> float:
        return (self.sum_s - before.sum_s) / max(1, self.count - before.count)


def overhead(admin_port: int) -> Overhead:
    """Read it off the gateway's metrics."""
    text = ask(admin_port, "GET", "/metrics", b"")[1].decode()
    found = {name: float(value) for name, value in OVERHEAD.findall(text)}
    return Overhead(found.get("sum", 0.0), found.get("count", 0.0))


def until_answered(
    process: Process,
    port: int,
    method: str,
    path: str,
    body: bytes,
    headers: Mapping[str, str] = NOTHING,
    within_s: float = START_S,
) -> None:
    """Wait until something is served.

    Raises:
        Failed: it is not, or not in time.
    """
    deadline = time.monotonic() + within_s
    status, answer = 0, b""
    while status != 200:
        if process.ended or time.monotonic() > deadline:
            words = f"{status} {answer[:300].decode(errors='replace')}"
            raise Failed(f"{path} is not served: {words}\n{process.last_words()}")
        time.sleep(POLL_S)
        try:
            status, answer = ask(port, method, path, body, headers)
        except OSError:
            continue


def ask(
    port: int, method: str, path: str, body: bytes, more: Mapping[str, str] = NOTHING
) -> tuple[int, bytes]:
    """Send one request; return status and body of the answer."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    headers = {"content-type": "application/json", "anthropic-version": "2023-06-01"}
    try:
        connection.request(method, path, body, {**headers, "x-api-key": CALLER_KEY, **more})
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()
