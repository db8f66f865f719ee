"""SIGTERM: readiness goes, the port closes, streams finish, everything is written, exit 0."""

import asyncio
import signal
from pathlib import Path

import pytest

from support.gateway import serve
from support.raw import read_head
from support.traffic import (
    ANSWER,
    STREAM,
    admin,
    open_stream,
    open_streams,
    reconciled,
    request,
    say,
    tide,
    until,
)
from tidegate.journal.checkpoint import load as load_checkpoint
from tidegate.journal.reader import Tail
from tidegate.testing.upstream import Call, scripted_upstream

pytestmark = [pytest.mark.process, pytest.mark.timeout(60)]

TOML = '[listen]\nworkers = 2\n{listen}\n[[plugins]]\nuse = "metrics"\n'
LOST = (asyncio.IncompleteReadError, ConnectionError)


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "tidegate.toml"
    path.write_text(TOML.format(listen=""))
    return path


async def refuses(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except ConnectionRefusedError:
        return True
    except ConnectionResetError:  # closed in this very moment
        return False
    writer.close()
    return False


async def test_fifty_streams_finish_and_nobody_new_gets_in(tmp_path: Path, config: Path) -> None:
    async with tide() as water, serve(tmp_path / "j", config, "--upstream", water.url) as running:
        assert (await say(running.port))[0] == 200
        streams = await open_streams(running.port, 50)
        running.signal(signal.SIGTERM)
        while not await refuses(running.port):
            pass
        assert await admin(running, "/readyz") == (503, "draining\n")
        assert running.process.returncode is None
        water.rise.set()
        assert [await stream.rest() for stream in streams] == [STREAM] * 50
        assert await running.wait() == 0
    assert {record["outcome"] for record in running.records()} == {"complete"}
    assert (await reconciled(running.directory, [s.id for s in streams])).exchanges == 51
    assert [end["by"] for end in running.records("end")] == ["writer", "writer"]
    saved = load_checkpoint(running.directory / "observers" / "metrics.checkpoint")
    assert Tail(running.directory, saved.position).lag_bytes() == 0


async def test_readiness_goes_before_the_port(tmp_path: Path, config: Path) -> None:
    """The supervisor waits for the admin port to say so; stop that, and the port stays open."""
    async with tide() as water, serve(tmp_path / "j", config, "--upstream", water.url) as running:
        log = running.log
        running.signal(signal.SIGTERM)
        seen = []
        while running.process.returncode is None:
            closed = await refuses(running.port)
            if closed:
                seen.append((await admin(running, "/readyz"))[0])
                break
        assert seen in ([503], [0]), log.read_text()  # 0: all over already
        assert await running.wait() == 0


async def test_what_takes_longer_than_allowed_is_cut_and_recorded(
    tmp_path: Path, config: Path
) -> None:
    config.write_text(TOML.format(listen="drain_s = 0.5"))
    async with tide() as water, serve(tmp_path / "j", config, "--upstream", water.url) as running:
        streams = await open_streams(running.port, 4)
        running.signal(signal.SIGTERM)
        for stream in streams:
            with pytest.raises(LOST):
                await stream.rest()
        assert await running.wait() == 0
    assert [record["outcome"] for record in running.records()] == ["drained"] * 4
    await reconciled(running.directory, [stream.id for stream in streams])


async def test_a_second_signal_does_not_wait(tmp_path: Path, config: Path) -> None:
    async with tide() as water, serve(tmp_path / "j", config, "--upstream", water.url) as running:
        streams = await open_streams(running.port, 4)
        running.signal(signal.SIGTERM)
        await until(lambda: refuses(running.port))
        while running.process.returncode is None:  # two within a second count as one
            running.signal(signal.SIGTERM)
            await asyncio.sleep(0.1)
        assert running.process.returncode == 0
        assert not running.children()
        for stream in streams:
            with pytest.raises(LOST):
                await stream.rest()
    assert {record["outcome"] for record in running.records()} <= {"drained", "worker_lost"}
    assert (await reconciled(running.directory, [s.id for s in streams])).exchanges == 4


async def test_a_slow_reader_gets_all_of_it(tmp_path: Path, config: Path) -> None:
    """What the gateway has taken from the upstream is not thrown away at its end."""
    body = b"0123456789abcdef" * (256 * 1024)

    async def script(call: Call) -> None:
        await call.answer(body)

    async with (
        scripted_upstream(script) as upstream,
        serve(tmp_path / "j", config, "--upstream", upstream.url) as running,
    ):
        reader, writer = await asyncio.open_connection("127.0.0.1", running.port, limit=4096)
        writer.write(request())
        await read_head(reader)
        running.signal(signal.SIGTERM)
        await until(lambda: refuses(running.port))
        assert len(await reader.readexactly(len(body))) == len(body)
        writer.close()
        assert await running.wait() == 0
    (record,) = running.records()
    assert record["outcome"] == "complete"


async def test_idle_connections_are_closed_while_streams_finish(
    tmp_path: Path, config: Path
) -> None:
    """Left open, they would swallow their clients' next requests."""
    config.write_text(TOML.format(listen="").replace("workers = 2", "workers = 1"))
    async with tide() as water, serve(tmp_path / "j", config, "--upstream", water.url) as running:
        stream = await open_stream(running.port)
        idle = [await asyncio.open_connection("127.0.0.1", running.port) for _ in range(4)]
        for reader, writer in idle:
            writer.write(request())
            await reader.readuntil(ANSWER)
        running.signal(signal.SIGTERM)
        for reader, writer in idle:
            assert await reader.read() == b""
            writer.close()
        water.rise.set()
        assert await stream.rest() == STREAM
        assert await running.wait() == 0
