"""Fail closed: a request leaves only if every policy says so, whatever the policies do."""

import asyncio
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidegate.exchange import ANONYMOUS, Principal
from tidegate.pipeline.admission import Admission, admit, read_request, still_says
from tidegate.pipeline.host import Link
from tidegate.pipeline.timeout import Timeout
from tidegate.plugin import ADMIT, NOT_CONCERNED, Admit, Answer, Refuse, Stage
from tidegate.testing import make_exchange
from tidegate.wire.body import Edit, replacements
from tidegate.wire.routes import Kind

RAW = b'{"model":"claude-x","max_tokens":5,"messages":["abc"]}'
REFUSE = Refuse(status=403, error_type="permission_error", message="no", rule="no")
ODD = [None, True, "admit", Admit, object()]


class Hold:
    def __init__(self) -> None:
        self.settled = 0

    async def settle(self, record: Any) -> None:
        self.settled += 1


class Scripted:
    """Does what it is told: returns, raises, waits."""

    def __init__(self, result: Any) -> None:
        self.result = result
        self.asked = 0

    async def admit(self, exchange: Any, request: Any) -> Any:
        self.asked += 1
        if self.result == "wait":
            await asyncio.sleep(60)
        if isinstance(self.result, BaseException):
            raise self.result
        return self.result


def link(number: int, policy: Scripted, **options: Any) -> Link:
    options.setdefault("timeout", Timeout(0.001 if policy.result == "wait" else 5))
    return Link(name=f"p{number}", policy=policy, stage=Stage.AUTHORIZE, **options)


def admission() -> Admission:
    return Admission(read_request(RAW, Kind.MESSAGES, ANONYMOUS, None))


RESULTS = st.sampled_from(
    [ADMIT, ADMIT, ADMIT, REFUSE, RuntimeError("x"), TimeoutError(), "wait", *ODD]
)


@given(st.lists(RESULTS, max_size=6))
def test_admits_if_and_only_if_every_policy_admitted(results: list[Any]) -> None:
    policies = [Scripted(result) for result in results]
    found = admission()
    chain = [link(number, policy) for number, policy in enumerate(policies)]
    asyncio.run(admit(chain, make_exchange(), found))
    expected = next((i for i, result in enumerate(results) if result is not ADMIT), None)
    assert found.admitted == (expected is None)
    if expected is not None:
        assert found.refused_by is not None
        assert found.refused_by.plugin == f"p{expected}"
        assert [policy.asked for policy in policies[expected + 1 :]] == [0] * (
            len(policies) - expected - 1
        )


@given(st.lists(RESULTS, max_size=5))
def test_shadow_decides_nothing_and_records_everything(results: list[Any]) -> None:
    policies = [Scripted(result) for result in results]
    found = admission()
    chain = [link(number, policy, shadow=True) for number, policy in enumerate(policies)]
    asyncio.run(admit(chain, make_exchange(), found))
    assert found.admitted
    assert found.request.body.raw == RAW
    assert [decision.mode for decision in found.decisions] == ["shadow"] * len(results)


@given(st.lists(RESULTS, max_size=5))
def test_errors_are_let_pass_only_where_the_operator_says_so(results: list[Any]) -> None:
    found = admission()
    chain = [link(i, Scripted(result), admit_on_error=True) for i, result in enumerate(results)]
    asyncio.run(admit(chain, make_exchange(), found))
    assert found.admitted == (REFUSE not in results)


async def test_the_next_policy_sees_the_edits_of_the_last() -> None:
    seen = []

    class Look(Scripted):
        async def admit(self, exchange: Any, request: Any) -> Any:
            seen.append((request.view.max_tokens, request.principal.id))
            return ADMIT

    at = RAW.index(b"5")
    edit = Admit(
        edits=(Edit("/max_tokens", "r", at, at + 1, b"77"),), principal=Principal("a", "t")
    )
    found = admission()
    chain = [link(0, Scripted(edit)), link(1, Look(ADMIT))]
    await admit(chain, make_exchange(), found)
    assert seen == [(77, "a")]
    assert found.edits[0].bytes_after == 2
    assert found.request.body.raw == RAW.replace(b"5", b"77")


@pytest.mark.parametrize(
    "edits",
    [
        (Edit("", "r", 0, 999, b""),),
        (Edit("", "r", 0, 5, b""), Edit("", "r", 3, 6, b"")),
        (Edit("", "r", 0, 1, b"x"),),
        (Edit("", "r", 1, 1, b'"model":"b",'),),
    ],
)
async def test_an_edit_that_breaks_the_request_refuses_it(edits: tuple[Edit, ...]) -> None:
    found = admission()
    await admit([link(0, Scripted(Admit(edits=edits)))], make_exchange(), found)
    assert found.refusal is not None
    assert (found.refusal.status, found.refusal.rule) == (500, "bad_edit")


async def test_no_edit_after_authorization_may_change_what_was_authorized() -> None:
    at = RAW.index(b"claude-x")
    edit = Admit(edits=(Edit("/model", "r", at, at + 8, b"claude-y"),))
    late = Link(name="late", policy=Scripted(edit), stage=Stage.TRANSFORM)
    found = admission()
    await admit([late], make_exchange(), found)
    assert found.refusal is not None
    assert found.refusal.rule == "bad_edit"


