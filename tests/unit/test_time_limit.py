"""A time limit: who is late is cancelled, and only who is late."""

import asyncio

import pytest

from tidegate.pipeline.limit import TimeLimit

SHORT_S = 0.02


async def never() -> None:
    await asyncio.Event().wait()


async def test_work_that_never_waits_is_run_through() -> None:
    async def work() -> int:
        return 7

    assert await TimeLimit(0).within(work()) == 7


async def test_each_call_that_is_late_is_cancelled_also_those_that_began_later() -> None:
    limit = TimeLimit(SHORT_S)
    ended = []

    async def late(number: int) -> None:
        try:
            await never()
        finally:
            ended.append(number)

    first = asyncio.create_task(limit.within(late(1)))
    await asyncio.sleep(SHORT_S / 2)
    second = asyncio.create_task(limit.within(late(2)))
    with pytest.raises(TimeoutError):
        await first
    assert ended == [1]
    with pytest.raises(TimeoutError):
        await second
    assert ended == [1, 2]
    assert not first.cancelled()
    assert not second.cancelled()


async def test_who_is_in_time_gets_its_result_while_others_are_late() -> None:
    limit = TimeLimit(SHORT_S)
    ready = asyncio.Event()

    async def in_time() -> str:
        await ready.wait()
        return "done"

    tasks = [asyncio.create_task(limit.within(work())) for work in (never, in_time, never)]
    await asyncio.sleep(0)
    ready.set()
    found = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(each) for each in found] == [TimeoutError, str, TimeoutError]


async def test_errors_of_the_work_are_its_own() -> None:
    async def fails() -> None:
        await asyncio.sleep(0)
        raise KeyError("x")

    with pytest.raises(KeyError):
        await TimeLimit(5).within(fails())


async def test_who_is_cancelled_by_somebody_else_is_not_late() -> None:
    task = asyncio.create_task(TimeLimit(5).within(never()))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_who_is_late_and_cancelled_as_well_stays_cancelled() -> None:
    limit = TimeLimit(SHORT_S)

    async def cancelled_as_well() -> None:
        task = asyncio.current_task()
        assert task is not None
        try:
            await never()
        except asyncio.CancelledError:
            task.cancel()
            raise

    task = asyncio.create_task(limit.within(cancelled_as_well()))
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_work_that_does_not_mind_being_cancelled_leaves_nothing_behind() -> None:
    limit = TimeLimit(SHORT_S)

    async def stubborn() -> str:
        try:
            await never()
        except asyncio.CancelledError:
            return "anyway"
        return ""

    assert await limit.within(stubborn()) == "anyway"
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0
    await asyncio.sleep(0)  # would raise here


def test_a_limit_outlives_its_event_loop() -> None:
    limit = TimeLimit(SHORT_S)

    async def left_with_a_timer_set() -> None:
        task = asyncio.create_task(limit.within(never()))
        await asyncio.sleep(0)
        assert not task.done()

    async def late() -> None:
        with pytest.raises(TimeoutError):
            await limit.within(never())

    asyncio.run(left_with_a_timer_set())
    asyncio.run(late())
