"""Follows the journal for one observer: in a thread, with a checkpoint and a lag of its own."""

import asyncio
import contextlib
import logging
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import AsyncExitStack
from pathlib import Path

import msgspec

from tidegate.clock import Clock
from tidegate.config import Config
from tidegate.errors import ConfigError, Problem, Unavailable, place_of
from tidegate.journal.checkpoint import Checkpoint, load, save
from tidegate.journal.cursor import Cursor
from tidegate.journal.keeper import Keeper
from tidegate.journal.reader import is_content
from tidegate.pipeline.generation import open_plugin
from tidegate.plugin import Browsable, LoadedPlugin, Observer, ObserverLag, Scrapable
from tidegate.record import decode
from tidegate.registry import Chosen

log = logging.getLogger(__name__)

IDLE_S = 0.5
"""Between two looks at a journal that has not grown."""

SAVE_S = 1.0
"""Between two flushes. What was taken in after the last one is taken in again after a crash."""

RETRY_DELAYS_S = (0.5, 1, 2, 5, 10, 30)

OPEN_S = 30.0
"""How long an observer may take to open."""

PLUGIN_ERRORS = (Exception, SystemExit, asyncio.CancelledError)
"""Whatever a plugin may raise, as long as it is about the plugin alone."""


class Follower:
    """Feeds one observer from where it was left."""

    def __init__(
        self,
        link: Chosen,
        config: Config,
        clock: Clock,
        keeper: Keeper,
        lags: Callable[[], Sequence[ObserverLag]],
        *,
        plugins: Callable[[], Sequence[LoadedPlugin]] = tuple,
        digest: Callable[[], str] = str,
    ) -> None:
        self._link = link
        self._config = config
        self._clock = clock
        self._keeper = keeper
        self._lags, self._plugins, self._digest = lags, plugins, digest
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
        self._left = False
        self._cursor: Cursor | None = None

    def again(self) -> "Follower":
        """Return a new follower for the same observer."""
        given = self._link, self._config, self._clock, self._keeper, self._lags
        return Follower(*given, plugins=self._plugins, digest=self._digest)

    @property
    def name(self) -> str:
        """What the configuration calls the observer."""
        return self._name

    @property
    def scrapable(self) -> Scrapable | None:
        """The observer, if it serves metrics."""
        return self._observer if isinstance(self._observer, Scrapable) else None

    def lag(self) -> ObserverLag:
        """Return how far it is behind. From any thread; looks at the disk.

        Raises:
            OSError: the journal cannot be listed.
        """
        cursor = self._cursor
        return ObserverLag(observer=self._name) if cursor is None else cursor.lag(self._name)

    @property
    def browsable(self) -> Browsable | None:
        """The observer, if it serves pages."""
        return self._observer if isinstance(self._observer, Browsable) else None

    async def start(self) -> None:
        """Open the observer and begin.

        Raises:
            ConfigError: it cannot be opened.
        """
        name = f"observer {self._name}"
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()
        try:
            async with asyncio.timeout(OPEN_S):
                await asyncio.shield(asyncio.wrap_future(self._opened))
        except TimeoutError:
            self._left = True
            problem = Problem(f"plugins.{self._name}", f"did not open in {OPEN_S:g} s")
            raise ConfigError([problem]) from None

    async def stop(self, budget_s: float) -> None:
        """Let it catch up for at most `budget_s`, then leave it where it is."""
        self._stop_at = time.monotonic() + budget_s
        self._poke()
        # A little more than the budget: closing takes a moment too.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(budget_s + 0.5):
                await asyncio.shield(asyncio.wrap_future(self._finished))
        # One that hangs may come to itself when another owns its checkpoint.
        self._left = True

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
        """Follow to the end; after an accident, again from the checkpoint."""
        attempt = 0
        while not self._run_once() and not self._left:
            time.sleep(RETRY_DELAYS_S[min(attempt, len(RETRY_DELAYS_S) - 1)])
            attempt += 1
        self._finished.set_result(None)

    def _run_once(self) -> bool:
        """Return whether that was all."""
        try:
            asyncio.run(self._follow())
        except PLUGIN_ERRORS as error:
            if not self._opened.done():
                self._opened.set_exception(self._why(error))
                return True
            log.exception("observer %s broke off", self._name)
            return self._stop_at is not None
        return True

    def _why(self, error: BaseException) -> ConfigError:
        if isinstance(error, ConfigError):
            return error
        problem = Problem(f"plugins.{self._name}", f"{type(error).__name__}: {error}")
        return ConfigError([problem])

    async def _follow(self) -> None:
        self._loop, self._wake = asyncio.get_running_loop(), asyncio.Event()
        path = self._directory / "observers" / f"{self._name}.checkpoint"
        checkpoint = load(path)
        async with AsyncExitStack() as stack:
            observer = await open_plugin(
                *(self._link, self._config, stack, self._clock),
                state=checkpoint.state,
                lags=self._lags,
                journal=self._keeper.state,
                plugins=self._plugins,
                digest=self._digest,
            )
            if not isinstance(observer, Observer):
                message = "has no stage but opens no observer: it lacks `on_record` or `flush`"
                raise ConfigError([Problem(f"plugins.{self._name}", message)])
            self._observer = observer
            self._cursor = Cursor(self._directory, checkpoint, self._keeper, self._clock)
            if checkpoint.seen_removals is None:
                # From now on it can lose something, also if it never comes to a flush.
                self._save(path, self._cursor.checkpoint(checkpoint.state))
            if not self._opened.done():
                self._opened.set_result(None)
            await self._feed(observer, self._cursor, path)

    async def _feed(self, observer: Observer, cursor: Cursor, path: Path) -> None:
        """Take in what is there, flush now and then, until told to stop."""
        flushed = time.monotonic()
        dirty = False
        while not self._left:
            waiting, self._waiting = self._waiting, []
            dirty = await self._take_in(observer, cursor) or dirty
            stopping = self._stop_at is not None
            if dirty and (time.monotonic() - flushed >= SAVE_S or (stopping and cursor.at_end)):
                state = await self._flush(observer)
                if state is None:
                    return
                dirty = not self._save(path, cursor.checkpoint(state))
                flushed = time.monotonic()
            if not dirty:
                cursor.safe()
            if not cursor.at_end:
                self._waiting = waiting + self._waiting
            else:
                self._caught_up = True
                _release(waiting)
            if stopping and (cursor.at_end or self._out_of_time()):
                return
            if cursor.at_end:
                await self._pause()

    async def _take_in(self, observer: Observer, cursor: Cursor) -> bool:
        """Feed the next records; return whether there is anything new to save."""
        reads_content = getattr(observer, "reads_content", False)
        found, lost = cursor.read()
        if lost:
            log.error("observer %s: %d records were removed before it read them", self._name, lost)
        for line in found:
            if self._left:
                break
            if is_content(line) and not reads_content:
                continue
            try:
                record = decode(line)
            except msgspec.MsgspecError:
                log.warning("observer %s: a journal line is not a record", self._name)
                continue
            try:
                await observer.on_record(record)
            except PLUGIN_ERRORS as error:  # the next record may do
                log.error("observer %s: a record failed: %s", self._name, place_of(error))  # noqa: TRY400
        return bool(found or lost)

    async def _flush(self, observer: Observer) -> bytes | None:
        """Let it make everything safe; return its state. Waits for a destination that does not answer.

        None if there is no more time to wait.
        """
        attempt = 0
        while True:
            try:
                return await observer.flush()
            except Unavailable as error:
                log.warning("observer %s waits: %s", self._name, error)
            except PLUGIN_ERRORS as error:
                log.error("observer %s: flush failed: %s", self._name, place_of(error))  # noqa: TRY400
            if self._stop_at is not None:
                return None
            await self._pause(RETRY_DELAYS_S[min(attempt, len(RETRY_DELAYS_S) - 1)])
            attempt += 1

    def _save(self, path: Path, checkpoint: Checkpoint) -> bool:
        """Save; where that fails the one before still holds, and what came since comes again."""
        if self._left:
            return False
        try:
            save(path, checkpoint, fsync=self._fsync)
        except OSError as error:
            log.warning("observer %s: its checkpoint waits: %s", self._name, error)
            return False
        return True

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
