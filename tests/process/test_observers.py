"""An observer can be slow, wrong or gone: traffic, the other observers and the end do not notice."""

import signal
from pathlib import Path

import pytest

from support.gateway import serve
from support.traffic import (
    STREAM,
    is_ready,
    load,
    open_streams,
    reconciled,
    scraped,
    tide,
    until,
    written,
)

pytestmark = [pytest.mark.process, pytest.mark.timeout(90)]

WAYWARD = {"PYTHONPATH": str(Path(__file__).parent / "wayward")}
KINDS = (
    "hangs",
    "raises",
    "exits",
    "cancels",
    "burns",
    "blocks",
    "never-flushes",
    "fails-to-flush",
)


def toml(*names: str) -> str:
    return "".join(f'[[plugins]]\nuse = "{name}"\n' for name in names)


async def test_broken_observers_cost_traffic_metrics_and_shutdown_nothing(tmp_path: Path) -> None:
    config = tmp_path / "tidegate.toml"
    config.write_text("[listen]\nworkers = 2\n" + toml(*KINDS, "metrics"))
    async with (
        tide() as water,
        serve(tmp_path / "j", config, "--upstream", water.url, env=WAYWARD) as running,
    ):
        streams = await open_streams(running.port, 5)
        async with load(running.port) as clients:
            await clients.seen(100)
            await scraped(running)
        water.rise.set()
        assert [await stream.rest() for stream in streams] == [STREAM] * 5
        assert set(clients.statuses) == {200}
        assert clients.broken == 0
        assert await is_ready(running)
        await reconciled(running.directory, clients.ids)
        assert await scraped(running) == written(running.records())

        running.signal(signal.SIGTERM)
        assert await running.wait() == 0
        log = running.log.read_text()
        assert "observer raises: a record failed: ValueError at Raises.on_record" in log
        assert "Traceback" not in log
        assert "not waiting any longer" not in log


async def test_a_reload_leaves_an_observer_that_hangs_behind(tmp_path: Path) -> None:
    config = tmp_path / "tidegate.toml"
    config.write_text(toml("hangs", "burns", "metrics"))
    async with (
        tide() as water,
        serve(tmp_path / "j", config, "--upstream", water.url, env=WAYWARD) as running,
    ):
        async with load(running.port) as clients:
            await clients.seen(20)
            config.write_text(toml("metrics"))
            running.signal(signal.SIGHUP)
            await until(lambda: running.log.read_text().count("runs configuration") == 2)
            await clients.seen(20)
        await reconciled(running.directory, clients.ids)
        assert await scraped(running) == written(running.records())
        running.signal(signal.SIGTERM)
        assert await running.wait() == 0
