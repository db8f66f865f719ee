"""What an observer gets when its destination is down, the journal is cut short, or it hangs."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from support.journals import StandingClock, exchange, records, writer
from tidegate import follower as follower_module
from tidegate.config import Config, Journal, Plugin
from tidegate.errors import Unavailable
from tidegate.follower import Follower
from tidegate.journal.keeper import Keeper
from tidegate.journal.reader import size_of
from tidegate.journal.retention import Limits
from tidegate.plugin import Host, ObserverLag, PluginConfig, PluginSpec
from tidegate.record import ExchangeRecord, Record
from tidegate.registry import Chosen

PATIENCE_S = 20.0


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(follower_module, "RETRY_DELAYS_S", (0.01,))
    monkeypatch.setattr(follower_module, "SAVE_S", 0.01)
    monkeypatch.setattr(follower_module, "IDLE_S", 0.01)


class Destination:
    """Where records are to arrive, and the observer that takes them there."""

    def __init__(self) -> None:
        self.down = False
        self.hangs = False
        self.tried = 0
        self.arrived: list[str] = []
        self.lags: tuple[ObserverLag, ...] = ()

    @asynccontextmanager
    async def open(self, config: PluginConfig, host: Host) -> AsyncIterator["_Carrier"]:
        yield _Carrier(self, host)

    def ids(self) -> set[str]:
        return set(self.arrived)


class _Carrier:
    def __init__(self, destination: Destination, host: Host) -> None:
        self._to = destination
        self._host = host
        self._held: list[str] = []

    async def on_record(self, record: Record) -> None:
        if isinstance(record, ExchangeRecord):
            self._held.append(record.id)

    async def flush(self) -> bytes:
        self._to.tried += 1
        self._to.lags = tuple(self._host.lags())
        if self._to.hangs:
            await asyncio.Event().wait()
        if self._to.down:
            raise Unavailable("nobody is there")
        self._to.arrived += self._held
        self._held = []
        return b"s"


class Watch:
    """One observer over a journal, through restarts."""

    def __init__(self, directory: Path, destination: Destination) -> None:
        self.directory = directory
        self.destination = destination
        self.keeper = Keeper(directory, StandingClock(), Limits())
        self.follower = self._made()

    def _made(self) -> Follower:
        spec = PluginSpec(config=PluginConfig, open=self.destination.open)
        link = Chosen(Plugin(use="carrier"), spec, PluginConfig())
        config = Config(journal=Journal(dir=str(self.directory)))
        return Follower(link, config, StandingClock(), self.keeper, self.lags)

    def lags(self) -> tuple[ObserverLag, ...]:
        return (self.follower.lag(),)

    @asynccontextmanager
    async def running(self, budget_s: float = 5.0) -> AsyncIterator[None]:
        """A new start; what is on disk is all that it knows."""
        self.keeper = Keeper(self.directory, StandingClock(), self.keeper.limits)
        self.follower = self._made()
        await self.follower.start()
        try:
            yield
        finally:
            await self.follower.stop(budget_s)


async def until(condition) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not condition():
            await asyncio.sleep(0.005)


def fill(directory: Path, name: str, first: int, count: int) -> set[str]:
    made = writer(directory, name, max_segment_bytes=6000)
    for number in range(first, first + count):
        made.append(exchange(number))
    made.close()
    return {exchange(number).id for number in range(first, first + count)}


async def test_a_destination_that_is_down_through_restarts_loses_nothing(
    tmp_path: Path,
) -> None:
    destination = Destination()
    watch = Watch(tmp_path, destination)
    written = fill(tmp_path, "w0-1", 1, 20)
    async with watch.running():
        await until(lambda: destination.ids() == written)
    destination.down = True
    for run in range(3):
        tried = destination.tried
        async with watch.running():
            written |= fill(tmp_path, f"w0-{run + 2}", 100 * (run + 1), 20)
            await until(lambda tried=tried: destination.tried > tried)
        watch.keeper.tidy()  # what was not delivered is packed meanwhile
    assert len(destination.ids()) == 20
    assert destination.lags[0].records > 0
    destination.down = False
    async with watch.running():
        await until(lambda: destination.ids() == written)
    assert watch.follower.lag() == ObserverLag(observer="carrier")
    assert sorted(destination.arrived) == sorted(written)


async def test_a_destination_that_comes_back_gets_all_of_it_without_a_restart(
    tmp_path: Path,
) -> None:
    destination = Destination()
    destination.down = True
    watch = Watch(tmp_path, destination)
    written = fill(tmp_path, "w0-1", 1, 20)
    async with watch.running():
        await until(lambda: destination.tried > 3)
        written |= fill(tmp_path, "w0-2", 100, 20)
        destination.down = False
        await until(lambda: destination.ids() == written)
    assert sorted(destination.arrived) == sorted(written)


async def test_what_retention_takes_from_a_dead_destination_is_counted_to_the_record(
    tmp_path: Path,
) -> None:
    destination = Destination()
    destination.down = True
    watch = Watch(tmp_path, destination)
    written = fill(tmp_path, "w0-1", 1, 30)
    async with watch.running():
        await until(lambda: destination.tried > 0)
    watch.keeper.limits = Limits(max_bytes=1)
    written |= fill(tmp_path, "w0-2", 100, 30)
    everything = len(records(tmp_path))
    watch.keeper.tidy()
    watch.keeper.limits = Limits()
    assert records(tmp_path) == []
    left = fill(tmp_path, "w0-3", 200, 10)
    destination.down = False
    async with watch.running():
        await until(lambda: destination.ids() == left)
        assert watch.follower.lag().lost_records == everything
    async with watch.running():
        assert watch.follower.lag().lost_records == everything
    assert destination.ids() == left


async def test_what_was_read_before_it_was_removed_is_not_lost(tmp_path: Path) -> None:
    """It is in memory: delivered if the destination comes back, lost only if it does not."""
    destination = Destination()
    destination.down = True
    watch = Watch(tmp_path, destination)
    written = fill(tmp_path, "w0-1", 1, 30)
    async with watch.running():
        await until(lambda: destination.tried > 0)
        watch.keeper.limits = Limits(max_bytes=1)
        watch.keeper.tidy()
        assert size_of(tmp_path).segments == 0
        destination.down = False
        await until(lambda: destination.ids() == written)
        assert watch.follower.lag().lost_records == 0
    async with watch.running():
        assert watch.follower.lag().lost_records == 0


async def test_one_that_hangs_is_left_behind_and_goes_on_after_a_restart(tmp_path: Path) -> None:
    destination = Destination()
    destination.hangs = True
    watch = Watch(tmp_path, destination)
    written = fill(tmp_path, "w0-1", 1, 20)
    async with watch.running(budget_s=0.1):
        await until(lambda: destination.tried > 0)
    hanging = watch.follower
    destination.hangs = False
    async with watch.running():
        await until(lambda: destination.ids() == written)
    _release(hanging)


def _release(hanging: Follower) -> None:
    """Let its thread end: the test process is not ours alone."""
    loop, thread = hanging._loop, hanging._thread
    assert loop is not None
    assert thread is not None
    with contextlib.suppress(RuntimeError):
        loop.call_soon_threadsafe(lambda: [task.cancel() for task in asyncio.all_tasks(loop)])
    thread.join(PATIENCE_S)
    assert not thread.is_alive()
