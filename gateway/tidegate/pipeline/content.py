"""Content: what was asked and answered, after redaction, where the file says to keep it.

Done when an exchange is over, in a task of the worker: no byte waits for it. Each document
is reduced to text, bounded, and shown to every policy that redacts; what any of them cannot
look through in time is not kept, and that is said.
"""

import logging
from collections.abc import Mapping, Sequence
from typing import Any, cast

from tidegate.config import Config
from tidegate.errors import Problem, place_of
from tidegate.exchange import ANONYMOUS
from tidegate.pipeline.conclude import Course, principal_of
from tidegate.pipeline.host import Link
from tidegate.plugin import Redactor
from tidegate.record import Content
from tidegate.wire.kept import bounded, text_of
from tidegate.wire.transcript import Transcript

log = logging.getLogger(__name__)

NOT_REDACTED = "not_redacted"


def redactors(chain: Sequence[Link]) -> tuple[Link, ...]:
    """Return those of a chain that can be relied on to take secrets out of what is kept."""
    return tuple(link for link in chain if not link.shadow and redacts(link.policy))


def redacts(policy: object) -> bool:
    """Whether a policy redacts as it is configured."""
    return isinstance(policy, Redactor) and policy.redacts


def check(config: Config, *, redacting: bool) -> list[Problem]:
    """Return the problem with keeping content where nothing redacts it."""
    if config.journal.content == "off" or redacting:
        return []
    message = (
        '"redacted" needs a policy that redacts: add the plugin `redact` with mode = "enforce" '
        'and action = "mask" or "block", or set it to "off"'
    )
    return [Problem("journal.content", message)]


async def content_of(
    links: Sequence[Link], course: Course, answer: Transcript, *, max_bytes: int
) -> Content:
    """Return the record of what was asked and answered, both without what was found in them.

    `at` is left for who writes it.
    """
    asked = course.admission.request.body.document if course.admission is not None else {}
    if course.caller is not None:
        asked = course.caller.governed(asked)
    request, not_asked = await _clean(links, course, asked, max_bytes)
    response, not_answered = await _clean(links, course, answer.document, max_bytes)
    return Content(
        id=course.exchange.id,
        at=0,
        worker=course.worker,
        config=course.config,
        principal=principal_of(course),
        request=request,
        response=response,
        missing=(
            *(f"request: {what}" for what in not_asked),
            *(f"response: {what}" for what in (*answer.missing, *not_answered)),
        ),
    )


async def _clean(
    links: Sequence[Link], course: Course, document: Mapping[str, Any], max_bytes: int
) -> tuple[dict[str, Any] | None, tuple[str, ...]]:
    """Return one document as it may be kept, if it may, and what is missing from it."""
    if not document:
        return None, ()
    link = links[0]
    try:
        kept, left_out = bounded(text_of(document), max_bytes)
        for link in links:
            redactor = cast(Redactor, link.policy)
            work = redactor.clean(kept, course.principal or ANONYMOUS)
            kept = await link.timeout.within(work)
    except Exception as error:  # noqa: BLE001 - a plugin may raise anything
        place = place_of(error)
        log.warning("policy %s: content not kept: %s (%s)", link.name, place, course.exchange.id)
        return None, (NOT_REDACTED,)
    return kept, left_out
