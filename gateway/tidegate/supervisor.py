"""The parent process: starts, watches, signals and restarts the others.

No event loop and no plugins: what can break, breaks elsewhere. It owns the sockets that
clients connect to and the lock of the journal, so that both outlive any worker; and it alone
closes what a dead worker left open in the journal. Its rooms are in `tidegate.parent`.
"""

import contextlib
import logging
import socket
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from tidegate.clock import SystemClock
from tidegate.config import Config, Flags
from tidegate.control import (
    Condition,
    Failed,
    Load,
    Loaded,
    Prepared,
    Ready,
    Report,
    Shown,
    State,
    Stop,
)
from tidegate.errors import ConfigError, Problem
from tidegate.http.listen import bind
from tidegate.journal.recovery import Recovery
from tidegate.journal.writer import CONTENT
from tidegate.parent import lock
from tidegate.parent.children import Child, Children
from tidegate.parent.reload import Reloads
from tidegate.parent.signals import Signals

log = logging.getLogger(__name__)

NICENESS = 3
"""Of the observatory: where it has to share a core with a worker it gets a third of it."""

START_S = 60.0
LINGER_S = 10.0
"""Beyond its own limits, before a child that does not leave is killed."""

NOTICE_S = 2.0
"""How long `/readyz` may take to say that we are leaving, before we do."""

