"""A full disk: refused and readable, or admitted and written later; never lost, doubled or torn."""

import json
import os
import signal
import subprocess
from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from support.gateway import Process, serve
from support.raw import ask
from support.traffic import (
    ANSWER,
    STREAM,
    Tide,
    admin,
    id_of,
    is_ready,
    load,
    open_streams,
    reconciled,
    request,
    say,
    scraped,
    tide,
    until,
    written,
)

pytestmark = [pytest.mark.process, pytest.mark.timeout(90)]

SIZE = 1024 * 1024
TOML = '[listen]\nworkers = 2\ndrain_s = 5\n[journal]\non_failure = "{}"\n[[plugins]]\nuse = "metrics"\n'


@dataclass
class Disk:
    """A small file system, and a file that takes up all that is left of it."""

    path: Path

    def fill(self) -> None:
        with (self.path / "filler").open("ab", buffering=0) as file:
            try:
                while file.write(b"\0" * 4096):
                    pass
            except OSError:
                return

    def free(self) -> None:
        (self.path / "filler").unlink()


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    path = tmp_path / "j"
    path.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", str(path)]
    mounted = subprocess.run(command, capture_output=True, text=True, check=False)
    if mounted.returncode:
        pytest.skip(f"a small file system cannot be mounted: {mounted.stderr.strip()}")
    try:
        yield Disk(path)
    finally:
        subprocess.run(["umount", "--lazy", str(path)], check=True)


@asynccontextmanager
async def gateway(disk: Disk, on_failure: str) -> AsyncGenerator[tuple[Tide, Process], None]:
    config = disk.path.parent / "tidegate.toml"
    config.write_text(TOML.format(on_failure))
    async with tide() as water, serve(disk.path, config, "--upstream", water.url) as running:
        yield water, running


def whole_lines(directory: Path) -> bool:
    return all(path.read_bytes().endswith(b"\n") for path in directory.glob("*.jsonl"))


async def refused(running: Process) -> str:
    """Ask, and check the refusal; return its id."""
    status, headers, body = await ask(running.port, request())
    fields = dict(headers)
    assert status == 503
    assert fields["x-tidegate-origin"] == "gateway"
    assert int(fields["retry-after"]) > 0
    error = json.loads(body)["error"]
    assert error["type"] in ("overloaded_error", "api_error")
    assert "journal" in error["message"]
    return id_of(headers)


async def test_nothing_leaves_unrecorded_and_service_returns_with_the_space(disk: Disk) -> None:
    async with gateway(disk, "refuse") as (water, running):
        async with load(running.port) as clients:
            await clients.seen(30)
            disk.fill()
            await until(lambda: 503 in clients.statuses)
            await clients.seen(30)
        before = len(water.server.heard) if water.server else 0
        ids = [await refused(running) for _ in range(4)]
        assert water.server is not None
        assert len(water.server.heard) == before

        async def reason() -> bool:
            status, text = await admin(running, "/readyz")
            return status == 503 and "the journal cannot be written" in text

        await until(reason)
        assert whole_lines(running.directory)
        disk.free()
        await until(lambda: is_ready(running))
        status, body, id_ = await say(running.port)
        assert (status, body) == (200, ANSWER)
        await reconciled(running.directory, [*clients.ids, *ids, id_])
        assert await scraped(running) == written(running.records())


async def test_streams_in_flight_finish_on_a_full_disk(disk: Disk) -> None:
    async with gateway(disk, "refuse") as (water, running):
        streams = await open_streams(running.port, 6)
        disk.fill()
        water.rise.set()
        assert [await stream.rest() for stream in streams] == [STREAM] * 6
        disk.free()
        await reconciled(running.directory, [stream.id for stream in streams])
        assert {r["outcome"] for r in running.records()} == {"complete"}


async def test_traffic_flows_if_it_may_and_is_written_down_later(disk: Disk) -> None:
    async with gateway(disk, "admit") as (_, running):
        async with load(running.port) as clients:
            await clients.seen(20)
            disk.fill()
            await clients.seen(60)
            known = len(running.records())
            assert known < len(clients.ids)
            # Between a write that does not fit and the cut there is a moment.
            await until(lambda: whole_lines(running.directory))
            disk.free()
            await clients.seen(20)
        assert set(clients.statuses) == {200}
        await reconciled(running.directory, clients.ids)
        assert await scraped(running) == written(running.records())


async def test_a_worker_that_dies_on_a_full_disk_is_accounted_for_when_there_is_space(
    disk: Disk,
) -> None:
    async with gateway(disk, "refuse") as (_, running):
        # So many that what closes them cannot fit into a page that is already there.
        streams = await open_streams(running.port, 16)
        victims = {pid for pid, name in running.children().items() if name == "tidegate.worker"}
        disk.fill()
        for pid in victims:
            os.kill(pid, signal.SIGKILL)

        async def reason() -> bool:
            return "the journal waits for its recovery" in (await admin(running, "/readyz"))[1]

        await until(reason)
        for stream in streams:
            stream.writer.close()
        await until(lambda: len(running.children().keys() - victims) == 3)
        id_ = await refused(running)
        disk.free()
        await until(lambda: is_ready(running))
        assert (await say(running.port))[0] == 200
        await reconciled(running.directory, [id_, *(stream.id for stream in streams)])
        assert await scraped(running) == written(running.records())


async def test_a_start_on_a_full_disk_serves_as_soon_as_there_is_space(disk: Disk) -> None:
    (disk.path / "lock").touch()
    disk.fill()
    async with gateway(disk, "refuse") as (_, running):
        id_ = await refused(running)
        assert not await is_ready(running)
        disk.free()
        await until(lambda: is_ready(running))
        assert (await say(running.port))[0] == 200
        await reconciled(running.directory, [id_])
