"""Runs one policy: in time, measured, in its mode, and with nothing it does trusted."""

import logging
import time
from dataclasses import dataclass, field

import msgspec

from tidegate.errors import place_of
from tidegate.exchange import Exchange, Request
from tidegate.pipeline.timeout import Timeout
from tidegate.plugin import Admit, Answer, Decision, Policy, Refuse, Stage

log = logging.getLogger(__name__)

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
    timeout: Timeout = field(default_factory=Timeout)

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
        decision = await link.timeout.within(link.policy.admit(exchange, request))
        word = _word(link, decision)
    except TimeoutError:
        timeout_s = link.timeout.timeout_s
        log.error("policy %s: no decision within %s s (%s)", link.name, timeout_s, exchange.id)  # noqa: TRY400
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
