"""Asks a policy everything the contract promises about policies."""

import asyncio
import functools
import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import msgspec

from tidegate.exchange import Request
from tidegate.plugin import Admit, Answer, Decision, Inspector, Refuse, Stage
from tidegate.record import ExchangeRecord
from tidegate.testing.cases import CANARY, Case, make_answers
from tidegate.testing.fakes import make_request
from tidegate.testing.records import make_record
from tidegate.testing.rules import decision_problems, note_problems
from tidegate.testing.steps import PATIENCE_S, cancel_at, patiently
from tidegate.wire.outline import outline, restored
from tidegate.wire.routes import GOVERNED_BODIES

Held = Callable[[Any], float]
"""How much a policy has taken and not been charged for yet; for plugins that can tell."""

MAX_STEPS = 50
"""Awaits of one decision that are cancelled one by one."""

_TIMES = 10
"""How often each is: a leak of one may hide behind a quota of several."""


@dataclass(slots=True)
class PolicyCheck:
    """One opened policy, the requests to ask it about, and what was found so far."""

    policy: Any
    stage: Stage
    cases: Sequence[Case]
    secrets: Sequence[str]
    held: Held | None
    problems: list[str]
    replayable: bool = False

    async def run(self) -> None:
        """Ask everything; problems are appended."""
        if not inspect.iscoroutinefunction(getattr(self.policy, "admit", None)):
            self.problems.append("has a stage, but opens no policy: `async def admit` is missing")
            return
        idle = self._held()
        alone = [await self._ask(case) for case in self.cases]
        together = await self._ask_together()
        self._compare(alone, together)
        if self.replayable:
            await self._replay(alone)
        for case in self._first_of_each_kind():
            await self._cancel(case)
        if isinstance(self.policy, Inspector) and self.policy.inspects:
            await self._inspect(self.policy)
        if self._held() != idle:
            self.problems.append(
                f"still holds {self._held()} (before: {idle}) when everything is settled"
            )

    def _held(self) -> float:
        return 0 if self.held is None else self.held(self.policy)

    async def _ask(self, case: Case) -> Decision | None:
        """Return the checked decision, its hold settled."""
        decision = await self._decide(case)
        await self._settle(case, decision)
        return decision

    async def _decide(self, case: Case) -> Decision | None:
        try:
            decision = await patiently(self.policy.admit(case.exchange, case.request))
        except TimeoutError:
            self._add(case, f"does not decide within {PATIENCE_S:g} s")
            return None
        except Exception as error:  # noqa: BLE001 - that is what is being found out
            self._add(case, f"raises {type(error).__name__}: {self._redacted(str(error))}")
            return None
        return self._checked(case, decision)

    def _checked(self, case: Case, decision: object) -> Decision | None:
        try:
            found = list(decision_problems(decision, case.request, self.stage, self.secrets))
        except (TypeError, AttributeError) as error:
            found = [f"decides with a field of the wrong type: {error}"]
        for problem in found:
            self._add(case, problem)
        return decision if isinstance(decision, Admit | Refuse | Answer) else None

    async def _settle(self, case: Case, decision: Decision | None) -> None:
        hold = decision.hold if decision is not None else None
        if hold is None:
            return
        try:
            await patiently(hold.settle(_record_for(case)))
        except Exception as error:  # noqa: BLE001 - that is what is being found out
            self._add(case, f"its hold raises {type(error).__name__} when it is settled")

    async def _ask_together(self) -> list[Decision | None]:
        """Ask about every request at the same time, twice; return the first answers."""
        cases = [*self.cases, *self.cases]
        decisions = await asyncio.gather(*(self._decide(case) for case in cases))
        made = [decision for decision in decisions if decision is not None]
        holds = [decision.hold for decision in made if decision.hold is not None]
        if len({id(hold) for hold in holds}) != len(holds):
            self.problems.append("gives the same hold to two exchanges; each is settled once")
        await asyncio.gather(*map(self._settle, cases, decisions))
        return decisions[: len(self.cases)]

    def _compare(self, alone: list[Decision | None], together: list[Decision | None]) -> None:
        if self.stage is Stage.RESERVE:
            return  # what is left may well depend on who else takes some
        for case, one, other in zip(self.cases, alone, together, strict=True):
            if one is not None and other is not None and _bare(one) != _bare(other):
                self._add(case, "decides otherwise when asked about other requests meanwhile")

    async def _replay(self, decisions: list[Decision | None]) -> None:
        """Ask again about what the journal keeps of each request."""
        for case, before in zip(self.cases, decisions, strict=True):
            if case.exchange.route.kind not in GOVERNED_BODIES:
                continue
            after = await self._ask(replace(case, request=_outlined(case)))
            if before is not None and after is not None and _outcome(before) != _outcome(after):
                self._add(case, "is not replayable: decides otherwise on the request's outline")

    async def _inspect(self, inspector: Inspector) -> None:
        """Show it answers, and cancel it at its first await."""
        for case, answer in zip(self.cases, make_answers(), strict=False):
            principal = case.request.principal
            work = functools.partial(inspector.inspect, case.exchange, principal, answer)
            try:
                notes = await patiently(work())
                await cancel_at(work(), 0)
            except Exception as error:  # noqa: BLE001 - that is what is being found out
                self.problems.append(f"raises {type(error).__name__} when it inspects an answer")
                return
            found = note_problems(notes, self.secrets)
            self.problems += [f"inspecting an answer, {problem}" for problem in found]

    def _first_of_each_kind(self) -> list[Case]:
        kinds = {case.exchange.route.kind: case for case in reversed(self.cases)}
        return list(kinds.values())

    async def _cancel(self, case: Case) -> None:
        """Cancel the decision at each await, and see that it left nothing behind."""
        before = await self._ask(case)
        for step in range(MAX_STEPS):
            if not await self._cancel_at(case, step):
                break
        after = await self._ask(case)
        if isinstance(before, Admit) and isinstance(after, Refuse):
            self._add(case, "refuses after having been cancelled: what was taken is not given back")

    async def _cancel_at(self, case: Case, step: int) -> bool:
        """Return whether the decision has that many awaits."""
        for _ in range(_TIMES):
            try:
                work = self.policy.admit(case.exchange, case.request)
                outcome = await cancel_at(work, step)
            except Exception as error:  # noqa: BLE001 - that is what is being found out
                self._add(case, f"cancelled at await {step}, raises {type(error).__name__}")
                return True
            await self._settle(case, self._ours(outcome.result))
            if not outcome.reached:
                return False
            if outcome.result is not None:
                self._add(case, f"goes on although it is cancelled at await {step}")
                return True
        return True

    def _ours(self, result: object) -> Decision | None:
        return result if isinstance(result, Admit | Refuse | Answer) else None

    def _add(self, case: Case, problem: str) -> None:
        self.problems.append(f"{case.name}: {problem}")

    def _redacted(self, text: str) -> str:
        for secret in self.secrets:
            text = text.replace(secret, "(caller's data)")
        return text[:200]


