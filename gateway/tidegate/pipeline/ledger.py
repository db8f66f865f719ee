"""The ledger: writes down what is about to happen and what has, and settles what was taken."""

import asyncio
from collections.abc import Coroutine
from typing import Any

from tidegate.errors import JournalError
from tidegate.journal.writer import Writer
from tidegate.pipeline.conclude import Course, intent_of, record_of, settle
from tidegate.pipeline.generation import Generation
from tidegate.record import ExchangeRecord


class Ledger:
    """The records of one worker's exchanges. Each is written once."""

    def __init__(self, writer: Writer) -> None:
        self._writer = writer
        self._settling: set[asyncio.Task[None]] = set()

    async def intend(self, course: Course, request_out: int, *, must: bool) -> None:
        """Write that a request of so many bytes is about to leave.

        Where that fails and it is not a `must`, the record is kept for later.

        Raises:
            JournalError: it failed, and what cannot be recorded must not leave.
        """
        intent = intent_of(course, request_out)
        try:
            self._writer.append(intent)
            course.dispatched = True
            await self._writer.committed()
        except JournalError:
            if must:
                raise
            if not course.dispatched:
                self._writer.append_or_keep(intent)
                course.dispatched = True
        course.request_out = request_out

    def record(self, course: Course) -> ExchangeRecord:
        """Write the exchange down, unless that is done; return its record."""
        if course.record is None:
            course.record = record_of(course)
            self._writer.append_or_keep(course.record)
        return course.record

    def conclude(self, course: Course, generation: Generation) -> None:
        """Write the record, settle what was taken, and give the lease back.

        Nothing is awaited here: it is called in a handler's `finally`, which is cancelled
        with the handler. What takes time goes on in a task of ours, which holds the lease.
        """
        record = self.record(course)
        if course.admission is None or not course.admission.holds:
            generation.release()
            return
        self._spawn(_settle(course.admission.holds, record, generation))

    async def settled(self) -> None:
        """Wait until everything taken has been settled."""
        await asyncio.gather(*self._settling, return_exceptions=True)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work, name="settle")
        self._settling.add(task)
        task.add_done_callback(self._settling.discard)


async def _settle(holds: list[Any], record: ExchangeRecord, generation: Generation) -> None:
    try:
        await settle(holds, record)
    finally:
        generation.release()
