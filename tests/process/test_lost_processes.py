"""Whatever is killed, and whenever: what was written stays, what was open is closed, once."""

import asyncio
import os
import signal
from pathlib import Path

import pytest

from support.gateway import Process, serve
from support.traffic import (
    ANSWER,
    STREAM,
    OpenStream,
    admin,
    is_ready,
    load,
    open_streams,
    reconciled,
    say,
    scraped,
    tide,
    until,
    written,
)

pytestmark = [pytest.mark.process, pytest.mark.timeout(90)]

WAYWARD = {"PYTHONPATH": str(Path(__file__).parent / "wayward")}
TOML = '[listen]\nworkers = 2\ndrain_s = 5\n[[plugins]]\nuse = "metrics"\n'


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "tidegate.toml"
    path.write_text(TOML)
    return path


def pids(running: Process, module: str) -> set[int]:
    return {pid for pid, name in running.children().items() if name == f"tidegate.{module}"}


async def gone(*processes: int) -> None:
    await until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in processes))


def kill_everything(running: Process) -> None:
    for pid in (running.process.pid, *running.children()):
        os.kill(pid, signal.SIGKILL)


async def streams_on_both(running: Process) -> dict[int, list[OpenStream]]:
    """Open streams until each worker has some; return them by the worker's pid."""
    ids: dict[str, OpenStream] = {}

    def by_worker() -> dict[int, list[OpenStream]]:
        found: dict[int, list[OpenStream]] = {}
        for intent in running.records("intent"):
            if intent["id"] in ids:
                found.setdefault(intent["worker"], []).append(ids[intent["id"]])
        return found

    while len(by_worker()) < 2 or len(ids) < 6:
        ids |= {stream.id: stream for stream in await open_streams(running.port, 3)}
    slots = {_slot(pid): pid for pid in pids(running, "worker")}
    return {slots[worker]: streams for worker, streams in by_worker().items()}


