"""Stores in trouble: a verdict in time, seen at once, nothing leaks, and it comes back by itself."""

import asyncio
import contextlib
import signal
import sqlite3
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from support.redis import RedisServer, proxy, redis_server
from support.traffic import until
from tidegate.plugin import Admit, Hold
from tidegate.record import Usage
from tidegate.testing import FakeClock, make_exchange, make_record, make_request, open_plugin
from tidegate.testing.fakes import EPOCH
from tidegate_plugins.quota import plugin
from tidegate_plugins.quota.policy import Quota
from tidegate_plugins.quota.stores import StoreError, sqlite

TIMEOUT_S = 0.5
LIMITS = [
    {"name": "n", "scope": "org", "per": "month", "requests": 1000, "tokens": 10_000_000},
    {"name": "c", "scope": "org", "concurrent": 100},
]
USED = Usage(input=3, output=4)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    # On disk at once: what is lost with the server would not be ours to keep.
    with redis_server(tmp_path, "--appendonly", "yes", "--appendfsync", "always") as it:
        yield it


@asynccontextmanager
async def quota(folder: Path, url: str, **more: Any) -> AsyncIterator[Quota]:
    config = {"store": url, "limits": LIMITS, "timeout_s": TIMEOUT_S, **more}
    async with open_plugin(plugin, config, state_dir=folder) as it:
        yield it


async def take(policy: Quota) -> Hold:
    decision = await policy.admit(make_exchange(), make_request())
    assert isinstance(decision, Admit)
    assert decision.hold is not None
    return decision.hold


async def end(hold: Hold) -> None:
    await hold.settle(make_record(usage=USED))


async def fails(policy: Quota) -> float:
    """Ask, expect no decision; return how many seconds that took."""
    began = time.monotonic()
    with pytest.raises(StoreError):
        await policy.admit(make_exchange(), make_request())
    return time.monotonic() - began


async def well(policy: Quota) -> None:
    await until(lambda: policy.report().healthy and not policy._store.pending)


async def held(policy: Quota) -> dict[str, tuple[int, int]]:
    counters = await policy._store.store.read()
    return {name.split("/")[2]: (each.used, each.reserved) for name, each in counters.items()}


def charged(count: int) -> dict[str, tuple[int, int]]:
    return {"requests": (count, 0), "tokens": (count * 7, 0)}


async def test_stopped_and_started_again(tmp_path: Path, server: RedisServer):
    async with quota(tmp_path, server.url) as policy:
        holds = [await take(policy) for _ in range(3)]
        await end(holds[0])
        server.stop()

        await fails(policy)
        assert not policy.report().healthy
        assert "no connection" in policy.report().message
        await end(holds[1])  # while nobody is there: charged later
        assert policy._store.pending
        server.start()
        await well(policy)
        await end(holds[2])

        assert await held(policy) == charged(3)


async def test_started_without_it(tmp_path: Path, server: RedisServer):
    server.stop()
    async with quota(tmp_path, server.url) as policy:
        assert not policy.report().healthy
        await fails(policy)

        server.start()
        await well(policy)
        await end(await take(policy))


async def test_a_server_that_has_forgotten_everything_is_told_what_was_used(tmp_path: Path):
    with redis_server(tmp_path) as server:
        async with quota(tmp_path, server.url) as policy:
            hold = await take(policy)
            server.say("FLUSHALL")
            server.say("SCRIPT", "FLUSH")

            await end(hold)
            await end(await take(policy))

            assert await held(policy) == charged(2)


async def test_a_server_that_hangs_is_waited_for_once(tmp_path: Path, server: RedisServer):
    async with quota(tmp_path, server.url) as policy:
        hold = await take(policy)
        assert server.process is not None
        server.process.send_signal(signal.SIGSTOP)
        waiting = asyncio.gather(*(fails(policy) for _ in range(50)))

        await waiting
        at_once = [await fails(policy) for _ in range(100)]
        assert sorted(at_once)[50] < TIMEOUT_S / 5, "those that come later are told at once"
        await end(hold)
        server.process.send_signal(signal.SIGCONT)
        await well(policy)

        # What it took when it woke up, for requests that were refused long ago, is given back.
        assert await held(policy) == charged(1)


async def test_a_slow_server_is_a_verdict_in_time(tmp_path: Path, server: RedisServer):
    async with proxy(server.port) as between, quota(tmp_path, between.url) as policy:
        between.delay_s = TIMEOUT_S * 3
        async with asyncio.timeout(TIMEOUT_S * 20):  # far less than all of them in turn
            await asyncio.gather(*(fails(policy) for _ in range(60)))
        assert "in time" in policy.report().message

        between.delay_s = 0
        await well(policy)
        await end(await take(policy))
        assert await held(policy) == charged(1)


async def test_answers_that_get_lost_are_not_charged_twice(tmp_path: Path, server: RedisServer):
    async with proxy(server.port) as between, quota(tmp_path, between.url) as policy:
        holds = [await take(policy) for _ in range(5)]
        between.deaf = True
        await end(holds[0])  # done, but nobody hears of it
        await fails(policy)
        for hold in holds[1:]:
            await end(hold)
        between.deaf = False
        between.turn(server.port)
        await well(policy)

        assert await held(policy) == charged(5)


async def test_a_client_that_leaves_while_it_is_asked_holds_nothing(
    tmp_path: Path, server: RedisServer
):
    async with proxy(server.port) as between, quota(tmp_path, between.url) as policy:
        await end(await take(policy))
        between.hangs = True
        tasks = [asyncio.create_task(take(policy)) for _ in range(5)]
        await until(lambda: between.pieces > 2)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        between.hangs = False
        await well(policy)

        assert await held(policy) == charged(1)


