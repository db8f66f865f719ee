"""Programs that use the official TypeScript SDK, of two majors, notice no gateway."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from support.caches import node_sdk
from support.driving import Side, as_sent, node_command, run_both
from support.scenarios import SAME, Scenario

VERSIONS = ("0.71.0", "1.12.0")
SCENARIOS = [scenario for scenario in SAME if scenario.node]
Sides = tuple[Side, Side]

pytestmark = pytest.mark.timeout(900)  # the first run installs


@pytest.fixture(scope="module", params=VERSIONS)
def sides(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Sides:
    """The same program, directly and through the gateway."""
    command = node_command(node_sdk(request.param))
    directory: Path = tmp_path_factory.mktemp("journal")
    direct, through = asyncio.run(run_both(directory, command, SCENARIOS))
    assert direct.outcomes["version"] == through.outcomes["version"] == request.param
    return direct, through


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda each: each.name)
def test_the_same_as_without_a_gateway(sides: Sides, scenario: Scenario) -> None:
    direct, through = sides
    name = f"async/{scenario.name}"
    expected = direct.outcome("async", scenario.name)
    assert scenario.wants in (*expected, "either"), expected
    found = through.outcome("async", scenario.name)
    _shorten(expected, found)
    assert found == expected
    assert len(direct.heard[name]) == scenario.requests(node=True)
    assert list(map(as_sent, through.heard[name])) == list(map(as_sent, direct.heard[name]))


def _shorten(one: dict[str, Any], other: dict[str, Any]) -> None:
    """Leave what both have seen before an error: node drops what it has not yet handed out."""
    if "error" in one and "error" in other:
        both = min(len(one["seen"]), len(other["seen"]))
        one["seen"], other["seen"] = one["seen"][:both], other["seen"][:both]


def test_every_attempt_is_recorded_once(sides: Sides) -> None:
    _, through = sides
    attempts = sum(map(len, through.heard.values()))
    assert len({record["id"] for record in through.records}) == len(through.records) == attempts


def test_a_client_that_leaves_frees_the_upstream(sides: Sides) -> None:
    for side in sides:
        (received,) = side.heard["async/leave"]
        assert received.disconnected
