"""How long a policy may take, watched with one timer for all that wait for it."""

import asyncio
from collections.abc import Coroutine, Generator
from types import TracebackType, coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class Timeout:
    """The time that each call of one policy has.

    All of them have as much, so the call that has waited longest is the first that is late: one
    timer is enough, which goes on to the next. `asyncio.timeout` sets one for each call, and
    costs a small request, for which `redact` waits a turn of the event loop, twice 20 µs.
    """

    def __init__(self, timeout_s: float = 10) -> None:
        self.timeout_s = timeout_s
        self._waits: dict[_Wait, None] = {}  # the one that has waited longest comes first
        self._timer: asyncio.TimerHandle | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    async def within(self, work: Coroutine[Any, Any, T]) -> T:
        """Return the result of `work`.

        Most policies never wait for anything. Those are run through at once, and not watched.

        Raises:
            TimeoutError: it took too long, and was cancelled.
        """
        try:
            waiting_for = work.send(None)
        except StopIteration as done:
            return done.value  # type: ignore[no-any-return]
        with self._wait():
            return await _resume(work, waiting_for)

    def _wait(self) -> "_Wait":
        loop = asyncio.get_running_loop()
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("only tasks can be timed out")
        if loop is not self._loop:
            self._loop, self._timer, self._waits = loop, None, {}
        wait = _Wait(self._waits, task, loop.time() + self.timeout_s)
        if self._timer is None:
            self._timer = loop.call_at(wait.due, self._look, loop)
        return wait

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        """Cancel who is late; the rest is looked at when the next one would be."""
        self._timer = None
        for wait in list(self._waits):
            if wait.due > loop.time():
                self._timer = loop.call_at(wait.due, self._look, loop)
                return
            wait.cancel()


class _Wait:
    """One call that waits, as a context: whoever is late leaves it with TimeoutError."""

    __slots__ = ("_cancelling", "_late", "_task", "_waits", "due")

    def __init__(self, waits: "dict[_Wait, None]", task: "asyncio.Task[Any]", due: float) -> None:
        self.due = due
        self._waits = waits
        self._task = task
        self._cancelling = task.cancelling()
        self._late = False

    def __enter__(self) -> None:
        self._waits[self] = None

    def cancel(self) -> None:
        del self._waits[self]
        self._late = True
        self._task.cancel()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if not self._late:
            del self._waits[self]
            return
        # Others may have cancelled the task as well: then it stays cancelled.
        others = self._task.uncancel() > self._cancelling
        if kind is asyncio.CancelledError and not others:
            raise TimeoutError from error


@coroutine
def _resume(work: Coroutine[Any, Any, T], waiting_for: Any) -> Generator[Any, Any, T]:
    """Go on with a coroutine that has been started by hand and waits for `waiting_for`."""
    while True:
        try:
            try:
                sent = yield waiting_for
            except GeneratorExit:
                work.close()
                raise
            except BaseException as error:  # noqa: BLE001 - cancellation above all: it is the work's
                waiting_for = work.throw(error)
            else:
                waiting_for = work.send(sent)
        except StopIteration as done:
            return done.value  # type: ignore[no-any-return]
