"""Programs that use the official Python SDK, of three majors, notice no gateway."""

import asyncio
from pathlib import Path

import pytest

from support.caches import python_sdk
from support.driving import Side, as_sent, python_command, run_both
from support.scenarios import SAME, Scenario

VERSIONS = ("0.75.0", "1.17.0", "2.12.0")
MODES = ("sync", "async")
Sides = tuple[Side, Side]

pytestmark = pytest.mark.timeout(900)  # the first run installs


@pytest.fixture(scope="module", params=VERSIONS)
def sides(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Sides:
    """The same program, directly and through the gateway."""
    command = python_command(python_sdk(request.param))
    directory: Path = tmp_path_factory.mktemp("journal")
    direct, through = asyncio.run(run_both(directory, command, SAME))
    assert direct.outcomes["version"] == through.outcomes["version"] == request.param
    return direct, through


@pytest.fixture(params=MODES)
def mode(request: pytest.FixtureRequest) -> str:
    chosen: str = request.param
    return chosen


@pytest.mark.parametrize("scenario", SAME, ids=lambda each: each.name)
def test_the_same_as_without_a_gateway(sides: Sides, mode: str, scenario: Scenario) -> None:
    direct, through = sides
    name = f"{mode}/{scenario.name}"
    expected = direct.outcome(mode, scenario.name)
    assert scenario.wants in (*expected, "either"), expected
    assert through.outcome(mode, scenario.name) == expected
    assert len(direct.heard[name]) == scenario.requests()
    assert list(map(as_sent, through.heard[name])) == list(map(as_sent, direct.heard[name]))


def test_every_attempt_is_recorded_once(sides: Sides) -> None:
    _, through = sides
    attempts = sum(map(len, through.heard.values()))
    assert len({record["id"] for record in through.records}) == len(through.records) == attempts


def test_a_client_that_leaves_frees_the_upstream(sides: Sides) -> None:
    for side in sides:
        for mode in MODES:
            (received,) = side.heard[f"{mode}/leave"]
            assert received.disconnected
