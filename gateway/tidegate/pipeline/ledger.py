"""The ledger: writes down what is about to happen and what has, and settles what was taken."""

import asyncio
import logging
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from tidegate.clock import Clock
from tidegate.errors import JournalError
from tidegate.exchange import Request
from tidegate.journal.writer import CONTENT, Writer
from tidegate.pipeline.conclude import Course, intent_of, record_of, settle
from tidegate.pipeline.content import content_of
from tidegate.pipeline.generation import Generation
from tidegate.pipeline.inspection import inspect
from tidegate.pipeline.shadow import Job, course_of
from tidegate.plugin import Stage
from tidegate.record import ExchangeRecord
from tidegate.wire.capture import Capture, Room
from tidegate.wire.transcript import read

log = logging.getLogger(__name__)

TOGETHER = 8
TOGETHER_S = 0.02
"""Answers are looked at a few at a time, one right after the other: the search's tables and the
interpreter's code push each other out of the processor's caches, and so they do it once."""

INSPECTING_S = 5.0
"""How long a worker that stops waits for answers to be inspected."""


class Ledger:
    """The records of one worker's exchanges. Each is written once."""

    def __init__(self, writer: Writer, clock: Clock) -> None:
        self._writer = writer
        self._content: Writer | None = None
        """Begun with the first content that is kept."""
        self._clock = clock
        self._settling: set[asyncio.Task[None]] = set()
        self._inspecting: set[asyncio.Task[None]] = set()
        self._over: list[tuple[Course, Capture, Generation]] = []
        """Answers that are to be looked at, with their leases."""
        self._timer: asyncio.TimerHandle | None = None
        self._room = Room()

    async def intend(self, course: Course, request_out: int, *, must: bool) -> None:
        """Write that a request of so many bytes is about to leave.

        Where that fails and it is not a `must`, the record is kept for later.

        Raises:
            JournalError: it failed, and what cannot be recorded must not leave.
        """
        intent = course.intent = intent_of(course, request_out)
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
            if course.dispatched:  # its intent is written
                self._writer.append_soon(course.record)
            else:
                self._writer.append_or_keep(course.record)
        return course.record

    def conclude(self, course: Course, generation: Generation) -> None:
        """Write the record, settle what was taken, and give the lease back.

        Nothing is awaited here: it is called in a handler's `finally`, which is cancelled
        with the handler. What takes time goes on in a task of ours, which holds the lease.
        """
        record = self.record(course)
        if course.capture is not None and course.at.upstream_head:
            generation.lease()
            self._look_back_soon(course, course.capture, generation)
        if course.admission is None or not course.admission.holds:
            generation.release()
            return
        _spawn(_settle(course.admission.holds, record, generation), self._settling)

    def compare(self, course: Course, first: Request, generation: Generation) -> None:
        """Let the second configuration, if there is one, decide on the same request."""
        shadow, admission = generation.shadow, course.admission
        if shadow is None or admission is None:
            return
        by = admission.refused_by.plugin if admission.refused_by is not None else ""
        if any(link.name == by and link.stage is Stage.RESERVE for link in generation.chain):
            return  # the shadow takes nothing, so it cannot say whether anything is left
        shadow.report = self._writer.append_or_keep
        live = course_of(admission)
        shadow.compare(Job(course.exchange, first, live, course.config, course.worker))

    def capture(self) -> Capture:
        """Return a place for the copy of one answer, within the worker's room."""
        return Capture(self._room)

    async def settled(self) -> None:
        """Wait until everything taken has been settled, and what was answered inspected.

        Inspections that take longer than `INSPECTING_S` are recorded as not evaluated.
        """
        self._look_back_now()
        if self._inspecting:
            _, late = await asyncio.wait(self._inspecting, timeout=INSPECTING_S)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)
        await asyncio.gather(*self._settling, return_exceptions=True)
        if self._content is not None:
            self._content.close()
            self._content = None

    def _look_back_soon(self, course: Course, capture: Capture, generation: Generation) -> None:
        self._over.append((course, capture, generation))
        if len(self._over) >= TOGETHER:
            self._look_back_now()
        elif self._timer is None:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(TOGETHER_S, self._look_back_now)

    def _look_back_now(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        over, self._over = self._over, []
        for each in over:
            _spawn(self._look_back(*each), self._inspecting)

    async def _look_back(self, course: Course, capture: Capture, generation: Generation) -> None:
        """Inspect what was answered, and keep what is to be kept."""
        try:
            if generation.inspectors:
                found = await inspect(generation.inspectors, course, capture)
                self._writer.append_soon(replace(found, at=self._clock.now()))
            if generation.redactors:
                await self._keep_content(course, capture, generation)
        finally:
            capture.release()
            generation.release()

    async def _keep_content(self, course: Course, capture: Capture, generation: Generation) -> None:
        """Write request and answer down, both redacted. Where the disk does not let us, they are not kept."""
        journal = generation.config.journal
        answer = await asyncio.to_thread(read, capture)
        kept = await content_of(
            generation.redactors, course, answer, max_bytes=journal.content_max_bytes
        )
        try:
            if self._content is None:
                name = CONTENT + self._writer.name
                self._content = Writer(Path(journal.dir), name, self._clock)
            self._content.append(replace(kept, at=self._clock.now()))
        except JournalError as error:
            log.warning("content: %s (%s)", error, kept.id)


def _spawn(work: Coroutine[Any, Any, None], tasks: set[asyncio.Task[None]]) -> None:
    task = asyncio.get_running_loop().create_task(work)
    tasks.add(task)
    task.add_done_callback(tasks.discard)


async def _settle(holds: list[Any], record: ExchangeRecord, generation: Generation) -> None:
    try:
        await settle(holds, record)
    finally:
        generation.release()
