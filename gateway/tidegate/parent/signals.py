"""Signals, as flags to look at; each also ends the wait for whatever else may happen."""

import contextlib
import signal
import socket
import time
from collections.abc import Iterator

SAME_SIGNAL_S = 1.0
"""One Ctrl-C may come twice: to the process, and to its group."""


class Signals:
    """What has been signalled so far."""

    def __init__(self) -> None:
        self.stops = 0
        """How often we have been told to stop."""
        self.reload = False
        """Whoever reloads sets it back."""
        self._stopped_at = float("-inf")
        self._ear, self._mouth = socket.socketpair()
        self._ear.setblocking(False)
        self._mouth.setblocking(False)

    def fileno(self) -> int:
        """Return the descriptor that is readable once a signal has come."""
        return self._ear.fileno()

    def clear(self) -> None:
        """Make the descriptor wait for the next one."""
        with contextlib.suppress(BlockingIOError):
            self._ear.recv(4096)

    @contextlib.contextmanager
    def watched(self) -> Iterator[None]:
        """Take over SIGTERM, SIGINT, SIGHUP and SIGCHLD of this process, for the rest of its life.

        What comes when all is over is ignored: it must not change the exit code.
        """
        handlers = {
            signal.SIGTERM: self._on_stop,
            signal.SIGINT: self._on_stop,
            signal.SIGHUP: self._on_reload,
            signal.SIGCHLD: lambda *_: None,  # the wait ends, and the dead are looked for
        }
        wakeup = signal.set_wakeup_fd(self._mouth.fileno(), warn_on_full_buffer=False)
        for number, handler in handlers.items():
            signal.signal(number, handler)
        try:
            yield
        finally:
            for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
                signal.signal(number, signal.SIG_IGN)
            signal.set_wakeup_fd(wakeup)
            self._ear.close()
            self._mouth.close()

    def _on_stop(self, *_: object) -> None:
        now = time.monotonic()
        if now - self._stopped_at > SAME_SIGNAL_S:
            self.stops += 1
            self._stopped_at = now

    def _on_reload(self, *_: object) -> None:
        self.reload = True
