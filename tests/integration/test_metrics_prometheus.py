"""A real Prometheus scrapes the observer, through a restart of it."""

import asyncio
import os
import shutil
import signal
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientError, ClientSession, web

from observed import exchange, host
from tidegate_plugins.metrics.config import MetricsConfig
from tidegate_plugins.metrics.observer import MetricsObserver

pytestmark = pytest.mark.skipif(
    not shutil.which("prometheus") and os.environ.get("CI") != "true",
    reason="prometheus is not installed",
)


@dataclass
class Target:
    """What the admin port will do: serve whatever observer there is."""

    observer: MetricsObserver
    port: int = 0

    async def answer(self, request: web.Request) -> web.Response:
        accept = request.headers.get("accept", "")
        data, content_type = await asyncio.to_thread(self.observer.scrape, accept)
        return web.Response(body=data, headers={"content-type": content_type})


@pytest.fixture
async def target() -> AsyncIterator[Target]:
    it = Target(MetricsObserver(MetricsConfig(), host("metrics")))
    app = web.Application()
    app.router.add_get("/metrics", it.answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    it.port = runner.addresses[0][1]
    yield it
    await runner.cleanup()


@pytest.fixture
async def prometheus(target: Target, tmp_path: Path) -> AsyncIterator[str]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    (tmp_path / "prometheus.yml").write_text(
        f"""
global: {{scrape_interval: 250ms}}
scrape_configs:
- job_name: tidegate
  static_configs: [{{targets: ["127.0.0.1:{target.port}"]}}]
"""
    )
    process = await asyncio.create_subprocess_exec(
        "prometheus",
        f"--config.file={tmp_path / 'prometheus.yml'}",
        f"--storage.tsdb.path={tmp_path / 'data'}",
        f"--web.listen-address={address}",
        "--enable-feature=exemplar-storage",
        "--log.level=error",
    )
    yield f"http://{address}/api/v1"
    process.send_signal(signal.SIGTERM)
    await process.wait()


async def ask(api: str, path: str, **parameters: str) -> Any:
    async with ClientSession() as session, session.get(f"{api}/{path}", params=parameters) as got:
        return (await got.json())["data"]


async def wait_for(api: str, expression: str, expected: float) -> None:
    found: Any = None
    for _ in range(120):
        try:
            found = (await ask(api, "query", query=expression))["result"]
        except ClientError:
            found = "no answer yet"
        else:
            if found and float(found[0]["value"][1]) == expected:
                return
        await asyncio.sleep(0.1)
    pytest.fail(f"{expression} is {found}, not {expected}")


async def test_counters_and_exemplars_arrive_and_go_on_over_a_restart(
    target: Target, prometheus: str
) -> None:
    for number in range(10):
        await target.observer.on_record(exchange(number))
    await wait_for(prometheus, "sum(tidegate_requests_total)", 10)
    target.observer = MetricsObserver(
        MetricsConfig(), host("metrics", state=await target.observer.flush())
    )
    for number in range(10, 15):
        await target.observer.on_record(exchange(number))
    await wait_for(prometheus, "sum(tidegate_requests_total)", 15)
    await wait_for(prometheus, 'sum(tidegate_tokens_total{type="output"})', 15 * 51)
    await wait_for(prometheus, 'tidegate_request_duration_seconds_bucket{le="2.56"}', 15)
    await wait_for(prometheus, "max(resets(tidegate_requests_total[1m]))", 0)
    await wait_for(prometheus, "up", 1)
    exemplars = await ask(
        prometheus,
        "query_exemplars",
        query="tidegate_time_to_first_token_seconds_bucket",
        start="1700000000",
        end="1900000000",
    )
    labels = [point["labels"] for series in exemplars for point in series["exemplars"]]
    assert {"trace_id": f"{14:032x}"} in labels