RETRY_S = 1.0
"""Between two attempts to close what the dead left open, where the disk is full."""


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
        self._tell_operator = announce
        self._directory = Path(config.journal.dir)
        self._signals = Signals()
        self._children = Children(self._on_report)
        self._observatory = Child("observatory", ("tidegate.observatory",), niceness=NICENESS)
        self._workers: list[Child] = []
        self._listeners: list[socket.socket] = []
        self._serving = False
        self._draining = False
        self._told: State | None = None
        self._shown = False
        self._admin_port = 0

    def run(self) -> int:
        """Serve until a signal says stop; return the exit code."""
        try:
            load = Load(self._read_text(), self._flags)
            self._reloads = Reloads(self._config, load, self._children, self._complain)
            with lock.held(self._directory, self._announce) as hold, self._signals.watched():
                return self._run(hold)
        except ConfigError as error:
            self._complain(error.problems)
            return 2

    def _run(self, hold: int) -> int:
        self._children.watch(self._signals.fileno(), self._signals.clear)
        self._recovery = Recovery(self._directory, SystemClock())
        self._recovery.died()
        self._recovery.attempt()
        self._listeners = _bind(self._config)
        try:
            if not self._start_all(hold):
                return 0 if self._signals.stops else 2
            self._say_where()
            self._serving = True
            while not self._signals.stops:
                self._turn()
            self._drain()
            return 0
        finally:
            self._draining = True
            self._children.kill(self._children)
            self._reap()
            self._children.close()
            _close(self._listeners)

    # starting

    def _start_all(self, hold: int) -> bool:
        """Start everything; false if something cannot start, or is not to."""
        self._observatory.descriptors = (hold,)
        for slot, listener in enumerate(self._listeners):
            fd = listener.fileno()
            command = ("tidegate.worker", str(slot), str(fd))
            self._workers.append(Child(f"worker-{slot}", command, (fd, hold), f"w{slot}-"))
        for child in (self._observatory, *self._workers):
            self._children.start(child, self._reloads.load)
        deadline = time.monotonic() + START_S
        while not all(child.ready for child in self._children):
            self._children.wait(0.5)
            self._reap()
            if self._signals.stops:
                return False
            if any(child.process is None for child in self._children):
                self._explain([child for child in self._children if child.process is None])
                return False
            if time.monotonic() > deadline:
                self._explain([child for child in self._children if not child.ready])
                return False
        self._tell_state()
        return True

    def _explain(self, failed: Sequence[Child]) -> None:
        """Say why there is no start."""
        self._complain(dict.fromkeys(problem for child in failed for problem in child.problems))
        for child in failed:
            if child.process is not None:
                self._announce(f"error: {child.name} did not start in {START_S:g} s")
            elif not child.problems:
                self._announce(f"error: {child.name} died at start; its own words are above")

    def _announce(self, text: str) -> None:
        with contextlib.suppress(OSError):  # standard error may be a file on a full disk
            self._tell_operator(text)

    def _complain(self, problems: Iterable[Problem]) -> None:
        for problem in problems:
            self._announce(f"error: {problem}")

    def _say_where(self) -> None:
        host, port = self._listeners[0].getsockname()[:2]
        scheme = "https" if self._config.listen.tls_cert else "http"
        shown = f"[{host}]" if ":" in host else host
        where = ", ".join(upstream.url for upstream in self._config.targets)
        self._announce(
            f"tidegate serves {scheme}://{shown}:{port} → {where}\n"
            f"  admin    http://{self._config.admin.host}:{self._admin_port}/metrics  /readyz  /healthz\n"
            f"  journal  {self._directory}\n"
            f"  try      ANTHROPIC_BASE_URL={scheme}://{shown}:{port}"
        )

    # running

    def _turn(self) -> None:
        """Wait until something happens, and do what it asks for."""
        self._children.wait(self._patience_s())
        self._reap()
        self._recovery.attempt()
        if self._signals.reload and not self._reloads.running:
            self._signals.reload = False
            self._reloads.begin(self._read_text, self._workers, self._observatory)
        self._reloads.advance()
        for child in self._children.restart_due():
            self._children.start(child, self._reloads.load)
        self._tell_state()

    def _patience_s(self) -> float | None:
        limits = [self._children.next_restart_s(), self._reloads.left_s()]
        if self._recovery.owes:
            limits.append(RETRY_S)
        return min((limit for limit in limits if limit is not None), default=None)

    def _on_report(self, child: Child, report: Report) -> None:
        match report:
            case Ready():
                child.ready = True
                self._admin_port = report.port or self._admin_port
                log.info("%s is ready (configuration %s)", child.name, report.config)
            case Shown():
                self._shown = report.ready
            case Prepared() | Loaded(problems=(_, *_)):
                self._reloads.answered(child, report.problems)
            case Loaded():
                log.info("%s runs configuration %s", child.name, report.config)
                self._reloads.answered(child, ())
            case Failed():
                child.problems = report.problems
            case Condition():
                child.condition, child.remark = report.reason, report.remark
                said = "; ".join(filter(None, (report.reason, report.remark)))
                log.warning("%s: %s", child.name, said or "well again")

    def _reap(self) -> None:
        for child, code in self._children.ended():
            if child.writers:
                self._recovery.died(child.writers)
                self._recovery.died(CONTENT + child.writers)
                self._recovery.attempt()
            self._reloads.lost(child)
            if self._serving and not self._draining:
                delay = child.restart_later()
                log.error("%s ended with %d; starts again in %g s", child.name, code, delay)
                self._complain(child.problems)

    def _tell_state(self) -> None:
        """Tell the observatory what `/readyz` has to say."""
        if not self._observatory.ready:
            self._told = None
            return
        state = self._state()
        if state != self._told:
            self._told = state
            self._children.order(self._observatory, state)

    def _state(self) -> State:
        reasons = [f"{child.name}: {child.condition}" for child in self._workers if child.condition]
        if not any(child.ready for child in self._workers):
            reasons.append("no worker accepts requests")
        if self._recovery.owes:
            reasons.append("the journal waits for its recovery")
        if self._draining:
            reasons.append("draining")
        remarks = [f"{child.name}: {child.remark}" for child in self._workers if child.remark]
        return State(not reasons, tuple(reasons), tuple(remarks))

    # stopping

    def _drain(self) -> None:
        """Let streams in flight finish, then let observers catch up, then leave."""
        log.info("draining")
        self._draining = True
        self._give_notice()
        _close(self._listeners)
        self._stop(self._workers, self._reloads.config.listen.drain_s + LINGER_S)
        self._recovery.attempt()
        self._stop([self._observatory], LINGER_S)

    def _give_notice(self) -> None:
        """Let `/readyz` say that we are leaving while connections are still accepted."""
        self._tell_state()
        deadline = time.monotonic() + NOTICE_S
        while self._observatory.ready and self._shown and time.monotonic() < deadline:
            self._children.wait(0.1)
            self._reap()

    def _stop(self, children: Sequence[Child], timeout_s: float) -> None:
        """Let children leave; kill those that take too long, or all if told to stop again."""
        already = self._signals.stops
        for child in children:
            child.restart_at = None
            self._children.order(child, Stop())
        deadline = time.monotonic() + timeout_s
        while any(child.process is not None for child in children):
            left = deadline - time.monotonic()
            if left <= 0 or self._signals.stops > already:
                log.warning("not waiting any longer")
                self._children.kill(children)
            self._children.wait(min(max(left, 0.0), 0.5))
            self._reap()


def _bind(config: Config) -> list[socket.socket]:
    listen = config.listen
    try:
        return bind(config)
    except OSError as error:
        message = f"{listen.host} port {listen.port}: {error.strerror or error}"
        raise ConfigError([Problem("listen", message)]) from None


def _close(listeners: Iterable[socket.socket]) -> None:
    for listener in listeners:
        listener.close()