@given(st.integers(0, 4))
def test_what_was_taken_is_known_however_the_asking_ends(cancel_at: int) -> None:
    """Cancelled at any of its awaits, admission still holds every hold that was returned."""
    holds = [Hold() for _ in range(4)]
    waits = asyncio.Event

    class Taking(Scripted):
        async def admit(self, exchange: Any, request: Any) -> Any:
            if self.result == cancel_at:
                reached.set()
                await asyncio.sleep(60)
            await asyncio.sleep(0)
            return Admit(hold=holds[self.result])

    async def run() -> Admission:
        nonlocal reached
        reached = waits()
        found = admission()
        chain = [link(n, Taking(n)) for n in range(4)]
        task = asyncio.ensure_future(admit(chain, make_exchange(), found))
        if cancel_at < 4:
            await reached.wait()
            task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        return found

    reached = None  # type: ignore[assignment]
    found = asyncio.run(run())
    assert found.holds == holds[: min(cancel_at, 4)]


ANSWER = Answer(body=b"{}", rule="known")


def staged(*pairs: tuple[Stage, Any]) -> list[Link]:
    policies = [Scripted(result) for _, result in pairs]
    return [
        Link(name=f"p{number}", policy=policy, stage=stage)
        for number, ((stage, _), policy) in enumerate(zip(pairs, policies, strict=True))
    ]


def verdicts(found: Admission) -> list[str]:
    return [decision.verdict for decision in found.decisions]


def test_an_answer_needs_its_stage_and_ends_the_chain() -> None:
    found = admission()
    chain = staged((Stage.AUTHORIZE, ANSWER), (Stage.AUTHORIZE, ADMIT), (Stage.RESERVE, REFUSE))
    asyncio.run(admit(chain, make_exchange(), found))
    assert found.admitted
    assert found.answer is ANSWER
    assert verdicts(found) == ["answer", "admit", "not_evaluated"]


def test_a_refusal_of_the_same_stage_wins_over_an_answer() -> None:
    found = admission()
    chain = staged((Stage.AUTHORIZE, ANSWER), (Stage.AUTHORIZE, REFUSE))
    asyncio.run(admit(chain, make_exchange(), found))
    assert not found.admitted


def test_who_identifies_cannot_answer() -> None:
    found = admission()
    asyncio.run(admit(staged((Stage.IDENTIFY, ANSWER)), make_exchange(), found))
    assert not found.admitted
    assert found.answer is None


def test_an_answer_in_shadow_is_only_written_down() -> None:
    found = admission()
    chain = [link(0, Scripted(ANSWER), shadow=True)]
    asyncio.run(admit(chain, make_exchange(), found))
    assert found.answer is None
    assert verdicts(found) == ["answer"]


def test_who_did_not_look_is_said_not_to_have_evaluated() -> None:
    found = admission()
    chain = staged(
        (Stage.AUTHORIZE, NOT_CONCERNED), (Stage.AUTHORIZE, REFUSE), (Stage.TRANSFORM, ADMIT)
    )
    asyncio.run(admit(chain, make_exchange(), found))
    assert verdicts(found) == ["not_evaluated", "refuse", "not_evaluated"]


def test_a_required_field_may_be_put_in_until_something_is_reserved() -> None:
    raw = b'{"model":"m","messages":[]}'
    put = Admit(edits=(Edit("/max_tokens", "insert", 1, 1, b'"max_tokens":7,'),))
    for results, expected in (([put], 7), ([ADMIT], None)):
        found = Admission(read_request(raw, Kind.MESSAGES, ANONYMOUS, None))
        chain = staged(*((Stage.AUTHORIZE, result) for result in results), (Stage.RESERVE, ADMIT))
        asyncio.run(admit(chain, make_exchange(), found))
        assert found.admitted == (expected is not None)
        assert found.request.view.max_tokens == expected


@pytest.mark.parametrize(
    ("raw", "pointer", "value"),
    [
        (b'{"model":"m","max_tokens":5,"messages":[],"speed":"standard"}', "/speed", "fast"),
        (b'{"model":"m","max_tokens":5,"messages":[],"fallbacks":[{"model":"m"}]}', "/fallbacks/0/model", "n"),
        (b'{"model":"m","max_tokens":5,"messages":[],"tools":[{"type":"bash_1"}]}', "/tools/0/type", "web_fetch_1"),
    ],
)  # fmt: skip
def test_no_edit_after_authorization_touches_what_was_authorized(
    raw: bytes, pointer: str, value: str
) -> None:
    for stage, admitted in ((Stage.AUTHORIZE, True), (Stage.TRANSFORM, False)):
        found = Admission(read_request(raw, Kind.MESSAGES, ANONYMOUS, None))
        edits = replacements(found.request.body, {pointer: value}, "r")
        asyncio.run(admit(staged((stage, Admit(edits=edits))), make_exchange(), found))
        assert found.admitted == admitted


def test_the_final_check_compares_the_bytes_with_what_was_approved() -> None:
    approved = admission().request
    assert still_says(RAW, approved, Kind.MESSAGES)
    for other in (RAW.replace(b"abc", b"abd"), RAW.replace(b"5", b"6"), RAW[:-1], b""):
        assert not still_says(other, approved, Kind.MESSAGES)
