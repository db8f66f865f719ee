"""Runs one policy: in time, measured, in its mode, and with nothing it does trusted."""

import asyncio
import logging
import time
from collections.abc import Coroutine, Generator
from dataclasses import dataclass
from types import coroutine
from typing import Any, TypeVar

import msgspec

from tidegate.errors import place_of
from tidegate.exchange import Exchange, Request
from tidegate.plugin import Admit, Answer, Decision, Policy, Refuse, Stage

log = logging.getLogger(__name__)

T = TypeVar("T")


NOT_EVALUATED = "not_evaluated"
"""In the record: the policy did not look, or was not asked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """One policy of the chain, as the configuration wants it."""

    name: str
    policy: Policy
    stage: Stage
    shadow: bool = False
    admit_on_error: bool = False
    timeout_s: float = 10

    @property
    def mode(self) -> str:
        """How its verdicts count, as records have it."""
        return "shadow" if self.shadow else "enforce"


class Verdict(msgspec.Struct, frozen=True):
    """What came of asking one policy."""

    decision: Decision
    word: str
    """`admit`, `edit`, `answer`, `refuse`; `not_evaluated` if it had nothing to look at;
    `error` or `timeout` if it gave no decision."""
    us: int


async def ask(link: Link, exchange: Exchange, request: Request) -> Verdict:
    """Return the policy's verdict. Whatever goes wrong in it becomes a verdict as well."""
    began = time.perf_counter_ns()
    try:
        decision = await within(link.policy.admit(exchange, request), link.timeout_s)
        word = _word(link, decision)
    except TimeoutError:
        log.error("policy %s: no decision within %s s (%s)", link.name, link.timeout_s, exchange.id)  # noqa: TRY400
        decision, word = _unavailable(link, "timeout"), "timeout"
    except Exception as error:  # noqa: BLE001 - a plugin may raise anything; all of it fails closed
        # The traceback only names code: message and locals of a plugin may hold content.
        log.error("policy %s: %s (%s)", link.name, place_of(error), exchange.id)  # noqa: TRY400
        decision, word = _unavailable(link, "error"), "error"
    return Verdict(decision, word, (time.perf_counter_ns() - began) // 1000)


def _word(link: Link, decision: Decision) -> str:
    if type(decision) is Admit:
        if decision.edits:
            return "edit"
        return "admit" if decision.evaluated else NOT_EVALUATED
    if type(decision) is Refuse:
        return "refuse"
    if type(decision) is Answer and link.stage is not Stage.IDENTIFY:
        return "answer"
    # An unchecked plugin can return anything at all.
    raise TypeError(f"{link.name} returned {type(decision).__name__}, which is no decision here")


def _unavailable(link: Link, rule: str) -> Refuse:
    return Refuse(
        status=503,
        error_type="api_error",
        message=f"the gateway's policy `{link.name}` could not decide; try again",
        rule=rule,
        retry_after_s=1,
    )


async def within(work: Coroutine[Any, Any, T], timeout_s: float) -> T:
    """Return the result of `work`, cancelled with TimeoutError after `timeout_s`.

    Most policies never wait for anything. Those are run through at once: a timer is set
    only when the work first waits (the timer alone would cost more than such a policy).
    """
    try:
        waiting_for = work.send(None)
    except StopIteration as done:
        return done.value  # type: ignore[no-any-return]
    async with asyncio.timeout(timeout_s):
        return await _resume(work, waiting_for)


@coroutine
def _resume(work: Coroutine[Any, Any, T], waiting_for: Any) -> Generator[Any, Any, T]:
    """Go on with a coroutine that has been started by hand and waits for `waiting_for`."""
    while True:
        try:
            try:
                sent = yield waiting_for
            except GeneratorExit:
                work.close()
                raise
            except BaseException as error:  # noqa: BLE001 - cancellation above all: it is the work's
                waiting_for = work.throw(error)
            else:
                waiting_for = work.send(sent)
        except StopIteration as done:
            return done.value  # type: ignore[no-any-return]
