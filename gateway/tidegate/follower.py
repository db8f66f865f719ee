"""Follows the journal for one observer: in a thread, with a checkpoint and a lag of its own."""

import asyncio
import contextlib
import logging
import threading
import time
from concurrent.futures import Future
from contextlib import AsyncExitStack
from pathlib import Path

import msgspec

from tidegate.clock import Clock
from tidegate.config import Config
from tidegate.errors import ConfigError, Problem, Unavailable, place_of
from tidegate.journal.checkpoint import Checkpoint, load, save
from tidegate.journal.reader import READ_BYTES, Tail
from tidegate.pipeline.generation import open_plugin
from tidegate.plugin import Observer, Scrapable
from tidegate.record import decode
from tidegate.registry import Chosen

log = logging.getLogger(__name__)

IDLE_S = 0.25
"""Between two looks at a journal that has not grown."""

SAVE_S = 1.0
"""Between two flushes. What was taken in after the last one is taken in again after a crash."""

RETRY_DELAYS_S = (0.5, 1, 2, 5, 10, 30)


class Follower:
    """Feeds one observer from where it was left."""

    def __init__(self, link: Chosen, config: Config, clock: Clock) -> None:
        self._link = link
        self._config = config
        self._clock = clock
        self._directory = Path(config.journal.dir)
        self._name = link.plugin.label
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._wake: asyncio.Event | None = None
        self._opened: Future[None] = Future()
        self._finished: Future[None] = Future()
        self._waiting: list[Future[None]] = []
        self._stop_at: float | None = None
        self._observer: object = None
        self._caught_up = False

    def again(self) -> "Follower":
        """Return a new follower for the same observer."""
        return Follower(self._link, self._config, self._clock)

    @property
    def scrapable(self) -> Scrapable | None:
        """The observer, if it serves metrics."""
        return self._observer if isinstance(self._observer, Scrapable) else None

    async def start(self) -> None:
        """Open the observer and begin.

        Raises:
            ConfigError: it cannot be opened.
        """
        name = f"observer {self._name}"
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()
        await asyncio.wrap_future(self._opened)

    async def stop(self, budget_s: float) -> None:
        """Let it catch up for at most `budget_s`, then leave it where it is."""
        self._stop_at = time.monotonic() + budget_s
        self._poke()
        # A little more than the budget: closing takes a moment too.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(budget_s + 0.5):
                await asyncio.shield(asyncio.wrap_future(self._finished))

    async def catch_up(self, timeout_s: float) -> bool:
        """Wait until all that is written now has been taken in.

        False if that takes longer and it has never been the case: counters are behind
        then by more than this moment's records.
        """
        done: Future[None] = Future()
        self._waiting.append(done)
        self._poke()
        try:
            async with asyncio.timeout(timeout_s):
                await asyncio.wrap_future(done)
        except TimeoutError:
            return self._caught_up
        return True

    def _poke(self) -> None:
        if self._loop is not None and self._wake is not None:
            with contextlib.suppress(RuntimeError):  # its loop has ended
                self._loop.call_soon_threadsafe(self._wake.set)

    def _run(self) -> None:
        try:
            asyncio.run(self._follow())
        except ConfigError as error:
            if not self._opened.done():
                self._opened.set_exception(error)
        except Exception as error:
            log.exception("observer %s has ended", self._name)
            if not self._opened.done():
                problem = Problem(f"plugins.{self._name}", f"{type(error).__name__}: {error}")
                self._opened.set_exception(ConfigError([problem]))
        finally:
            self._finished.set_result(None)

    async def _follow(self) -> None:
        self._loop, self._wake = asyncio.get_running_loop(), asyncio.Event()
        path = self._directory / "observers" / f"{self._name}.checkpoint"
        checkpoint = load(path)
        async with AsyncExitStack() as stack:
            observer = await open_plugin(
                self._link, self._config, stack, self._clock, state=checkpoint.state
            )
            if not isinstance(observer, Observer):
                message = "has no stage but opens no observer: it lacks `on_record` or `flush`"
                raise ConfigError([Problem(f"plugins.{self._name}", message)])
            self._observer = observer
            self._opened.set_result(None)
            await self._feed(observer, Tail(self._directory, checkpoint.position), path)

    async def _feed(self, observer: Observer, tail: Tail, path: Path) -> None:
        """Take in what is there, flush now and then, until told to stop."""
        flushed = time.monotonic()
        dirty = False
        while True:
            waiting, self._waiting = self._waiting, []
            size = await self._take_in(observer, tail)
            dirty = dirty or size > 0
            caught_up = size < READ_BYTES
            stopping = self._stop_at is not None
            if dirty and (time.monotonic() - flushed >= SAVE_S or (stopping and caught_up)):
                if not await self._flush(observer, tail, path):
                    return
                flushed, dirty = time.monotonic(), False
            if not caught_up:
                self._waiting = waiting + self._waiting
            else:
                self._caught_up = True
                _release(waiting)
            if stopping and (caught_up or self._out_of_time()):
                return
            if caught_up:
                await self._pause()

    async def _take_in(self, observer: Observer, tail: Tail) -> int:
        """Feed the next records; return how many bytes they were."""
        size = 0
        for line in tail.read():
            size += len(line)
            try:
                record = decode(line)
            except msgspec.MsgspecError:
                log.warning("observer %s: a journal line is not a record", self._name)
                continue
            try:
                await observer.on_record(record)
            except Exception as error:  # noqa: BLE001 - a plugin may raise anything; the next record may do
                log.error("observer %s: a record failed: %s", self._name, place_of(error))  # noqa: TRY400
        return size

    async def _flush(self, observer: Observer, tail: Tail, path: Path) -> bool:
        """Make it safe, and save how far it is. Waits for a destination that does not answer.

        False if there is no more time to wait.
        """
        attempt = 0
        while True:
            try:
                state = await observer.flush()
                save(path, Checkpoint(dict(tail.position), state), fsync=self._fsync)
            except (Unavailable, OSError) as error:
                log.warning("observer %s waits: %s", self._name, error)
            except Exception as error:  # noqa: BLE001 - a plugin may raise anything
                log.error("observer %s: flush failed: %s", self._name, place_of(error))  # noqa: TRY400
            else:
                return True
            if self._stop_at is not None:
                return False
            await self._pause(RETRY_DELAYS_S[min(attempt, len(RETRY_DELAYS_S) - 1)])
            attempt += 1

    @property
    def _fsync(self) -> bool:
        return self._config.journal.durability == "fsync"

    def _out_of_time(self) -> bool:
        return self._stop_at is not None and time.monotonic() >= self._stop_at

    async def _pause(self, delay_s: float = IDLE_S) -> None:
        """Wait, but not while somebody waits for us."""
        if self._wake is None:
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(delay_s):
                await self._wake.wait()
        self._wake.clear()


def _release(waiting: list[Future[None]]) -> None:
    for done in waiting:
        if not done.done():  # it may have given up
            done.set_result(None)
