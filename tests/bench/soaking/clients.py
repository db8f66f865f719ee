"""Clients: the load generator in episodes, and rude ones that leave whenever they like."""

import json
import random
import socket
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from bench.side_by_side.loads import Generator
from bench.side_by_side.place import CALLER_KEY

RUDE_HEAD = (
    "POST /v1/messages HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\n"
    "anthropic-version: 2023-06-01\r\nuser-agent: {agent}\r\nx-api-key: {key}\r\n"
    "content-length: {length}\r\n\r\n"
)
HALF, HASTY = "rude-half", "rude-hasty"
LEAVING_PERCENT = 15
EPISODE_S = 25.0


class Generators:
    """Episodes of load: conversations that grow, and small requests at a fixed rate."""

    def __init__(self, generator: Generator, port: int, *, clients: int, rate: float) -> None:
        self.counts: Counter[str] = Counter()
        self.p99_us: list[dict[str, float]] = []
        self._generator = generator
        self._port = port
        self._clients = clients
        self._rate = rate

    def fill(self, seconds: float) -> None:
        """Send texts that are all new, until whatever remembers texts remembers as many as it may."""
        self._run([("unary", "1m", ["-c", "16", "-u"])], seconds)

    def episode(self, seconds: float) -> None:
        """Run all of them for so long."""
        leaving = ["-A", str(LEAVING_PERCENT), "-R", "50"]
        loads = [
            ("mixed", "mixed", ["-c", str(self._clients), *leaving]),
            ("unary", "1k", ["-c", "16", "-r", str(self._rate), "-u"]),
            ("stream", "1k_s20", ["-c", "4", "-R", "50", "-u"]),
        ]
        self._run(loads, seconds)

    def _run(self, loads: Sequence[tuple[str, str, list[str]]], seconds: float) -> None:
        """Let what they began come to its end."""
        ends = ["-d", str(seconds), "-w", "0", "-F"]
        running = [
            self._start(self._generator.command(mode, self._port, body, *more, *ends))
            for mode, body, more in loads
        ]
        for process in running:
            self._take(process)

    def _start(self, command: Sequence[str | Path]) -> subprocess.Popen[str]:
        return subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )

    def _take(self, process: subprocess.Popen[str]) -> None:
        said, _ = process.communicate(timeout=EPISODE_S + 60)
        found = json.loads(said)
        for key in ("started", "done", "left", "errors", "non200"):
            self.counts[key] += found[key]
        self.p99_us.append({"mode": found["mode"], "p99": found["lat_us"]["p99"]})


class Rude(threading.Thread):
    """Sends half of a body and leaves, or all of it and does not wait."""

    def __init__(self, port: int, body: bytes, per_second: float) -> None:
        super().__init__(name="rude", daemon=True)
        self.sent: Counter[str] = Counter()
        self.ended = threading.Event()
        self._port = port
        self._body = body
        self._pause_s = 1 / per_second
        self._chance = random.Random(3)

    def run(self) -> None:
        while not self.ended.wait(self._pause_s):
            agent = self._chance.choice((HALF, HASTY))
            try:
                self._leave(agent)
            except OSError:
                continue
            self.sent[agent] += 1

    def _leave(self, agent: str) -> None:
        length = len(self._body)
        head = RUDE_HEAD.format(agent=agent, key=CALLER_KEY, length=length).encode()
        with socket.create_connection(("127.0.0.1", self._port), 10) as client:
            client.sendall(head + self._body[: length // 2 if agent == HALF else length])
            time.sleep(self._chance.choice((0.0, 0.002, 0.05)))
