"""The local database counts what the journal has, each exchange once, whatever is killed when."""

import asyncio
import os
import random
import signal
import sys
from pathlib import Path

import aiohttp
import pytest

from support.gateway import Process, serve
from support.traffic import Totals, load, tide, until, written
from tidegate_plugins.usage import queries
from tidegate_plugins.usage.config import database_path
from tidegate_plugins.usage.facts import TOKENS
from tidegate_plugins.usage.queries import Span

pytestmark = [pytest.mark.process, pytest.mark.timeout(120)]

FOR_EVER = 10**10
TOML = """
[listen]
workers = 2
[[plugins]]
use = "usage"
"""


def counted(running: Process) -> Totals:
    """What the database adds up to."""
    try:
        with queries.reading(database_path(running.directory, "usage")) as db:
            (row,) = queries.sums(db, Span(0, FOR_EVER), ())
    except queries.NoDatabase:
        return Totals(0, {})
    return Totals(row["requests"], {kind: row[kind] for kind in TOKENS if row[kind]})


def observatory(running: Process) -> set[int]:
    return {pid for pid, what in running.children().items() if "observatory" in what}


async def test_kills_and_restarts_count_nothing_twice(tmp_path: Path) -> None:
    config = tmp_path / "tidegate.toml"
    config.write_text(TOML)
    rng = random.Random(5)
    async with tide() as water:
        water.rise.set()
        for _ in range(2):  # the second run goes on with the same journal
            async with serve(tmp_path / "j", config, "--upstream", water.url) as running:
                async with load(running.port, clients=2, pause_s=0.01) as clients:
                    for _ in range(2):
                        await clients.seen(30)
                        (victim,) = await until(lambda: observatory(running))
                        # Between a commit and the saving of its state, or anywhere else.
                        await asyncio.sleep(rng.uniform(0, 1.5))
                        os.kill(victim, signal.SIGKILL)
                        await until(lambda v=victim: observatory(running) - {v})
                await until(lambda: counted(running) == written(running.records()))
                async with aiohttp.request("GET", running.admin_url) as answer:
                    assert answer.status == 200
                    assert "<title>tidegate" in await answer.text()
                running.signal(signal.SIGTERM)
                assert await running.wait() == 0
            assert counted(running) == written(running.records())
            assert counted(running).requests >= 60


async def test_it_can_be_asked_while_the_gateway_runs(tmp_path: Path) -> None:
    config = tmp_path / "tidegate.toml"
    config.write_text(TOML)
    async with tide() as water, serve(tmp_path / "j", config, "--upstream", water.url) as running:
        water.rise.set()
        async with load(running.port, clients=1) as clients:
            await clients.seen(5)
            await until(lambda: counted(running).requests)
            command = ["-m", "tidegate", "usage", "--dir", str(running.directory)]
            asking = await asyncio.create_subprocess_exec(
                sys.executable, *command, stdout=asyncio.subprocess.PIPE
            )
            said, _ = await asking.communicate()
        assert asking.returncode == 0
        assert b"total" in said
