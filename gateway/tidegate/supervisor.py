"""The parent process: starts, watches, signals and restarts the others.

No event loop and no plugins: what can break, breaks elsewhere. It owns the sockets that
clients connect to and the lock of the journal, so that both outlive any worker.
"""

import contextlib
import fcntl
import logging
import os
import selectors
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from tidegate.clock import SystemClock
from tidegate.config import Config, Flags
from tidegate.control import Condition, Failed, Load, Loaded, Ready, State, Stop, decode_report
from tidegate.control import encode as encode_order
from tidegate.errors import ConfigError, Problem
from tidegate.http.listen import bind
from tidegate.journal.recovery import recover

log = logging.getLogger(__name__)

LOCK_WAIT_S = 10.0
"""How long workers of a supervisor that was killed may take to leave."""

RESTART_DELAYS_S = (0.0, 0.5, 1.0, 2.0, 5.0, 10.0)
HEALTHY_S = 30.0
"""A child that lived this long starts again at the first delay."""

START_S = 60.0
LINGER_S = 10.0
"""Beyond its own limits, before a child that does not leave is killed."""

SAME_SIGNAL_S = 1.0

OBSERVATORY = "observatory"


@dataclass(slots=True)
class Child:
    """A worker or the observatory: what is to run, and what runs now."""

    name: str
    command: list[str]
    descriptors: tuple[int, ...]
    process: subprocess.Popen[bytes] | None = None
    ready: bool = False
    writer: str = ""
    condition: str = ""
    failures: int = 0
    started: float = 0.0
    restart_at: float | None = None
    partial: bytes = b""
    problems: tuple[Problem, ...] = ()


@dataclass(slots=True)
class _Signals:
    """Signals that have come, as flags; the wake-up descriptor ends the wait."""

    stop: int = 0
    stopped_at: float = float("-inf")
    reload: bool = False
    wake: socket.socket = field(default_factory=socket.socket)


