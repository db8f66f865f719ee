"""Runs an SDK driver against the simulator, directly or through a gateway, and keeps both views."""

import asyncio
import json
import os
import re
from collections import defaultdict
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from support.caches import node_sdk, python_sdk
from support.gateway import gateway
from support.scenarios import Scenario
from tidegate.simulator import Received, Simulator

KEY = "-".join(("sk", "ant", "api03", "x" * 20))
SUPPORT = Path(__file__).parent
MARK = "x-scenario"
DRIVER_TIMEOUT_S = 90

Outcomes = dict[str, dict[str, Any]]
"""By mode (`sync`, `async`), then by the scenario's name."""


@dataclass
class Side:
    """What one run looked like: to the program, to the API, and to the gateway's journal."""

    outcomes: Outcomes = field(repr=False)
    heard: dict[str, list[Received]] = field(default_factory=lambda: defaultdict(list), repr=False)
    """By `mode/name`: every attempt that came to the simulator."""
    records: list[dict[str, Any]] = field(default_factory=list, repr=False)

    def outcome(self, mode: str, name: str) -> Any:
        """What the program saw, without what is new each time."""
        return lasting(self.outcomes[mode][name])

    def error(self, mode: str, name: str) -> dict[str, Any]:
        """What it was told of an exception."""
        found = self.outcomes[mode][name]
        assert "error" in found, found
        told: dict[str, Any] = found["error"]
        return told


@dataclass(frozen=True)
class Sdk:
    """An official SDK, of one version."""

    version: str
    node: bool = False

    def __str__(self) -> str:
        return f"{'node' if self.node else 'python'}-{self.version}"

    @property
    def modes(self) -> tuple[str, ...]:
        return ("async",) if self.node else ("sync", "async")

    def able(self, scenarios: Sequence[Scenario]) -> list[Scenario]:
        """Return those that its driver has."""
        return [scenario for scenario in scenarios if scenario.node or not self.node]

    def command(self) -> list[str]:
        """Return the command that runs its driver; installs it if it is not there."""
        if self.node:
            return ["node", str(SUPPORT / "sdk_driver.mjs"), str(node_sdk(self.version))]
        return [str(python_sdk(self.version)), "-B", str(SUPPORT / "sdk_driver.py")]


SDKS = (
    Sdk("0.75.0"),
    Sdk("1.17.0"),
    Sdk("2.12.0"),
    Sdk("0.71.0", node=True),
    Sdk("1.12.0", node=True),
)


async def drive(
    command: Sequence[str], base_url: str, scenarios: Sequence[Scenario], key: str = KEY
) -> Outcomes:
    """Run a driver and return what it saw."""
    plan = {
        "base_url": base_url,
        "api_key": key,
        "scenarios": [scenario.plan() for scenario in scenarios],
    }
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=_environment(),
    )
    try:
        async with asyncio.timeout(DRIVER_TIMEOUT_S):
            printed, complaints = await process.communicate(json.dumps(plan).encode())
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode == 0, complaints.decode()
    found: Outcomes = json.loads(printed)
    return found


def _environment() -> dict[str, str]:
    """Ours, without what would make an SDK talk to somebody else."""

    def harmless(name: str) -> bool:
        upper = name.upper()
        return not (upper.startswith(("ANTHROPIC_", "PYTHON")) or upper.endswith("_PROXY"))

    kept = {name: value for name, value in os.environ.items() if harmless(name)}
    return kept | {"PYTHONHASHSEED": "0"}  # some SDKs keep header names in sets


@asynccontextmanager
async def simulating() -> AsyncGenerator[Simulator, None]:
    simulator = Simulator(keep=10_000)
    async with simulator.serving("127.0.0.1", 0):
        yield simulator


async def run_direct(command: Sequence[str], scenarios: Sequence[Scenario]) -> Side:
    async with simulating() as simulator:
        side = Side(await drive(command, simulator.url, scenarios))
        await _collect(side, simulator)
    return side


async def run_through(
    directory: Path,
    command: Sequence[str],
    scenarios: Sequence[Scenario],
    toml: str = "",
    key: str = KEY,
    **listen: Any,
) -> Side:
    """Run a driver through a gateway; `toml` adds to the gateway's configuration."""
    async with (
        simulating() as simulator,
        gateway(directory, simulator.url, toml, **listen) as gate,
    ):
        side = Side(await drive(command, gate.url, scenarios, key))
        await _collect(side, simulator)
        side.records = await gate.exchanges(simulator.stats.requests)
    return side


async def run_both(
    directory: Path, command: Sequence[str], scenarios: Sequence[Scenario]
) -> tuple[Side, Side]:
    """Run a driver without and with a gateway, at the same time."""
    direct, through = await asyncio.gather(
        run_direct(command, scenarios), run_through(directory, command, scenarios)
    )
    return direct, through


async def _collect(side: Side, simulator: Simulator) -> None:
    async with asyncio.timeout(10):
        await simulator.idle()
    for received in simulator.requests:
        side.heard[received.headers[MARK]].append(received)


_NEW_EACH_TIME = re.compile(
    r"\b(msg_01|toolu_01|srvtoolu_01|container_01|req_011C|EqQBCgIYAhIM)[A-Za-z0-9=]+"
)


def lasting(outcome: Any) -> Any:
    """Return an outcome without the ids that differ between two answers to one request."""
    return json.loads(_NEW_EACH_TIME.sub(r"\1", json.dumps(outcome)))


_OF_THE_CONNECTION = frozenset(
    {b"host", b"connection", b"content-length", b"accept-encoding", b"cookie"}
)
"""Cookies are of a host: those that SDKs keep are not sent on (`tidegate.wire.headers`)."""


def as_sent(received: Received) -> tuple[str, str, list[tuple[bytes, bytes]], bytes]:
    """Return a request as it came, without what belongs to one connection, and ids."""
    headers = [pair for pair in received.raw_headers if pair[0].lower() not in _OF_THE_CONNECTION]
    body = _NEW_EACH_TIME.sub(r"\1", received.body.decode()).encode()
    return received.method, received.target, headers, body
