"""Processes of ours: pinned to a core, measured through /proc, ended by their ids."""

import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

PROC = Path("/proc")
SCHEDULED = 2
"""Makes a process's id its CPU clock, in nanoseconds: as clock_getcpuclockid(3) does."""
END_S = 15.0
QUIET_SHARE = 0.1
QUIET_WINDOW_S = 0.1
QUIET_WITHIN_S = 15.0


class Cpu(NamedTuple):
    """Seconds of CPU that were used so far."""

    worker: float
    tree: float

    def since(self, before: "Cpu") -> "Cpu":
        return Cpu(self.worker - before.worker, self.tree - before.tree)


class Memory(NamedTuple):
    """Resident KB."""

    worker: int
    tree: int


class Process:
    """A program with all that it starts, on some cores."""

    def __init__(
        self,
        command: Sequence[str | Path],
        cores: str,
        log: Path,
        *,
        worker: str = "",
        env: Mapping[str, str] | None = None,
    ) -> None:
        """Start it on `cores`; its workers are the processes whose command line has `worker`."""
        # Nothing is left behind even if we are killed: the first process gets SIGTERM then.
        pinned = ["setpriv", "--pdeathsig", "TERM", "taskset", "-c", cores, *command]
        with log.open("ab") as out:
            self._process = subprocess.Popen(
                pinned, stdin=subprocess.DEVNULL, stdout=out, stderr=out, env=env
            )
        self._log = log
        self._marker = worker.encode()

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def ended(self) -> bool:
        return self._process.poll() is not None

    def last_words(self) -> str:
        return self._log.read_text(errors="replace")[-600:]

    def cpu(self) -> Cpu:
        pids = tree(self._process.pid)
        return Cpu(sum(map(_cpu_s, self._workers(pids))), sum(map(_cpu_s, pids)))

    def memory(self) -> Memory:
        pids = tree(self._process.pid)
        return Memory(sum(map(resident_kb, self._workers(pids))), sum(map(resident_kb, pids)))

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal."""
        self._process.send_signal(number)

    def wait(self) -> None:
        """Wait until it has ended by itself."""
        self._process.wait(END_S)

    def settle(self) -> None:
        """Wait until it has done what it put off: that belongs to what was asked of it."""
        deadline = time.monotonic() + QUIET_WITHIN_S
        while time.monotonic() < deadline:
            before = self.cpu().tree
            time.sleep(QUIET_WINDOW_S)
            if self.cpu().tree - before < QUIET_SHARE * QUIET_WINDOW_S:
                return

    def stop(self) -> None:
        """End it: politely, then those of its processes that are still there."""
        born = {pid: _born(pid) for pid in tree(self._process.pid)}
        self._process.terminate()
        try:
            self._process.wait(END_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        for pid, when in born.items():
            if when and _born(pid) == when:
                os.kill(pid, signal.SIGKILL)

    def _workers(self, pids: Sequence[int]) -> list[int]:
        if self._marker and (found := [pid for pid in pids if self._marker in command_line(pid)]):
            return found
        return [self._process.pid]


def command_line(pid: int) -> bytes:
    """Return what a process was started with, with spaces in between."""
    return _read(pid, "cmdline").replace(b"\0", b" ")


def tree(pid: int) -> list[int]:
    """Return `pid` and all that descend from it."""
    found = [pid]
    for task in _tasks(pid):
        for child in _bytes(task / "children").split():
            found += tree(int(child))
    return found


def _tasks(pid: int) -> list[Path]:
    try:
        return list((PROC / str(pid) / "task").iterdir())
    except OSError:  # it has ended
        return []


def _cpu_s(pid: int) -> float:
    """Return what all threads of a process have used, those too that have ended."""
    try:
        return time.clock_gettime(~pid << 3 | SCHEDULED)
    except OSError:  # it has ended
        return 0.0


def resident_kb(pid: int) -> int:
    """Return the resident memory of a process."""
    for line in _read(pid, "status").splitlines():
        if line.startswith(b"VmRSS:"):
            return int(line.split()[1])
    return 0


def _born(pid: int) -> bytes:
    """Return when it was started, which tells it from a later one with the same id."""
    fields = _read(pid, "stat").rpartition(b")")[2].split()
    return fields[19] if fields and fields[0] != b"Z" else b""


def _read(pid: int, name: str) -> bytes:
    return _bytes(PROC / str(pid) / name)


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:  # it has ended
        return b""
