"""Inspection: shows an answer that is over to the policies that asked for it.

Nothing waits for it but the end of the worker. It never raises, and what was not looked
at is always said: `not_evaluated`.
"""

import asyncio
import logging
import time
from collections.abc import Sequence
from typing import cast

from tidegate.errors import place_of
from tidegate.exchange import ANONYMOUS
from tidegate.pipeline.conclude import Course, principal_of
from tidegate.pipeline.host import Link
from tidegate.plugin import Inspector, Note
from tidegate.record import DecisionRecord, Inspection
from tidegate.wire.capture import Capture
from tidegate.wire.transcript import Transcript, read

log = logging.getLogger(__name__)

INLINE_BYTES = 32 * 1024
"""Smaller answers are read at once: a thread would take longer."""

NOT_EVALUATED = "not_evaluated"


async def inspect(links: Sequence[Link], course: Course, capture: Capture) -> Inspection:
    """Return the record of one answer's inspection, `at` left for who writes it.

    Cancelled, it records at once that there was no time (`stopped`).
    """
    decisions: list[DecisionRecord] = []
    answer = Transcript({})
    left = list(links)
    try:
        answer = await _read(capture)
        while left:
            decisions += await _ask(left[0], course, answer)
            del left[0]
    except asyncio.CancelledError:
        decisions += [_missed(link, "stopped") for link in left]
    return Inspection(
        id=course.exchange.id,
        at=0,
        worker=course.worker,
        config=course.config,
        principal=principal_of(course),
        route=course.exchange.route.recorded,
        decisions=tuple(decisions),
        bytes=answer.bytes,
    )


async def _read(capture: Capture) -> Transcript:
    if capture.taken <= INLINE_BYTES and not capture.coding:
        return read(capture)
    return await asyncio.to_thread(read, capture)


async def _ask(link: Link, course: Course, answer: Transcript) -> list[DecisionRecord]:
    """Return what one policy found, and what it was not shown."""
    missed = [_missed(link, reason) for reason in answer.missing]
    if not answer.document:
        return missed
    began = time.perf_counter_ns()
    inspector = cast(Inspector, link.policy)
    principal = course.principal or ANONYMOUS
    try:
        work = inspector.inspect(course.exchange, principal, answer)
        notes = await link.timeout.within(work)
        found = [_noted(link, note) for note in notes]
    except TimeoutError:
        return [*missed, _missed(link, "timeout")]
    except Exception as error:  # noqa: BLE001 - a plugin may raise anything
        # The traceback only names code: message and locals of a plugin may hold content.
        log.error("policy %s: %s (%s)", link.name, place_of(error), course.exchange.id)  # noqa: TRY400
        return [*missed, _missed(link, "failed")]
    us = (time.perf_counter_ns() - began) // 1000
    return [DecisionRecord(link.name, "", "inspect", link.mode, us=us), *found, *missed]


def _noted(link: Link, note: Note) -> DecisionRecord:
    return DecisionRecord(link.name, note.rule, note.verdict, link.mode, note.pointer)


def _missed(link: Link, reason: str) -> DecisionRecord:
    return DecisionRecord(link.name, reason, NOT_EVALUATED, link.mode)