def _slot(pid: int) -> int:
    return int(Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")[3])


async def test_a_killed_worker_costs_only_its_own_streams(tmp_path: Path, config: Path) -> None:
    async with tide() as water, serve(tmp_path / "j", config, "--upstream", water.url) as running:
        (victim, lost), (other, kept) = (await streams_on_both(running)).items()
        os.kill(victim, signal.SIGKILL)
        for stream in lost:
            with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
                await stream.rest()
        water.rise.set()
        assert [await stream.rest() for stream in kept] == [STREAM] * len(kept)

        await until(lambda: len(pids(running, "worker")) == 2)
        await until(lambda: is_ready(running))
        assert other in pids(running, "worker")
        answers = [await say(running.port) for _ in range(10)]
        assert {(status, body) for status, body, _ in answers} == {(200, ANSWER)}

        outcomes = {r["id"]: r["outcome"] for r in running.records()}
        assert [outcomes[stream.id] for stream in lost] == ["worker_lost"] * len(lost)
        assert [outcomes[stream.id] for stream in kept] == ["complete"] * len(kept)
        seen = [*(s.id for s in lost), *(s.id for s in kept), *(id_ for _, _, id_ in answers)]
        await reconciled(running.directory, seen)
        ends = running.records("end")
        assert [end["by"] for end in ends] == ["recovery"]


async def test_readiness_returns_after_every_worker_was_killed(
    tmp_path: Path, config: Path
) -> None:
    async with tide() as water, serve(tmp_path / "j", config, "--upstream", water.url) as running:
        victims = pids(running, "worker")
        for victim in victims:
            os.kill(victim, signal.SIGKILL)
        await until(lambda: len(pids(running, "worker") - victims) == 2)
        # Connections made meanwhile wait in the supervisor's queues.
        answers = await asyncio.gather(*(say(running.port) for _ in range(8)))
        assert {status for status, _, _ in answers} == {200}
        await until(lambda: is_ready(running))


async def test_nothing_is_lost_when_everything_is_killed_under_load(
    tmp_path: Path, config: Path
) -> None:
    journal, seen, lost, before = tmp_path / "j", [], set(), None
    async with tide() as water:
        for _ in range(2):
            async with serve(journal, config, "--upstream", water.url) as running:
                if before is not None:
                    after = await scraped(running)
                    assert after.covers(before)
                    assert after == written(running.records())
                    await reconciled(journal, seen)
                async with load(running.port) as clients:
                    await clients.seen(60)
                    before = await scraped(running)
                    streams = await open_streams(running.port, 3)
                    await clients.seen(60)
                    kill_everything(running)
                    await running.wait()
                for stream in streams:
                    stream.writer.close()
                lost |= {stream.id for stream in streams}
                seen += clients.ids
        async with serve(journal, config, "--upstream", water.url) as running:
            report = await reconciled(journal, [*seen, *lost])
            outcomes = {r["id"]: r["outcome"] for r in running.records()}
            assert {outcomes[id_] for id_ in lost} == {"worker_lost"}
            assert report.outcomes["worker_lost"] >= len(lost) == 6
            totals = await scraped(running)
            assert totals.covers(before)
            assert totals == written(running.records())
            running.signal(signal.SIGTERM)
            assert await running.wait() == 0
        await reconciled(journal, seen)


async def test_half_a_line_is_repaired_and_counted_at_the_next_start(
    tmp_path: Path, config: Path
) -> None:
    journal = tmp_path / "j"
    async with tide() as water:
        async with serve(journal, config, "--upstream", water.url) as running:
            streams = await open_streams(running.port, 4)
            for stream in streams:
                stream.writer.close()
            await reconciled(journal, [stream.id for stream in streams])
            streams = await open_streams(running.port, 4)
            kill_everything(running)
            await running.wait()
        (torn, *_) = journal.glob("w0-*.jsonl")
        with torn.open("ab") as file:
            file.write(b'{"kind":"exchange","v":1,"id":"tg_')
        for _ in range(2):
            async with serve(journal, config, "--upstream", water.url) as running:
                await reconciled(journal, [stream.id for stream in streams])
                assert await scraped(running) == written(running.records())
                repaired = [e for e in running.records("end") if e["by"] == "recovery"]
                assert sorted(end["torn_bytes"] for end in repaired) == [0, 34]
                running.signal(signal.SIGTERM)
                assert await running.wait() == 0
        for stream in streams:
            stream.writer.close()


async def test_with_fsync_every_exchange_is_recorded_too(tmp_path: Path, config: Path) -> None:
    config.write_text('[journal]\ndurability = "fsync"\n' + TOML)
    journal, seen = tmp_path / "j", []
    async with tide() as water:
        for _ in range(2):
            async with serve(journal, config, "--upstream", water.url) as running:
                async with load(running.port, clients=8) as clients:
                    await clients.seen(80)
                    kill_everything(running)
                    await running.wait()
                assert set(clients.statuses) == {200}
                seen += clients.ids
        async with serve(journal, config, "--upstream", water.url) as running:
            await reconciled(journal, seen)
            assert await scraped(running) == written(running.records())
            running.signal(signal.SIGTERM)
            assert await running.wait() == 0


async def test_counters_never_reset_when_the_observatory_is_killed(
    tmp_path: Path, config: Path
) -> None:
    async with tide() as water, serve(tmp_path / "j", config, "--upstream", water.url) as running:
        async with load(running.port) as clients:
            before = None
            for _ in range(3):
                await clients.seen(40)
                if before is not None:
                    assert (await scraped(running)).covers(before)
                before = await scraped(running)
                (victim,) = pids(running, "observatory")
                os.kill(victim, signal.SIGKILL)
                await until(lambda v=victim: pids(running, "observatory") - {v})
        await until(lambda: is_ready(running))
        assert (await scraped(running)).covers(before)
        assert clients.broken == 0
        assert set(clients.statuses) == {200}
        await until(lambda: not _open(running))
        assert await scraped(running) == written(running.records())


def _open(running: Process) -> set[str]:
    return {r["id"] for r in running.records("intent")} - {r["id"] for r in running.records()}


async def test_orphans_leave_by_themselves_and_a_new_start_waits_for_them(
    tmp_path: Path, config: Path
) -> None:
    journal = tmp_path / "j"
    async with tide() as water:
        async with serve(journal, config, "--upstream", water.url) as running:
            streams = await open_streams(running.port, 4)
            orphans = set(running.children())
            os.kill(running.process.pid, signal.SIGKILL)
            await running.wait()
            ports = running.port, running.admin_port
            new = serve(journal, config, "--upstream", water.url, ports=ports)
            starting = asyncio.ensure_future(new.__aenter__())
            await until(lambda: "waiting for what process" in _newest_log(journal))
            water.rise.set()  # the orphans serve on while they may
            assert [await stream.rest() for stream in streams] == [STREAM] * 4
            successor = await starting
        try:
            await gone(*orphans)
            assert (await say(successor.port))[0] == 200
            report = await reconciled(journal, [stream.id for stream in streams])
            assert report.outcomes == {"complete": 5}
            assert await scraped(successor) == written(successor.records())
        finally:
            await new.__aexit__(None, None, None)


def _newest_log(journal: Path) -> str:
    logs = sorted(journal.parent.glob("j.*.log"))
    return logs[-1].read_text()


async def test_an_orphan_that_hangs_leaves_too(tmp_path: Path, config: Path) -> None:
    """A policy that blocks keeps the worker from hearing that its supervisor is gone."""
    config.write_text(TOML + '[[plugins]]\nuse = "stalls"\n')
    journal = tmp_path / "j"
    async with tide() as water:
        async with serve(journal, config, "--upstream", water.url, env=WAYWARD) as running:
            (stream,) = await open_streams(running.port, 1)
            stalled = asyncio.ensure_future(say(running.port, "claude-stall"))
            await until(lambda: "stalls" in running.log.read_text())
            orphans = set(running.children())
            os.kill(running.process.pid, signal.SIGKILL)
            await running.wait()
            await gone(*orphans)
            with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
                await stalled
            with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
                await stream.rest()
        async with serve(journal, config, "--upstream", water.url, env=WAYWARD):
            await reconciled(journal, [stream.id])


async def test_a_second_gateway_on_the_same_journal_is_told_so(
    tmp_path: Path, config: Path
) -> None:
    async with tide() as water, serve(tmp_path / "j", config, "--upstream", water.url) as running:
        with pytest.raises(
            AssertionError,
            match=rf"(?s)exit 2\n.*in use by another gateway .process {running.process.pid}",
        ):
            await serve(tmp_path / "j", config).__aenter__()
        assert (await say(running.port))[0] == 200


@pytest.mark.parametrize("which", ["listen", "admin"])
async def test_a_second_gateway_on_the_same_port_is_told_so(
    tmp_path: Path, config: Path, which: str
) -> None:
    async with tide() as water, serve(tmp_path / "j", config, "--upstream", water.url) as running:
        taken = running.port if which == "listen" else running.admin_port
        ports = (taken, 0) if which == "listen" else (0, taken)
        with pytest.raises(
            AssertionError, match=rf"(?s)exit 2\n.*error: {which}: 127.0.0.1 port {taken}"
        ):
            await serve(tmp_path / "other", config, ports=ports).__aenter__()
        assert (await say(running.port))[0] == 200
        assert (await admin(running, "/healthz"))[0] == 200
