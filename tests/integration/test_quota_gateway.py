"""Budgets and rate limits as clients meet them, and as the journal tells of them."""

import contextlib
import json
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from support.gateway import Gateway, gateway
from support.raw import Answer, ask
from support.traffic import FIRST_HALF, Tide, open_stream, request, tide, until
from tidegate.clock import SystemClock
from tidegate.testing import make_exchange, make_record, make_request, open_plugin
from tidegate_plugins.quota import plugin
from tidegate_plugins.quota.stores import StoreError
from tidegate_plugins.quota.stores.sqlite import SqliteStore

MONTH = 'scope = "org", per = "month"'


@asynccontextmanager
async def limited(
    folder: Path, *limits: str, mode: str = "enforce"
) -> AsyncIterator[tuple[Gateway, Tide]]:
    rows = "".join(f"{{ {limit} }},\n" for limit in limits)
    toml = f'[[plugins]]\nuse = "quota"\nmode = "{mode}"\nconfig.limits = [\n{rows}]\n'
    async with tide() as water, gateway(folder / "j", water.url, toml) as running:
        yield running, water


async def say(running: Gateway, **fields: Any) -> tuple[Answer, dict[str, str], dict[str, Any]]:
    answer = await ask(running.port, request(**fields))
    return answer, dict(answer[1]), json.loads(answer[2])


async def used(running: Gateway) -> dict[str, tuple[int, int]]:
    store = SqliteStore(running.directory / "quota.sqlite", SystemClock(), 5)
    try:
        found = await store.read()
    finally:
        await store.close()
    return {name.split("/")[2]: (each.used, each.reserved) for name, each in found.items()}


async def test_a_rate_limit_on_the_wire(tmp_path: Path):
    limit = 'name = "hourly", scope = "org", per = "hour", requests = 1'
    async with limited(tmp_path, limit) as (running, water):
        (status, _, _), admitted, _ = await say(running)
        assert status == 200
        assert admitted["x-tidegate-limit-requests-limit"] == "1"
        assert admitted["x-tidegate-limit-requests-remaining"] == "0"

        (status, _, _), refused, body = await say(running)
        records = await running.exchanges(2)

    assert status == 429
    assert body["error"]["type"] == "rate_limit_error"
    assert 0 < int(refused["retry-after"]) <= 3600
    assert refused["x-tidegate-origin"] == "limit"
    assert refused["x-tidegate-limit-name"] == "hourly"
    assert refused["x-tidegate-limit-requests-reset"] == admitted["x-tidegate-limit-requests-reset"]
    assert records[1]["refused_by"] == {"plugin": "quota", "rule": "hourly", "pointer": ""}
    assert water.server is not None
    assert len(water.server.heard) == 1


async def test_a_spent_budget_on_the_wire(tmp_path: Path):
    async with limited(tmp_path, f'name = "m", {MONTH}, usd = 0.0003') as (running, _):
        assert (await say(running))[0][0] == 200  # 9 tokens at most: 135 µ$ and the prompt
        await running.exchange()
        for _ in range(3):
            (status, _, _), headers, body = await say(running)

    assert status == 429
    assert headers["x-should-retry"] == "false"
    assert "retry-after" not in headers
    assert "it resets at 20" in body["error"]["message"]


async def test_a_shadow_counts_and_refuses_nobody(tmp_path: Path):
    limits = (f'name = "m", {MONTH}, requests = 1, soft = 0.5, tokens = 1',)
    async with limited(tmp_path, *limits, mode="shadow") as (running, _):
        for _ in range(3):
            assert (await say(running))[0][0] == 200
        records = await running.exchanges(3)
        await running.plane.handler.settled()
        counted = await used(running)

    found = [(d["rule"], d["verdict"], d["mode"]) for d in records[2]["decisions"]]
    assert ("m", "refuse", "shadow") in found
    assert counted == {"requests": (3, 0), "tokens": (3 * 19, 0)}


async def test_soft_is_an_event_in_the_record(tmp_path: Path):
    async with limited(tmp_path, f'name = "m", {MONTH}, requests = 2, soft = 0.8') as (running, _):
        for _ in range(2):
            await say(running)
        first, second = await running.exchanges(2)

    verdicts = [[d["verdict"] for d in record["decisions"]] for record in (first, second)]
    assert verdicts == [["admit"], ["admit", "soft"]]


async def test_a_client_that_leaves_pays_for_what_is_known(tmp_path: Path):
    assert b'"input_tokens": 7, "output_tokens": 1' in FIRST_HALF
    async with limited(tmp_path, f'name = "m", {MONTH}, usd = 5.0, tokens = 9999') as (running, _):
        stream = await open_stream(running.port)
        stream.writer.close()
        record = await running.exchange()
        await running.plane.handler.settled()
        counted = await used(running)

    assert (record["outcome"], record["usage_source"]) == ("client_gone", "partial")
    assert counted == {"usd": (7 * 3000 + 1 * 15_000, 0), "tokens": (8, 0)}


async def test_a_stream_counts_as_running_until_it_ends(tmp_path: Path):
    async with limited(tmp_path, 'name = "c", scope = "org", concurrent = 1') as (running, water):
        stream = await open_stream(running.port)
        assert (await say(running))[0][0] == 429
        water.rise.set()
        await stream.rest()

        async def admitted() -> bool:
            return (await say(running))[0][0] == 200

        await until(admitted)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    path = tmp_path / "disk"
    path.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(path)]
    mounted = subprocess.run(command, capture_output=True, text=True, check=False)
    if mounted.returncode:
        pytest.skip(f"a small file system cannot be mounted: {mounted.stderr.strip()}")
    try:
        yield path
    finally:
        subprocess.run(["umount", "--lazy", str(path)], check=True)


def fill(disk: Path) -> None:
    with contextlib.suppress(OSError), (disk / "filler").open("wb", buffering=0) as file:
        while True:
            file.write(b"\0" * 4096)


async def test_a_full_disk(tmp_path: Path, disk: Path):
    config = {
        "store": f"sqlite:{disk / 'q.sqlite'}",
        "limits": [{"name": "n", "scope": "org", "per": "month", "requests": 10**6}],
    }
    async with open_plugin(plugin, config, state_dir=tmp_path) as quota:

        async def fails() -> bool:
            try:
                await quota.admit(make_exchange(), make_request())
            except StoreError:
                return True
            return False

        decision = await quota.admit(make_exchange(), make_request())
        fill(disk)
        await until(fails)  # there may be room in pages that are there already
        assert not quota.report().healthy
        await decision.hold.settle(make_record())

        (disk / "filler").unlink()
        await until(lambda: quota.report().healthy and not quota._store.pending)
        assert not await fails()