class Supervisor:
    """Runs one gateway until it is told to stop."""

    def __init__(
        self,
        config: Config,
        read_text: Callable[[], str | None],
        flags: Flags,
        *,
        announce: Callable[[str], None],
    ) -> None:
        self._config = config
        self._read_text = read_text
        self._flags = flags
        self._announce = announce
        self._clock = SystemClock()
        self._directory = Path(config.journal.dir)
        self._selector = selectors.DefaultSelector()
        self._signals = _Signals()
        self._children: dict[str, Child] = {}
        self._listeners: list[socket.socket] = []
        self._text: str | None = None
        self._draining = False
        self._told: State | None = None

    def run(self) -> int:
        """Serve until a signal says stop; return the exit code."""
        try:
            self._text = self._read_text()
            with self._locked(), self._watching_signals():
                return self._run()
        except ConfigError as error:
            self._complain(error.problems)
            return 2

    def _run(self) -> int:
        lost = recover(self._directory, self._clock)
        if lost:
            log.warning("closed %d exchanges that a killed gateway left open", lost)
        self._listeners = _bind(self._config)
        try:
            if not self._start_all():
                return 2
            self._say_where()
            while not self._signals.stop:
                self._turn()
            self._drain()
            return 0
        finally:
            self._kill_all()
            for listener in self._listeners:
                listener.close()

    # starting

    def _start_all(self) -> bool:
        """Start everything; false if something cannot start."""
        self._spawn(Child(OBSERVATORY, ["tidegate.observatory"], ()))
        for slot, listener in enumerate(self._listeners):
            fd = listener.fileno()
            self._spawn(Child(f"worker-{slot}", ["tidegate.worker", str(slot), str(fd)], (fd,)))
        deadline = time.monotonic() + START_S
        while not all(child.ready for child in self._children.values()):
            self._wait(0.5)
            self._reap()
            failed = [child for child in self._children.values() if child.process is None]
            if failed or self._signals.stop or time.monotonic() > deadline:
                self._explain(failed)
                return False
        self._tell_state()
        return True

    def _explain(self, failed: Sequence[Child]) -> None:
        problems = dict.fromkeys(problem for child in failed for problem in child.problems)
        self._complain(list(problems))
        for child in failed:
            if not child.problems:
                self._announce(f"{child.name} died at start; its own words are above")

    def _complain(self, problems: Sequence[Problem]) -> None:
        for problem in problems:
            self._announce(f"error: {problem}")

    def _say_where(self) -> None:
        host, port = self._listeners[0].getsockname()[:2]
        scheme = "https" if self._config.listen.tls_cert else "http"
        shown = f"[{host}]" if ":" in host else host
        admin = self._config.admin
        self._announce(
            f"tidegate serves {scheme}://{shown}:{port} → {self._config.upstream.url}\n"
            f"  admin    http://{admin.host}:{self._admin_port}/metrics  /readyz  /healthz\n"
            f"  journal  {self._directory}\n"
            f"  try      ANTHROPIC_BASE_URL={scheme}://{shown}:{port}"
        )

    @property
    def _admin_port(self) -> int:
        return self._config.admin.port

    def _spawn(self, child: Child) -> None:
        child.process = subprocess.Popen(
            [sys.executable, "-m", *child.command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            pass_fds=(*child.descriptors, self._lock_fd),
        )
        child.ready, child.condition, child.partial = False, "", b""
        child.started, child.restart_at = time.monotonic(), None
        self._children[child.name] = child
        if child.process.stdout is not None:
            os.set_blocking(child.process.stdout.fileno(), False)
            self._selector.register(child.process.stdout, selectors.EVENT_READ, child)
        self._order(child, Load(self._text, self._flags))

    # running

    def _turn(self) -> None:
        self._wait(self._next_restart())
        self._reap()
        if self._signals.reload:
            self._signals.reload = False
            self._reload()
        now = time.monotonic()
        for child in list(self._children.values()):
            if child.restart_at is not None and now >= child.restart_at:
                self._spawn(child)
        self._tell_state()

    def _next_restart(self) -> float | None:
        due = [
            child.restart_at for child in self._children.values() if child.restart_at is not None
        ]
        return max(0.0, min(due) - time.monotonic()) if due else None

    def _wait(self, timeout_s: float | None) -> None:
        """Wait for a report, a signal or the end of a child."""
        for key, _ in self._selector.select(timeout_s):
            if isinstance(key.data, Child):
                self._read_reports(key.data)
            else:
                with contextlib.suppress(BlockingIOError):
                    self._signals.wake.recv(4096)

    def _read_reports(self, child: Child) -> None:
        if child.process is None or child.process.stdout is None:
            return
        data = child.process.stdout.read()
        if data == b"":
            with contextlib.suppress(KeyError):
                self._selector.unregister(child.process.stdout)
            return
        *whole, child.partial = (child.partial + (data or b"")).split(b"\n")
        for line in whole:
            self._take_report(child, line)

    def _take_report(self, child: Child, line: bytes) -> None:
        try:
            report = decode_report(line)
        except msgspec.MsgspecError:
            log.warning("%s says something that is no report", child.name)
            return
        match report:
            case Ready():
                child.ready, child.writer = True, report.writer
                log.info("%s is ready (configuration %s)", child.name, report.config)
            case Loaded(problems=()):
                log.info("%s runs configuration %s", child.name, report.config)
            case Loaded():
                log.error("%s keeps configuration %s", child.name, report.config)
                self._complain(report.problems)
            case Failed():
                child.problems = report.problems
            case Condition():
                child.condition = report.reason
                log.warning("%s: %s", child.name, report.reason or "well again")

    def _reap(self) -> None:
        for child in self._children.values():
            if child.process is not None and child.process.poll() is not None:
                self._read_reports(child)
                self._lost(child)

    def _lost(self, child: Child) -> None:
        """A child has ended: close what it left open, and start it again after a while."""
        process, child.process = child.process, None
        was_ready, child.ready = child.ready, False
        if process is not None:
            _close_pipes(self._selector, process)
        if child.writer:
            lost = recover(self._directory, self._clock, child.writer)
            if lost:
                log.error("%s died with %d exchanges in flight", child.name, lost)
        if self._draining or (not was_ready and not child.failures):
            return
        if time.monotonic() - child.started > HEALTHY_S:
            child.failures = 0
        delay = RESTART_DELAYS_S[min(child.failures, len(RESTART_DELAYS_S) - 1)]
        child.failures += 1
        child.restart_at = time.monotonic() + delay
        code = process.returncode if process is not None else None
        log.error("%s ended with %s; starts again in %g s", child.name, code, delay)
        if child.problems:
            self._complain(child.problems)

    def _reload(self) -> None:
        """Give everyone the configuration as it is now. Each opens it before it swaps."""
        try:
            self._text = self._read_text()
        except ConfigError as error:
            self._complain(error.problems)
            return
        log.info("reloading")
        for child in self._children.values():
            self._order(child, Load(self._text, self._flags))

    def _tell_state(self) -> None:
        """Tell the observatory what `/readyz` has to say."""
        workers = self._workers()
        reasons = [f"{child.name}: {child.condition}" for child in workers if child.condition]
        if not any(child.ready for child in workers):
            reasons.append("no worker accepts requests")
        if self._draining:
            reasons.append("draining")
        state = State(not reasons, tuple(reasons))
        observatory = self._children.get(OBSERVATORY)
        if observatory is not None and observatory.ready and state != self._told:
            self._told = state
            self._order(observatory, state)
        elif observatory is None or not observatory.ready:
            self._told = None

    def _workers(self) -> list[Child]:
        return [child for name, child in self._children.items() if name != OBSERVATORY]

    def _order(self, child: Child, order: Load | Stop | State) -> None:
        if child.process is None or child.process.stdin is None:
            return
        with contextlib.suppress(BrokenPipeError):  # its end is noticed on its own
            child.process.stdin.write(encode_order(order))
            child.process.stdin.flush()

    # stopping

    def _drain(self) -> None:
        """Let streams in flight finish, then let observers catch up, then leave."""
        log.info("draining")
        self._draining = True
        self._tell_state()
        for listener in self._listeners:
            listener.close()
        self._stop(self._workers(), self._config.listen.drain_s + LINGER_S)
        self._stop([self._children[OBSERVATORY]], LINGER_S)

    def _stop(self, children: Sequence[Child], timeout_s: float) -> None:
        already = self._signals.stop
        for child in children:
            child.restart_at = None
            self._order(child, Stop())
        deadline = time.monotonic() + timeout_s
        while any(child.process is not None for child in children):
            left = deadline - time.monotonic()
            if left <= 0 or self._signals.stop > already:
                log.warning("not waiting any longer")
                self._kill(children)
            self._wait(min(max(left, 0.0), 0.5))
            self._reap()

    def _kill(self, children: Sequence[Child]) -> None:
        for child in children:
            if child.process is not None:
                child.process.kill()
                child.process.wait()

    def _kill_all(self) -> None:
        self._draining = True
        self._kill(list(self._children.values()))
        self._reap()

    # what the process owns

    @contextlib.contextmanager
    def _locked(self):  # type: ignore[no-untyped-def]
        self._lock_fd = _lock(self._directory)
        try:
            yield
        finally:
            os.close(self._lock_fd)

    @contextlib.contextmanager
    def _watching_signals(self):  # type: ignore[no-untyped-def]
        self._signals.wake, wake = socket.socketpair()
        for end in (self._signals.wake, wake):
            end.setblocking(False)
        previous = signal.set_wakeup_fd(wake.fileno(), warn_on_full_buffer=False)
        handlers = {
            signal.SIGTERM: self._on_stop,
            signal.SIGINT: self._on_stop,
            signal.SIGHUP: self._on_reload,
            signal.SIGCHLD: lambda *_: None,  # wakes the loop up
        }
        before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
        self._selector.register(self._signals.wake, selectors.EVENT_READ, None)
        try:
            yield
        finally:
            signal.set_wakeup_fd(previous)
            for number, handler in before.items():
                signal.signal(number, handler)
            self._selector.close()
            wake.close()
            self._signals.wake.close()

    def _on_stop(self, *_: object) -> None:
        # One Ctrl-C may come twice, to the process and to its group.
        now = time.monotonic()
        if now - self._signals.stopped_at > SAME_SIGNAL_S:
            self._signals.stop += 1
            self._signals.stopped_at = now

    def _on_reload(self, *_: object) -> None:
        self._signals.reload = True


def _lock(directory: Path) -> int:
    """Return a locked descriptor; children inherit it, so that orphans keep the lock.

    Raises:
        ConfigError: the directory cannot be used, or another gateway uses it.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
        fd = os.open(directory / "lock", os.O_RDWR | os.O_CREAT, 0o640)
    except OSError as error:
        raise ConfigError([Problem("journal.dir", f"{directory}: {error.strerror}")]) from None
    deadline = time.monotonic() + LOCK_WAIT_S
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() < deadline:
                time.sleep(0.1)
                continue
            owner = os.pread(fd, 32, 0).decode(errors="replace").strip()
            os.close(fd)
            message = f"{directory} is in use by another gateway (process {owner}); give this one a directory of its own"
            raise ConfigError([Problem("journal.dir", message)]) from None
        os.ftruncate(fd, 0)
        os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)
        return fd


def _bind(config: Config) -> list[socket.socket]:
    listen = config.listen
    try:
        return bind(config)
    except OSError as error:
        message = f"{listen.host} port {listen.port}: {error.strerror or error}"
        raise ConfigError([Problem("listen", message)]) from None


def _close_pipes(selector: selectors.BaseSelector, process: subprocess.Popen[bytes]) -> None:
    if process.stdout is not None:
        with contextlib.suppress(KeyError):
            selector.unregister(process.stdout)
        process.stdout.close()
    if process.stdin is not None:
        with contextlib.suppress(BrokenPipeError):
            process.stdin.close()
