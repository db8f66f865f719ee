"""Drives a coroutine step by step: cancelled where it waits, stopped where it hangs."""

import asyncio
import types
from collections.abc import Coroutine, Generator
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

T = TypeVar("T")

PATIENCE_S = 10.0
"""Nothing asked of an open plugin may take longer: the gateway's own default for a policy."""

OPENING_S = 50.0
"""Opening may: rules are compiled then, and nothing is served yet."""


async def patiently(work: Coroutine[Any, Any, T], limit_s: float | None = None) -> T:
    """Return the result of `work`.

    Raises:
        TimeoutError: it took longer than `limit_s`, `PATIENCE_S` if not given.
    """
    return await asyncio.wait_for(work, PATIENCE_S if limit_s is None else limit_s)


@dataclass(frozen=True, slots=True)
class Cancelled(Generic[T]):
    """What came of cancelling some work at one of its awaits."""

    reached: bool
    """It waited that often at all; if not, it ended by itself."""
    result: T | None
    """What it returned; None if it was cancelled, as it should be when reached."""


async def cancel_at(work: Coroutine[Any, Any, T], step: int) -> Cancelled[T]:
    """Run `work` in a task of its own and cancel that where it waits for the `step`th time.

    The task is cancelled as asyncio does it: what is awaited is cancelled first, and the
    work finds `CancelledError` at its await.
    """
    reached: list[bool] = []
    task = asyncio.ensure_future(patiently(_run(work, step, reached)))
    try:
        result = await task
    except asyncio.CancelledError:
        if not task.cancelled():
            raise
        return Cancelled(bool(reached), None)
    return Cancelled(bool(reached), result)


async def _run(work: Coroutine[Any, Any, T], step: int, reached: list[bool]) -> T:
    return await _steps(work, step, reached)


@types.coroutine
def _steps(work: Coroutine[Any, Any, T], step: int, reached: list[bool]) -> Generator[Any, Any, T]:
    sent: Any = None
    error: BaseException | None = None
    while True:
        try:
            waiting = work.send(sent) if error is None else work.throw(error)
        except StopIteration as done:
            return done.value  # type: ignore[no-any-return]
        error = None
        if step == 0 and not reached:
            reached.append(True)
            task = asyncio.current_task()
            assert task is not None  # noqa: S101 - narrows the type; we are in one
            task.cancel()
        step -= 1
        try:
            sent = yield waiting
        except BaseException as caught:  # noqa: BLE001 - whatever it is, it is the work's
            error = caught
