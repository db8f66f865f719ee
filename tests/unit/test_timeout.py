"""A timeout: who is late is cancelled, and only who is late."""

import asyncio
from collections.abc import Callable
from functools import partial

import pytest

from tidegate.pipeline.timeout import Timeout

SHORT_S = 0.02


async def never() -> None:
    await asyncio.Event().wait()


async def test_work_that_never_waits_is_run_through() -> None:
    async def work() -> int:
        return 7

    assert await Timeout(0).within(work()) == 7


class Clock:
    """The event loop's time and timers, moved by hand."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.now = 100.0
        self.due: list[tuple[float, Callable[[], object]]] = []
        loop = asyncio.get_running_loop()
        patch.setattr(loop, "time", lambda: self.now)
        patch.setattr(loop, "call_at", self._call_at)

    def _call_at(self, when: float, call: Callable[..., object], *given: object) -> object:
        self.due.append((when, partial(call, *given)))
        return object()

    async def pass_by(self, seconds: float) -> None:
        """Let time pass, and what waited for it have its turns."""
        self.now += seconds
        ringing = [call for when, call in self.due if when <= self.now]
        self.due = [each for each in self.due if each[0] > self.now]
        for call in ringing:
            call()
        for _ in range(5):
            await asyncio.sleep(0)


async def test_each_call_that_is_late_is_cancelled_and_later_ones_later_with_one_timer() -> None:
    timeout = Timeout(10)

    async def late(number: int) -> None:
        try:
            await never()
        finally:
            ended.append(number)

    ended: list[int] = []
    with pytest.MonkeyPatch.context() as patch:
        clock = Clock(patch)
        first = asyncio.create_task(timeout.within(late(1)))
        await clock.pass_by(0)
        await clock.pass_by(6)
        more = [asyncio.create_task(timeout.within(late(number))) for number in (2, 3)]
        await clock.pass_by(0)
        await clock.pass_by(3.5)
        assert ended == []
        assert len(clock.due) == 1
        await clock.pass_by(0.5)
        assert ended == [1]
        assert len(clock.due) == 1
        await clock.pass_by(5.75)
        assert ended == [1]
        await clock.pass_by(0.25)
        assert ended == [1, 2, 3]
        assert clock.due == []
    found = await asyncio.gather(first, *more, return_exceptions=True)
    assert [type(each) for each in found] == [TimeoutError] * 3


async def test_who_is_in_time_gets_its_result_while_others_are_late() -> None:
    timeout = Timeout(SHORT_S)
    ready = asyncio.Event()

    async def in_time() -> str:
        await ready.wait()
        return "done"

    tasks = [asyncio.create_task(timeout.within(work())) for work in (never, in_time, never)]
    await asyncio.sleep(0)
    ready.set()
    found = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(each) for each in found] == [TimeoutError, str, TimeoutError]


async def test_errors_of_the_work_are_its_own() -> None:
    async def fails() -> None:
        await asyncio.sleep(0)
        raise KeyError("x")

    with pytest.raises(KeyError):
        await Timeout(5).within(fails())


async def test_who_is_cancelled_by_somebody_else_is_not_late() -> None:
    task = asyncio.create_task(Timeout(5).within(never()))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_who_is_late_and_cancelled_as_well_stays_cancelled() -> None:
    timeout = Timeout(SHORT_S)

    async def cancelled_as_well() -> None:
        task = asyncio.current_task()
        assert task is not None
        try:
            await never()
        except asyncio.CancelledError:
            task.cancel()
            raise

    task = asyncio.create_task(timeout.within(cancelled_as_well()))
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_work_that_does_not_mind_being_cancelled_leaves_nothing_behind() -> None:
    timeout = Timeout(SHORT_S)

    async def stubborn() -> str:
        try:
            await never()
        except asyncio.CancelledError:
            return "anyway"
        return ""

    assert await timeout.within(stubborn()) == "anyway"
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0
    await asyncio.sleep(0)  # would raise here


def test_a_timeout_outlives_its_event_loop() -> None:
    timeout = Timeout(SHORT_S)

    async def left_with_a_timer_set() -> None:
        task = asyncio.create_task(timeout.within(never()))
        await asyncio.sleep(0)
        assert not task.done()

    async def late() -> None:
        with pytest.raises(TimeoutError):
            await timeout.within(never())

    asyncio.run(left_with_a_timer_set())
    asyncio.run(late())