async def test_out_of_memory(tmp_path: Path, server: RedisServer):
    async with quota(tmp_path, server.url) as policy:
        hold = await take(policy)
        server.say("CONFIG", "SET", "maxmemory", "1")

        await fails(policy)
        assert "maxmemory" in policy.report().message
        await end(hold)
        server.say("CONFIG", "SET", "maxmemory", "0")
        await well(policy)

        assert await held(policy) == charged(1)


async def test_failing_over(tmp_path: Path, server: RedisServer):
    (tmp_path / "replica").mkdir()
    with redis_server(tmp_path / "replica", "--replicaof", f"127.0.0.1 {server.port}") as replica:
        await until(lambda: "master_link_status:up" in replica.say("INFO", "replication"))
        async with proxy(server.port) as between, quota(tmp_path, between.url) as policy:
            holds = [await take(policy) for _ in range(2)]
            await end(holds[0])
            server.say("WAIT", "1", "1000")
            server.stop()
            between.turn(replica.port)

            await fails(policy)  # it only reads, as long as nobody has promoted it
            await until(lambda: "read only" in policy.report().message)
            replica.say("REPLICAOF", "NO", "ONE")
            await well(policy)
            await end(holds[1])

            assert await held(policy) == charged(2)


async def test_one_round_trip_each(tmp_path: Path, server: RedisServer):
    async with proxy(server.port) as between, quota(tmp_path, between.url) as policy:
        await end(await take(policy))  # the scripts are there now
        policy._store._closed = True  # no looks meanwhile
        await asyncio.sleep(0)
        before = between.pieces
        hold = await take(policy)
        assert between.pieces == before + 1
        await end(hold)
        assert between.pieces == before + 2


async def test_clocks_that_differ_share_one_window(tmp_path: Path, server: RedisServer):
    config = {"store": server.url, "limits": [{"name": "n", "scope": "org", "per": "hour", "requests": 3}]}  # fmt: skip
    early, late = FakeClock(), FakeClock(EPOCH + 12_345.6)
    async with (
        open_plugin(plugin, config, state_dir=tmp_path, clock=early) as one,
        open_plugin(plugin, config, state_dir=tmp_path, clock=late) as two,
    ):
        resets = set()
        for policy in (one, two, one):
            decision = await policy.admit(make_exchange(), make_request())
            resets.add(dict(decision.headers)["x-tidegate-limit-requests-reset"])
        refused = await two.admit(make_exchange(), make_request())

    assert len(resets) == 1
    assert refused.retry_after_s <= 3600


# SQLite


async def test_a_locked_file(tmp_path: Path):
    async with quota(tmp_path, "sqlite") as policy:
        hold = await take(policy)
        with contextlib.closing(sqlite3.connect(tmp_path / "quota.sqlite")) as other:
            other.execute("BEGIN EXCLUSIVE")
            await asyncio.gather(*(fails(policy) for _ in range(20)))
            assert not policy.report().healthy
            assert "locked" in policy.report().message or "no answer" in policy.report().message
            await end(hold)
            other.rollback()
        await well(policy)

        assert await held(policy) == charged(1)


async def test_a_file_that_is_locked_for_most_of_the_time(tmp_path: Path):
    """Another worker, on a machine that has no time for it."""
    async with quota(tmp_path, "sqlite", timeout_s=3) as policy:
        await end(await take(policy))
        other = sqlite3.connect(tmp_path / "quota.sqlite", isolation_level=None)
        with contextlib.closing(other):
            other.execute("BEGIN IMMEDIATE")
            asyncio.get_running_loop().call_later(1.7, other.rollback)
            holds = await asyncio.gather(*(take(policy) for _ in range(20)))
        assert policy.report().healthy
        await asyncio.gather(*map(end, holds))
        assert await held(policy) == charged(21)


async def test_the_log_of_a_file_is_cut_when_it_is_long(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(sqlite, "LONG_WAL_BYTES", 100_000)
    monkeypatch.setattr(sqlite, "MAX_WAL_BYTES", 300_000)
    log = tmp_path / "quota.sqlite-wal"
    sizes = [0]
    async with quota(tmp_path, "sqlite") as policy:
        while len(sizes) < 500 and sizes[-1] >= sizes[-2:][0]:
            await end(await take(policy))
            sizes.append(log.stat().st_size)
        assert sizes[-2] > 100_000 >= sizes[-1]
        assert await held(policy) == charged(len(sizes) - 1)


async def test_a_file_that_is_gone_or_broken(tmp_path: Path):
    async with quota(tmp_path, "sqlite") as policy:
        await end(await take(policy))
    file = tmp_path / "quota.sqlite"
    whole = file.read_bytes()
    file.write_bytes(b"this is no database" * 1000)
    async with quota(tmp_path, "sqlite") as policy:
        await fails(policy)
        assert "not a database" in policy.report().message

        (tmp_path / "whole").write_bytes(whole)
        (tmp_path / "whole").replace(file)  # at once: it would begin anew in half a file
        await well(policy)
        assert await held(policy) == charged(1)


async def test_it_is_kept_over_a_restart(tmp_path: Path):
    async with quota(tmp_path, "sqlite") as policy:
        await end(await take(policy))
    async with quota(tmp_path, "sqlite") as policy:
        assert await held(policy) == charged(1)
