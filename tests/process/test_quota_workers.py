"""Limits over worker processes: exact sums, no more than there is, nothing left behind.

The long run of the shared limit: `TIDEGATE_QUOTA_SOAK_S=120 pytest tests/process/test_quota_workers.py`.
"""

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from support.gateway import Process, serve
from support.raw import ask
from support.redis import redis_server
from support.traffic import (
    ANSWER,
    FIRST_HALF,
    HEAD,
    SECOND_HALF,
    admin,
    is_ready,
    load,
    open_streams,
    request,
    say,
    tide,
    until,
)
from tidegate import record
from tidegate.clock import SystemClock
from tidegate.record import ExchangeRecord
from tidegate.testing.upstream import Call, scripted_upstream
from tidegate_plugins import prices
from tidegate_plugins.quota.stores import Standing, Store
from tidegate_plugins.quota.stores.redis import RedisStore
from tidegate_plugins.quota.stores.sqlite import SqliteStore

SOAK_S = float(os.environ.get("TIDEGATE_QUOTA_SOAK_S", "5"))

pytestmark = [pytest.mark.process, pytest.mark.timeout(SOAK_S * 2 + 120)]

TOML = """
[listen]
workers = {workers}
drain_s = 10
[[plugins]]
use = "quota"
on_error = "{on_error}"
[plugins.config]
store = {store}
lease_s = 3.0
limits = [
  {{ name = "n", scope = "org", per = "month", requests = {requests}, tokens = 1000000000, usd = 1000000.0 }},
  {{ name = "c", scope = "org", concurrent = {concurrent} }},
]
[[plugins]]
use = "metrics"
"""


def configured(
    folder: Path,
    store: str,
    *,
    workers: int = 2,
    on_error: str = "refuse",
    requests: int = 10**9,
    concurrent: int = 1000,
) -> Path:
    path = folder / "tidegate.toml"
    path.write_text(
        TOML.format(
            store=json.dumps(store),
            workers=workers,
            on_error=on_error,
            requests=requests,
            concurrent=concurrent,
        )
    )
    return path


async def counters(store: Store) -> dict[str, Standing]:
    """What the store holds, by measure."""
    try:
        return {name.split("/")[2]: each for name, each in (await store.read()).items()}
    finally:
        await store.close()


def accounted(running: Process) -> dict[str, int]:
    """What the journal's records add up to."""
    table = prices.load()
    sums = {"requests": 0, "tokens": 0, "usd": 0}
    for raw in running.records():
        found = record.decode(json.dumps(raw).encode())
        assert isinstance(found, ExchangeRecord)
        usage = found.usage
        sums["requests"] += found.dispatched
        sums["usd"] += table.cost(found).nano_usd
        if usage is not None:
            sums["tokens"] += usage.input + usage.cache_read + usage.output
    return sums


@dataclass
class Busy:
    """An upstream that counts how many it has at a time."""

    now: int = 0
    most: int = 0
    calls: int = 0

    async def answer(self, call: Call) -> None:
        with self._counted():
            await asyncio.sleep(0.005)
            streamed = json.loads(call.heard.body).get("stream")
            if streamed:
                await call.say(HEAD)
                await call.chunk(FIRST_HALF)
                await asyncio.sleep(0.02)
                await call.chunk(SECOND_HALF)
        # Over before its last bytes: with them the gateway may send the next one at once.
        await (call.say(b"0\r\n\r\n") if streamed else call.answer(ANSWER))

    @contextmanager
    def _counted(self) -> Iterator[None]:
        self.calls += 1
        self.now += 1
        self.most = max(self.most, self.now)
        try:
            yield
        finally:
            self.now -= 1


@asynccontextmanager
async def busy() -> AsyncIterator[tuple[Busy, str]]:
    it = Busy()
    async with scripted_upstream(it.answer) as server:
        yield it, server.url


