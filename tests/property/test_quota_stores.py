"""Three stores and one model: whatever is asked of them, they hold what the model says."""

import asyncio
import tempfile
from collections.abc import Awaitable, Callable
from datetime import UTC
from pathlib import Path
from typing import Any, ClassVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from support.redis import redis_server
from tidegate.clock import SystemClock
from tidegate.testing import FakeClock
from tidegate_plugins.quota.stores import Charge, Reply, Store, Take
from tidegate_plugins.quota.stores.memory import Book, MemoryStore
from tidegate_plugins.quota.stores.redis import RedisStore
from tidegate_plugins.quota.stores.sqlite import SqliteStore
from tidegate_plugins.quota.windows import Always, Calendar, Rolling, Slot, Window

LIMITS = {"a": 5, "b": 8, "always": 3, "huge": 9_100_000_000_000_000_000}
"""By counter. The last is far beyond what a float holds exactly."""

LONG_S, SHORT_S = 3600.0, 0.001
"""Leases that outlast the test, and such that are over at once."""


class Fixed:
    """A window of one slot around all times of a test: real clocks must not end it."""

    def __init__(self, dies: int) -> None:
        self._slot = Slot(0, 1 << 40, dies)

    def slot(self, now: float) -> Slot:
        return self._slot


WINDOWS: dict[str, Window] = {
    "a": Fixed(1 << 40),
    "b": Fixed((1 << 40) + 1),
    "always": Always(),
    "huge": Fixed(1 << 40),
}


class Model:
    """What a store should hold, said as plainly as can be."""

    def __init__(self) -> None:
        self.used = dict.fromkeys(LIMITS, 0)
        self.leases: dict[str, dict[str, int]] = {}
        self.owed: set[str] = set()
        """Leases that have ended without being settled."""

    def reserved(self, counter: str) -> int:
        return sum(taken.get(counter, 0) for taken in self.leases.values())

    def reserve(self, lease: str, amounts: dict[str, int]) -> bool:
        fits = (
            all(self.used[c] + self.reserved(c) + n <= LIMITS[c] for c, n in amounts.items())
            and lease not in self.owed
        )
        self.owed.discard(lease)
        if fits:
            self.leases[lease] = amounts
        return fits

    def settle(self, lease: str, used: dict[str, int], *, again: bool) -> None:
        known = lease in self.leases or lease in self.owed
        self.leases.pop(lease, None)
        self.owed.discard(lease)
        if known or not again:
            for counter, amount in used.items():
                self.used[counter] += amount

    def end(self, lease: str) -> None:
        self.leases.pop(lease, None)
        self.owed.add(lease)

    def cancel(self, lease: str) -> None:
        if self.leases.pop(lease, None) is None:
            self.owed.add(lease)


AMOUNTS = st.dictionaries(st.sampled_from(["a", "b", "always"]), st.integers(0, 4), min_size=1)
HUGE = st.integers(0, 9_000_000_000_000_000_000).map(lambda n: {"huge": n})


