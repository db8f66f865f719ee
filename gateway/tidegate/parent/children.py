"""Child processes: started, spoken to, listened to, missed. Nothing here ever waits for one."""

import contextlib
import os
import selectors
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import msgspec

from tidegate.control import Order, Report, decode_report, encode
from tidegate.errors import Problem
from tidegate.scheduling import give_way

RESTART_DELAYS_S = (0.0, 0.5, 1.0, 2.0, 5.0, 10.0)
HEALTHY_S = 30.0
"""A child that lived this long starts again at the first delay."""

READ_BYTES = 64 * 1024


@dataclass(slots=True, eq=False)
class Child:
    """A worker or the observatory: what is to run, and what runs now."""

    name: str
    command: tuple[str, ...]
    """The module to run, and its arguments."""
    descriptors: tuple[int, ...] = ()
    writers: str = ""
    """How the names of its journal writers begin, if it writes."""
    niceness: int = 0
    """Above 0 it yields: it runs in what the others leave, and some share of a full core."""
    process: subprocess.Popen[bytes] | None = None
    ready: bool = False
    condition: str = ""
    remark: str = ""
    """What keeps it from being well."""
    problems: tuple[Problem, ...] = ()
    """Why it could not start."""
    failures: int = 0
    started: float = 0.0
    restart_at: float | None = None
    heard: bytes = b""
    """The beginning of a report whose rest is still to come."""
    unsent: bytes = b""
    """Orders that its pipe does not take yet."""

    def restart_later(self) -> float:
        """Fix when it starts again; return in how many seconds."""
        if time.monotonic() - self.started > HEALTHY_S:
            self.failures = 0
        delay = RESTART_DELAYS_S[min(self.failures, len(RESTART_DELAYS_S) - 1)]
        self.failures += 1
        self.restart_at = time.monotonic() + delay
        return delay


class Children:
    """All children of the supervisor."""

    def __init__(self, on_report: Callable[[Child, Report], None]) -> None:
        self._on_report = on_report
        self._selector = selectors.DefaultSelector()
        self._all: list[Child] = []

    def __iter__(self) -> Iterator[Child]:
        return iter(self._all)

    def watch(self, descriptor: int, on_readable: Callable[[], None]) -> None:
        """Let `wait` end when something else can be read, too."""
        self._selector.register(descriptor, selectors.EVENT_READ, on_readable)

    def start(self, child: Child, first: Order) -> None:
        """Start a child, or start it again, and give it its first order."""
        process = subprocess.Popen(
            [sys.executable, "-m", *child.command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
            pass_fds=child.descriptors,
        )
        if child.niceness:
            give_way(process.pid, child.niceness)
        child.process, child.started, child.restart_at = process, time.monotonic(), None
        child.ready, child.heard, child.unsent = False, b"", b""
        child.condition = child.remark = ""
        if child not in self._all:
            self._all.append(child)
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                os.set_blocking(pipe.fileno(), False)
        if process.stdout is not None:
            self._selector.register(process.stdout, selectors.EVENT_READ, child)
        self.order(child, first)

    def order(self, child: Child, order: Order) -> None:
        """Tell a child something, as soon as it listens."""
        child.unsent += encode(order)
        self._send(child)

    def wait(self, timeout_s: float | None) -> None:
        """Wait until something happens, and hear what children report."""
        for key, event in self._selector.select(timeout_s):
            if not isinstance(key.data, Child):
                key.data()
            elif event & selectors.EVENT_WRITE:
                self._send(key.data)
            else:
                self._listen(key.data)

    def restart_due(self) -> list[Child]:
        """Return those that are to be started again now."""
        now = time.monotonic()
        return [c for c in self._all if c.restart_at is not None and now >= c.restart_at]

    def next_restart_s(self) -> float | None:
        """Return in how many seconds one is to be started again."""
        due = [child.restart_at for child in self._all if child.restart_at is not None]
        return max(0.0, min(due) - time.monotonic()) if due else None

    def ended(self) -> list[tuple[Child, int]]:
        """Return those that have ended since the last time, with their exit codes."""
        found = []
        for child in self._all:
            if child.process is None or (code := child.process.poll()) is None:
                continue
            self._listen(child)
            self._close_pipes(child.process)
            child.process, child.ready = None, False
            found.append((child, code))
        return found

    def kill(self, children: Iterable[Child]) -> None:
        """End children at once."""
        for child in children:
            if child.process is not None:
                child.process.kill()
                child.process.wait()

    def close(self) -> None:
        """Kill whoever is left."""
        self.kill(self._all)
        self.ended()
        self._selector.close()

    def _send(self, child: Child) -> None:
        pipe = child.process.stdin if child.process is not None else None
        if pipe is None:
            child.unsent = b""
            return
        try:
            child.unsent = child.unsent[os.write(pipe.fileno(), child.unsent) :]
        except BlockingIOError:
            pass
        except BrokenPipeError:
            child.unsent = b""  # its end is noticed on its own
        registered = pipe in self._selector.get_map()
        if child.unsent and not registered:
            self._selector.register(pipe, selectors.EVENT_WRITE, child)
        elif registered and not child.unsent:
            self._selector.unregister(pipe)

    def _listen(self, child: Child) -> None:
        pipe = child.process.stdout if child.process is not None else None
        if pipe is None:
            return
        with contextlib.suppress(BlockingIOError):
            while data := os.read(pipe.fileno(), READ_BYTES):
                *whole, child.heard = (child.heard + data).split(b"\n")
                for line in whole:
                    self._report(child, line)
            if pipe in self._selector.get_map():
                self._selector.unregister(pipe)  # it is about to end

    def _report(self, child: Child, line: bytes) -> None:
        with contextlib.suppress(msgspec.MsgspecError):  # not ours: nobody else has this pipe
            self._on_report(child, decode_report(line))

    def _close_pipes(self, process: subprocess.Popen[bytes]) -> None:
        for pipe in (process.stdin, process.stdout):
            if pipe is None:
                continue
            if pipe in self._selector.get_map():
                self._selector.unregister(pipe)
            pipe.close()