def _bare(decision: Decision) -> Decision:
    """The decision without its hold, which is another one each time."""
    return msgspec.structs.replace(decision, hold=None)


def _outcome(decision: Decision) -> tuple[object, ...]:
    """What a replay reports of a decision."""
    if isinstance(decision, Refuse):
        return decision.status, decision.rule
    edited = isinstance(decision, Admit) and bool(decision.edits)
    return decision.rule, isinstance(decision, Answer), edited


def _outlined(case: Case) -> Request:
    seen = case.request.view
    kept = outline(case.request.body.document)
    document = restored(kept, messages=seen.messages, tools=seen.tools)
    return make_request(
        document,
        kind=case.exchange.route.kind,
        principal=case.request.principal,
        credential=case.request.credential,
    )


def _record_for(case: Case) -> ExchangeRecord:
    """How the exchange ended: used up or never sent, as chance (the case's name) has it."""
    if len(case.name) % 2:
        return make_record(id=case.exchange.id)
    return make_record(
        id=case.exchange.id,
        outcome="refused",
        status=403,
        dispatched=False,
        usage=None,
        usage_source="none",
    )


def content_secrets(credential: str) -> tuple[str, ...]:
    """What no policy may repeat: the credential, and what the prompts contain."""
    return credential, CANARY
