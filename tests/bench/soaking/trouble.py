"""What goes wrong meanwhile: reloads, observatories killed, collectors gone; and what memory does."""

import os
import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from bench.side_by_side.processes import PROC, command_line, resident_kb, tree

WORKER, OBSERVATORY = b"tidegate.worker", b"tidegate.observatory"


@dataclass(frozen=True)
class Sample:
    """What one process has at one moment."""

    at_s: float
    """Since the beginning."""
    role: str
    pid: int
    resident_kb: int
    descriptors: int


def roles(pid: int) -> dict[str, int]:
    """Return the processes of a gateway by what they are."""
    found, workers = {"supervisor": pid}, 0
    for each in sorted(tree(pid)[1:]):
        line = command_line(each)
        if WORKER in line:
            workers += 1
            found[f"worker {workers}"] = each
        elif OBSERVATORY in line:
            found["observatory"] = each
    return found


def observe(pid: int, began: float) -> list[Sample]:
    """Look at every process of a gateway."""
    return [
        Sample(time.monotonic() - began, role, each, resident_kb(each), descriptors(each))
        for role, each in roles(pid).items()
    ]


def descriptors(pid: int) -> int:
    try:
        return len(os.listdir(PROC / str(pid) / "fd"))  # noqa: PTH208 - only how many
    except OSError:
        return 0


class Trouble(threading.Thread):
    """Makes one kind of trouble after the other, at random but always the same."""

    def __init__(self, pid: int, config: Path, texts: tuple[str, str], every_s: float) -> None:
        """`texts` are two configurations, which take turns."""
        super().__init__(name="trouble", daemon=True)
        self.made: Counter[str] = Counter()
        self.killed_at: list[float] = []
        self.ended = threading.Event()
        self._pid = pid
        self._config = config
        self._texts = texts
        self._every_s = every_s
        self._chance = random.Random(5)

    def run(self) -> None:
        kinds: list[tuple[str, Callable[[], None]]] = [
            ("reloads", self._reload),
            ("reloads", self._reload),
            ("refused reloads", self._bad_reload),
            ("observatories killed", self._kill_observatory),
        ]
        while not self.ended.wait(self._every_s * self._chance.uniform(0.5, 1.5)):
            name, make = kinds[sum(self.made.values()) % len(kinds)]
            make()
            self.made[name] += 1

    def _reload(self) -> None:
        self._config.write_text(self._texts[self.made["reloads"] % 2])
        os.kill(self._pid, signal.SIGHUP)

    def _bad_reload(self) -> None:
        """A file that is wrong changes nothing."""
        before = self._config.read_text()
        self._config.write_text(before + "\n[nonsense]\nkey = 1\n")
        os.kill(self._pid, signal.SIGHUP)
        time.sleep(1.0)
        self._config.write_text(before)

    def _kill_observatory(self) -> None:
        found = roles(self._pid).get("observatory")
        if found is not None:
            os.kill(found, signal.SIGKILL)
            self.killed_at.append(time.monotonic())


class Watch(threading.Thread):
    """Looks at a gateway's processes now and then."""

    def __init__(self, pid: int, began: float, samples: list[Sample], every_s: float) -> None:
        super().__init__(name="watch", daemon=True)
        self.ended = threading.Event()
        self._pid = pid
        self._began = began
        self._samples = samples
        self._every_s = every_s

    def run(self) -> None:
        while not self.ended.wait(self._every_s):
            self._samples += observe(self._pid, self._began)
