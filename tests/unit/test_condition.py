"""What readiness and the metrics are told of policies."""

import pytest

from tidegate.control import Condition
from tidegate.exchange import Exchange, Request
from tidegate.http.reply import Refusal, refusal_answer
from tidegate.pipeline.condition import condition_of, policy_vitals
from tidegate.pipeline.host import Link
from tidegate.plugin import ADMIT, Decision, Gauge, Refuse, Report, Stage
from tidegate.record import GaugeRecord, PolicyVitals


class Quiet:
    async def admit(self, exchange: Exchange, request: Request) -> Decision:
        return ADMIT


class Talking(Quiet):
    def __init__(self, report: Report) -> None:
        self._report = report

    def report(self) -> Report:
        return self._report


class Broken(Quiet):
    def report(self) -> Report:
        raise RuntimeError("caller's data")


WELL = Talking(Report(gauges=(Gauge("tea_ratio", (("cup", "blue"),), 0.5),)))
ILL = Talking(Report(healthy=False, message="no tea"))


def link(policy: Quiet, name: str = "tea", *, shadow: bool = False, admit: bool = False) -> Link:
    return Link(name=name, policy=policy, stage=Stage.RESERVE, shadow=shadow, admit_on_error=admit)


@pytest.mark.parametrize(
    ("chain", "condition"),
    [
        ((link(Quiet()), link(WELL)), Condition()),
        ((link(ILL),), Condition(reason="tea: no tea")),
        ((link(ILL, shadow=True),), Condition(remark="tea: no tea")),
        ((link(ILL, admit=True), link(ILL, "two")), Condition("two: no tea", "tea: no tea")),
    ],
)
def test_trouble_that_refuses_is_a_reason(chain: tuple[Link, ...], condition: Condition):
    assert condition_of(chain, journal_fails=False) == condition


def test_the_journal_comes_first():
    found = condition_of((link(ILL),), journal_fails=True)

    assert found.reason == "the journal cannot be written; tea: no tea"


def test_a_policy_that_cannot_report_is_not_well_and_is_not_quoted():
    (vitals,) = policy_vitals((link(Broken()),))

    assert not vitals.healthy
    assert "cannot report: RuntimeError" in vitals.message
    assert "caller" not in vitals.message


def test_vitals_hold_the_gauges_of_those_that_report():
    assert policy_vitals((link(Quiet(), "mute"), link(WELL))) == (
        PolicyVitals("tea", True, "", (GaugeRecord("tea_ratio", {"cup": "blue"}, 0.5),)),
    )


@pytest.mark.parametrize(
    ("wait_s", "fields"),
    [
        (None, {(b"x-should-retry", b"false")}),
        (60, {(b"retry-after", b"60")}),
        (61, {(b"retry-after", b"61"), (b"x-should-retry", b"false")}),
    ],
)
def test_a_client_waits_for_a_minute_at_most(wait_s: int | None, fields: set[tuple[bytes, bytes]]):
    refuse = Refuse(
        status=429,
        error_type="rate_limit_error",
        message="no tea",
        rule="tea",
        retry_after_s=wait_s,
        headers=(("x-tidegate-limit-name", "tea"),),
    )
    _, found = refusal_answer(Refusal(refuse, plugin="tea"), "tg_1")

    retry = {pair for pair in found if pair[0] in (b"retry-after", b"x-should-retry")}
    assert retry == fields
    assert (b"x-tidegate-limit-name", b"tea") in found
