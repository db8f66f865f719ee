"""One process beside the path: follows the journal for every observer, serves the admin port.

Each observer has a thread with an event loop of its own, so that one that hangs, burns
or raises leaves the others, and the admin port, alone.
"""

import asyncio
import logging
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from pathlib import Path

from tidegate import stderr
from tidegate.clock import Clock, SystemClock
from tidegate.config import Config
from tidegate.control import Failed, Line, Load, Loaded, Ready, Shown, State, Stop
from tidegate.errors import ConfigError, Problem
from tidegate.follower import Follower
from tidegate.http.admin import AdminPort, AdminSources, NoPages, Readiness
from tidegate.journal.keeper import Keeper
from tidegate.journal.retention import Limits
from tidegate.plugin import LoadedPlugin, ObserverLag, Page
from tidegate.registry import Chosen, loaded, resolve

log = logging.getLogger(__name__)

STOP_BUDGET_S = 5.0
"""How long observers may take to catch up at the end. The rest waits on disk."""

SCRAPE_WAIT_S = 2.0


class Observatory:
    """Runs the observers of one gateway, on the orders of a supervisor."""

    def __init__(self, line: Line, clock: Clock) -> None:
        self._line = line
        self._clock = clock
        self._readiness = Readiness(ready=False, reasons=("starting",))
        self._followers: list[Follower] = []
        self._observed: tuple[object, ...] = ()
        self._digest = ""
        self._plugins: tuple[LoadedPlugin, ...] = ()
        self._keeper: Keeper | None = None

    async def run(self) -> int:
        """Observe until told to stop; return the exit code."""
        order = await self._line.order()
        if not isinstance(order, Load):
            return 0
        admin = AdminPort(AdminSources(lambda: self._readiness, self._scrape, self._browse))
        try:
            config, chosen = resolve(order.text, order.flags)
            port = await _listen(admin, config)
            await self._follow(config, chosen)
        except ConfigError as error:
            self._line.report(Failed(error.problems))
            return 3
        self._line.report(Ready(self._digest, port=port))
        await self._obey()
        await self._leave()
        await admin.close()
        return 0

    async def _obey(self) -> None:
        while True:
            order = await self._line.order()
            if isinstance(order, Load):
                await self._reload(order)
            elif isinstance(order, State):
                self._readiness = Readiness(order.ready, order.reasons, order.remarks)
                self._line.report(Shown(order.ready))
            elif isinstance(order, Stop):
                return

    async def _reload(self, order: Load) -> None:
        """Follow with the new observers; on any problem go on with the old ones."""
        try:
            config, chosen = resolve(order.text, order.flags)
            await self._follow(config, chosen)
        except ConfigError as error:
            self._line.report(Loaded(self._digest, error.problems))
            return
        self._line.report(Loaded(self._digest))

    async def _follow(self, config: Config, chosen: Sequence[Chosen]) -> None:
        """Start a follower for each observer, in place of those that run now.

        Raises:
            ConfigError: one cannot be opened; those that ran go on.
        """
        observers = [link for link in chosen if link.spec.stage is None]
        if config.log.exchanges:
            observers.append(stderr.LINES)
        observed = (config.journal, *((link.plugin, link.config) for link in observers))
        if observed != self._observed:
            # An observer's checkpoint has one owner: the old ones stop before the new start.
            before = self._followers
            await _stop(before, STOP_BUDGET_S)
            keeper = self._keep(config)
            given = config, self._clock, keeper, self._lags
            followers = [
                Follower(link, *given, plugins=self._loaded, digest=lambda: self._digest)
                for link in observers
            ]
            try:
                await _start(followers)
            except ConfigError:
                self._followers = [follower.again() for follower in before]
                await _start(self._followers)
                raise
            self._followers, self._observed = followers, observed
            self._tell_places()
        self._digest = config.digest
        self._plugins = loaded(chosen)

    def _keep(self, config: Config) -> Keeper:
        """Return what keeps the journal, under the limits of this configuration."""
        journal = config.journal
        limits = Limits(journal.retain_days, journal.retain_bytes, journal.min_free_bytes)
        content = Limits(
            journal.content_retain_days, journal.content_retain_bytes, journal.min_free_bytes
        )
        if self._keeper is None:
            self._keeper = Keeper(Path(journal.dir), self._clock, limits)
            self._keeper.start()
        self._keeper.limits, self._keeper.content_limits = limits, content
        return self._keeper

    async def _scrape(self, accept: str, name: str) -> tuple[bytes, str] | None:
        """Return an observer's metrics, all that was written down before the scrape included.

        Without a name it is the first that has any.

        Raises:
            LookupError: there is none.
        """
        for follower in self._followers:
            scrapable = follower.scrapable
            if scrapable is None or name not in ("", follower.name):
                continue
            if not await follower.catch_up(SCRAPE_WAIT_S):
                return None
            return await asyncio.to_thread(scrapable.scrape, accept)
        raise LookupError(name)

    def _tell_places(self) -> None:
        """Say where metrics are that are not at `/metrics`."""
        scrapable = [follower.name for follower in self._followers if follower.scrapable]
        for name in scrapable[1:]:
            log.info("the metrics of `%s` are at /metrics/%s", name, name)

    def _lags(self) -> tuple[ObserverLag, ...]:
        """Return how far each observer is behind. In any thread."""
        return tuple(follower.lag() for follower in self._followers)

    def _loaded(self) -> tuple[LoadedPlugin, ...]:
        """Return the plugins in use. In any thread."""
        return self._plugins

    async def _browse(self, path: str, query: Mapping[str, str]) -> Page | None:
        """Return the page that an observer has there, or None.

        Raises:
            NoPages: no observer has any.
        """
        found = [follower.browsable for follower in self._followers]
        browsables = [browsable for browsable in found if browsable is not None]
        if not browsables:
            raise NoPages
        for browsable in browsables:
            page = await asyncio.to_thread(browsable.page, path, query)
            if page is not None:
                return page
        return None

    async def _leave(self) -> None:
        self._readiness = Readiness(ready=False, reasons=("stopping",))
        if self._keeper is not None:
            self._keeper.stop()
        await _stop(self._followers, STOP_BUDGET_S)


async def _listen(admin: AdminPort, config: Config) -> int:
    try:
        return await admin.start(config.admin.host, config.admin.port)
    except OSError as error:
        place = f"{config.admin.host} port {config.admin.port}"
        raise ConfigError([Problem("admin", f"{place}: {error.strerror or error}")]) from None


async def _start(followers: Sequence[Follower]) -> None:
    async with AsyncExitStack() as stack:
        for follower in followers:
            await follower.start()
            stack.push_async_callback(follower.stop, 0)
        stack.pop_all()


async def _stop(followers: Sequence[Follower], budget_s: float) -> None:
    await asyncio.gather(*(follower.stop(budget_s) for follower in followers))


async def _main() -> int:
    line = await Line.open()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM):
        loop.add_signal_handler(number, lambda: None)
    return await Observatory(line, SystemClock()).run()


def main() -> int:
    """Run the observatory; called by the supervisor only."""
    stderr.configure("observatory", text_name="observatory")
    code = asyncio.run(_main())
    # A hanging observer's thread must not keep the process: what it has not taken in is on disk.
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    main()