class Stores(RuleBasedStateMachine):
    """Asks one store and the model the same."""

    opener: ClassVar[Callable[[Path], Store]]

    def __init__(self) -> None:
        super().__init__()
        self.scratch = tempfile.TemporaryDirectory()
        self.loop = asyncio.new_event_loop()
        self.store = self.loop.run_until_complete(self._open())
        self.model = Model()
        self.count = 0
        self.settled: list[tuple[str, list[Charge]]] = []

    async def _open(self) -> Store:
        return type(self).opener(Path(self.scratch.name))

    def teardown(self) -> None:
        self.do(self.store.close())
        self.loop.close()
        self.scratch.cleanup()

    def do(self, work: Awaitable[Any]) -> Any:
        return self.loop.run_until_complete(work)

    def new_lease(self) -> str:
        self.count += 1
        return f"lease-{self.count}"

    def reserve(self, lease: str, amounts: dict[str, int], lease_s: float) -> Reply:
        takes = [Take(c, WINDOWS[c], n, LIMITS[c]) for c, n in amounts.items()]
        reply: Reply = self.do(self.store.reserve(lease, takes, lease_s))
        assert reply.taken == self.model.reserve(lease, amounts)
        for take, standing in zip(takes, reply.standings, strict=True):
            assert standing.used == self.model.used[take.counter]
            assert standing.reserved == self.model.reserved(take.counter)
            # Charges may exceed what was reserved; nothing is admitted on top of that.
            assert not reply.taken or standing.used + standing.reserved <= take.limit
        return reply

    @rule(amounts=st.one_of(AMOUNTS, HUGE))
    def take(self, amounts: dict[str, int]) -> None:
        self.reserve(self.new_lease(), amounts, LONG_S)

    @rule(amounts=AMOUNTS)
    def take_and_die(self, amounts: dict[str, int]) -> None:
        lease = self.new_lease()
        if self.reserve(lease, amounts, SHORT_S).taken:
            self.model.end(lease)
            self.do(asyncio.sleep(SHORT_S * 3))

    @precondition(lambda self: self.model.leases or self.model.owed)
    @rule(data=st.data(), amounts=st.one_of(AMOUNTS, HUGE), again=st.booleans())
    def settle(self, data: Any, amounts: dict[str, int], again: bool) -> None:
        """Of a lease that is open, has expired, or was cancelled."""
        known = sorted([*self.model.leases, *self.model.owed])
        lease = data.draw(st.sampled_from(known))
        if any(self.model.used[c] + n > 9_200_000_000_000_000_000 for c, n in amounts.items()):
            return  # more than the 64 bits of any store
        charges = [
            Charge(c, WINDOWS[c].slot(0).dies, n) for c, n in amounts.items() if c != "always"
        ]
        self.do(self.store.settle(lease, charges, again=again))
        self.model.settle(lease, {c.counter: c.amount for c in charges}, again=again)
        self.settled.append((lease, charges))

    @precondition(lambda self: self.settled)
    @rule(data=st.data())
    def settle_once_more(self, data: Any) -> None:
        """The answer to the first attempt got lost: charged once all the same."""
        lease, charges = data.draw(st.sampled_from(self.settled))
        self.do(self.store.settle(lease, charges, again=True))

    @precondition(lambda self: self.model.leases)
    @rule(data=st.data())
    def release(self, data: Any) -> None:
        lease = data.draw(st.sampled_from(sorted(self.model.leases)))
        self.do(self.store.settle(lease, [Charge("a", 1 << 40, 0)]))
        self.model.settle(lease, {}, again=False)

    @precondition(lambda self: self.model.leases)
    @rule(data=st.data())
    def cancel(self, data: Any) -> None:
        lease = data.draw(st.sampled_from(sorted(self.model.leases)))
        self.do(self.store.cancel(lease))
        self.model.cancel(lease)

    @rule(amounts=AMOUNTS)
    def cancel_before_it_arrives(self, amounts: dict[str, int]) -> None:
        lease = self.new_lease()
        self.do(self.store.cancel(lease))
        self.model.cancel(lease)
        assert not self.reserve(lease, amounts, LONG_S).taken

    @precondition(lambda self: self.model.leases)
    @rule()
    def renew(self) -> None:
        self.do(self.store.renew([*self.model.leases, "nobody's"], LONG_S))

    @invariant()
    def holds_what_the_model_says(self) -> None:
        held = {name: (s.used, s.reserved) for name, s in self.do(self.store.read()).items()}
        wanted = {name: (self.model.used[name], self.model.reserved(name)) for name in LIMITS}
        assert held == {name: pair for name, pair in wanted.items() if any(pair)}


BOUNDS = settings(
    max_examples=15,
    stateful_step_count=20,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)


def run(opener: Callable[[Path], Store]) -> None:
    class Machine(Stores):
        pass

    Machine.opener = staticmethod(opener)  # type: ignore[assignment]
    case = Machine.TestCase
    case.settings = BOUNDS
    case("runTest").runTest()


def test_memory():
    run(lambda _: MemoryStore(Book(), SystemClock()))


def test_sqlite():
    run(lambda folder: SqliteStore(folder / "quota.sqlite", SystemClock(), 30))


def test_redis(tmp_path: Path):
    with redis_server(tmp_path) as server:
        # A prefix for each example: the machine starts with an empty store.
        run(lambda folder: RedisStore(server.url, None, folder.name, SystemClock(), 30))


# time, where it can be told to go


def openers(folder: Path, clock: FakeClock) -> list[Store]:
    return [MemoryStore(Book(), clock), SqliteStore(folder / "quota.sqlite", clock, 30)]


@pytest.mark.parametrize("number", [0, 1], ids=["memory", "sqlite"])
async def test_what_is_over_counts_no_more(tmp_path: Path, number: int):
    clock = FakeClock(1_000_000_040.0)  # 20 s into a minute
    store = openers(tmp_path, clock)[number]

    async def fits(window: Window, amount: int) -> bool:
        nonlocal count
        count += 1
        name = type(window).__name__
        reply = await store.reserve(f"lease-{count}", [Take(name, window, amount, 10)], 1000)
        return reply.taken

    count = 0
    calendar, rolling = Calendar("minute", UTC), Rolling("minute")
    for window in (calendar, rolling):
        assert await fits(window, 6)
        assert not await fits(window, 6)
    clock.advance(39.9)
    assert not await fits(calendar, 6)
    clock.advance(0.1)
    assert await fits(calendar, 6), "a new minute has begun"
    assert not await fits(rolling, 6)
    clock.advance(20.9)
    assert not await fits(rolling, 6), "up to one step later than a minute"
    clock.advance(0.2)
    assert await fits(rolling, 6)
    assert set(await store.read()) == {"Calendar", "Rolling"}
    clock.advance(4000)
    assert await store.read() == {}
    await store.close()


@pytest.mark.parametrize("number", [0, 1], ids=["memory", "sqlite"])
async def test_a_lease_lives_as_long_as_it_is_renewed(tmp_path: Path, number: int):
    clock = FakeClock()
    store = openers(tmp_path, clock)[number]
    await store.reserve("kept", [Take("c", Always(), 1, 2)], 60)
    await store.reserve("dead", [Take("c", Always(), 1, 2)], 60)

    for _ in range(5):
        clock.advance(59)
        await store.renew(["kept"], 60)

    assert (await store.read())["c"].reserved == 1
    clock.advance(60)
    assert await store.read() == {}
    await store.close()