async def test_eight_processes_share_one_limit(tmp_path: Path):
    """Never more than the limit; nothing left reserved; charges are the journal's usage, exactly."""
    with redis_server(tmp_path) as server:
        config = configured(tmp_path, server.url, workers=8, concurrent=6, requests=10**9)
        async with busy() as (upstream, url):
            async with serve(tmp_path / "j", config, "--upstream", url, start_s=60) as running:
                # Clients that leave give their places back before the upstream has noticed.
                async with load(running.port, clients=24, leave=False) as staying:
                    await asyncio.sleep(SOAK_S / 2)
                    most = upstream.most
                async with load(running.port, clients=24) as clients:
                    await asyncio.sleep(SOAK_S / 2)
                statuses = {*staying.statuses, *clients.statuses}
                running.signal(signal.SIGTERM)
                assert await running.wait() == 0
            held = await counters(RedisStore(server.url, None, "tidegate", SystemClock(), 5))

        admitted = {kind: standing.used for kind, standing in held.items()}
        assert admitted == accounted(running)
        # Clients that leave at the end may do so when their request is just about to.
        assert 20 < upstream.calls <= admitted["requests"]
        assert {
            kind: standing.reserved for kind, standing in held.items() if standing.reserved
        } == {}
        assert most <= 6
        assert statuses == {200, 429}, "some have met the limit"
        workers = {found["worker"] for found in running.records()}
        assert len(workers) > 1
        print(f"\n{upstream.calls} admitted of {len(clients.statuses)}, {len(workers)} workers, "
              f"at most {most} at a time")  # fmt: skip


@pytest.mark.parametrize("kind", ["sqlite", "redis"])
async def test_no_more_are_admitted_than_there_are(tmp_path: Path, kind: str):
    with redis_server(tmp_path) as server:
        store = server.url if kind == "redis" else "sqlite"
        config = configured(tmp_path, store, requests=40)
        async with (
            busy() as (upstream, url),
            serve(tmp_path / "j", config, "--upstream", url) as running,
            load(running.port, clients=12) as clients,
        ):
            await until(lambda: clients.statuses.count(429) > 40, 40)

    assert upstream.calls == 40


async def test_a_killed_worker_holds_nothing_for_ever(tmp_path: Path):
    config = configured(tmp_path, "sqlite", concurrent=8)
    async with (
        tide() as water,
        serve(tmp_path / "j", config, "--upstream", water.url) as running,
    ):
        await open_streams(running.port, 8)
        assert (await say(running.port))[0] == 429
        for pid, name in running.children().items():
            if name == "tidegate.worker":
                os.kill(pid, signal.SIGKILL)

        async def admitted() -> bool:
            try:
                return (await say(running.port))[0] == 200
            except (OSError, asyncio.IncompleteReadError):
                return False

        await until(admitted, 30)
        running.signal(signal.SIGTERM)
        assert await running.wait() == 0
        store = SqliteStore(tmp_path / "j" / "quota.sqlite", SystemClock(), 5)
        held = await counters(store)
        spent = accounted(running)
        lost = sum(found["outcome"] == "worker_lost" for found in running.records())

    assert lost == 8
    assert {kind: standing.reserved for kind, standing in held.items() if standing.reserved} == {}
    # Nobody knows what the killed ones have used, in the journal or here.
    assert held["tokens"].used == spent["tokens"]
    assert held["requests"].used == spent["requests"] - lost


@pytest.mark.parametrize("on_error", ["refuse", "admit"])
async def test_trouble_of_the_store_is_seen_at_once(tmp_path: Path, on_error: str):
    with redis_server(tmp_path) as server:
        config = configured(tmp_path, server.url, on_error=on_error)
        async with (
            tide() as water,
            serve(tmp_path / "j", config, "--upstream", water.url) as running,
        ):
            assert (await say(running.port))[0] == 200
            server.stop()

            status, headers, body = await ask(running.port, request())
            assert status == (503 if on_error == "refuse" else 200)
            if on_error == "refuse":
                assert dict(headers)["retry-after"] == "1"
                assert b"`quota` could not decide" in body

            async def shown() -> bool:
                code, text = await admin(running, "/readyz")
                seen = code == (503 if on_error == "refuse" else 200)
                return seen and text.count("quota: the store fails: no connection") == 2

            async def measured() -> bool:
                _, text = await admin(running, "/metrics")
                return text.count('tidegate_policy_healthy{plugin="quota"') == 2 and all(
                    line.endswith(" 0.0")
                    for line in text.splitlines()
                    if line.startswith('tidegate_policy_healthy{plugin="quota"')
                )

            await until(shown)
            await until(measured)
            server.start()
            await until(lambda: is_ready(running))

            async def recovered() -> bool:
                return (await admin(running, "/readyz"))[1] == "ready\n"

            await until(recovered)
            assert (await say(running.port))[0] == 200
