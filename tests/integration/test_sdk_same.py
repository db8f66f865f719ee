"""Programs that use the official SDKs, of several majors in two languages, notice no gateway."""

import asyncio
import functools
from collections.abc import Callable
from typing import Any

import pytest

from support.driving import SDKS, Sdk, Side, as_sent, run_both
from support.scenarios import SAME, UNLIKE, Scenario

Sides = tuple[Side, Side]
Runs = Callable[[Sdk], Sides]

CASES = [
    pytest.param(sdk, scenario, id=f"{sdk}-{scenario.name}")
    for sdk in SDKS
    for scenario in sdk.able(SAME)
]
pytestmark = pytest.mark.timeout(900)  # the first run installs
every_sdk = pytest.mark.parametrize("sdk", SDKS, ids=str)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Runs:
    """The same program, directly and through the gateway; run once for each SDK."""

    @functools.cache
    def run(sdk: Sdk) -> Sides:
        scenarios = sdk.able([*SAME, *UNLIKE])
        directory = tmp_path_factory.mktemp("journal")
        direct, through = asyncio.run(run_both(directory, sdk.command(), scenarios))
        assert direct.outcomes["version"] == through.outcomes["version"] == sdk.version
        return direct, through

    return run


@pytest.mark.parametrize(("sdk", "scenario"), CASES)
def test_the_same_as_without_a_gateway(runs: Runs, sdk: Sdk, scenario: Scenario) -> None:
    direct, through = runs(sdk)
    for mode in sdk.modes:
        name = f"{mode}/{scenario.name}"
        expected = direct.outcome(mode, scenario.name)
        found = through.outcome(mode, scenario.name)
        if sdk.node:
            _shorten(expected, found)
        assert scenario.wants in (*expected, "either"), (mode, expected)
        assert found == expected, mode
        assert len(direct.heard[name]) == scenario.requests(node=sdk.node)
        assert list(map(as_sent, through.heard[name])) == list(map(as_sent, direct.heard[name]))


def _shorten(one: dict[str, Any], other: dict[str, Any]) -> None:
    """Leave what both have seen before an error: node drops what it has not yet handed out."""
    if "error" in one and "error" in other:
        both = min(len(one["seen"]), len(other["seen"]))
        one["seen"], other["seen"] = one["seen"][:both], other["seen"][:both]


@every_sdk
def test_every_attempt_is_recorded_once(runs: Runs, sdk: Sdk) -> None:
    _, through = runs(sdk)
    attempts = sum(map(len, through.heard.values()))
    assert len({record["id"] for record in through.records}) == len(through.records) == attempts


@every_sdk
def test_a_client_that_leaves_frees_the_upstream(runs: Runs, sdk: Sdk) -> None:
    for side in runs(sdk):
        for mode in sdk.modes:
            (received,) = side.heard[f"{mode}/leave"]
            assert received.disconnected


@every_sdk
def test_a_hang_up_without_an_answer_is_tried_again_as_often(runs: Runs, sdk: Sdk) -> None:
    """The one failure that a gateway cannot show as it is: it has to answer something."""
    direct, through = runs(sdk)
    for mode in sdk.modes:
        assert direct.outcome(mode, "hang-up")["error"]["class"] == "APIConnectionError"
        found = through.outcome(mode, "hang-up")["error"]
        assert (found["class"], found["status"]) == ("InternalServerError", 502)
        for side in (direct, through):
            assert len(side.heard[f"{mode}/hang-up"]) == 2


@every_sdk
def test_a_reset_is_never_an_end(runs: Runs, sdk: Sdk) -> None:
    """What was under way may be lost with it, so what was seen cannot be compared."""
    for mode in sdk.modes:
        for side in runs(sdk):
            found = side.outcome(mode, "reset")["error"]
            assert found.get("status") is None
            assert len(side.heard[f"{mode}/reset"]) == 1
