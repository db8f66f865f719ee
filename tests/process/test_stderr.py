"""With `log.format = "json"` every process says only JSON, an object a line."""

import json
import os
import signal
from pathlib import Path

import pytest

from support.gateway import Process, serve
from support.traffic import say, tide, until

pytestmark = [pytest.mark.process, pytest.mark.timeout(90)]

TOML = '[log]\nformat = "json"\nexchanges = true\n[[plugins]]\nuse = "metrics"\n'


def said(running: Process) -> list[dict]:
    return [json.loads(line) for line in running.log.read_text().splitlines()]


def exchanges(running: Process) -> list[str]:
    return [line["exchange"] for line in said(running) if line["logger"] == "tidegate.exchange"]


async def test_every_line_is_json_and_each_exchange_has_one(tmp_path: Path) -> None:
    config = tmp_path / "tidegate.toml"
    config.write_text(TOML)
    async with tide() as water, serve(tmp_path / "j", config, "--upstream", water.url) as running:
        ids = [(await say(running.port))[2] for _ in range(3)]
        await until(lambda: exchanges(running) == ids)
        (worker,) = [pid for pid, name in running.children().items() if name == "tidegate.worker"]
        os.kill(worker, signal.SIGKILL)
        await until(lambda: len(running.children().keys() - {worker}) == 2)
        ids.append((await say(running.port))[2])
        await until(lambda: exchanges(running) == ids)
        running.signal(signal.SIGTERM)
        assert await running.wait() == 0
    lines = said(running)
    assert {"supervisor", "observatory"} <= {line["process"] for line in lines}
    assert any("starts again" in line["message"] for line in lines)
    assert all(line["level"] in ("info", "warning", "error") for line in lines)

    async with tide() as water, serve(tmp_path / "j", config, "--upstream", water.url) as running:
        again = (await say(running.port))[2]
        await until(lambda: exchanges(running) == [again])
