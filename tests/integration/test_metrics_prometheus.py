"""A real Prometheus scrapes the observer, through a restart of it."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from aiohttp import web

from observed import exchange, host
from support.prometheus import needed, prometheus
from tidegate_plugins.metrics.config import MetricsConfig
from tidegate_plugins.metrics.observer import MetricsObserver

pytestmark = needed


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


async def test_counters_and_exemplars_arrive_and_go_on_over_a_restart(
    target: Target, tmp_path: Path
) -> None:
    for number in range(10):
        await target.observer.on_record(exchange(number))
    async with prometheus(tmp_path, target.port) as server:
        await server.wait_for("sum(tidegate_requests_total)", 10)
        target.observer = MetricsObserver(
            MetricsConfig(), host("metrics", state=await target.observer.flush())
        )
        for number in range(10, 15):
            await target.observer.on_record(exchange(number))
        await server.wait_for("sum(tidegate_requests_total)", 15)
        await server.wait_for('sum(tidegate_tokens_total{type="output"})', 15 * 51)
        await server.wait_for('tidegate_request_duration_seconds_bucket{le="2.56"}', 15)
        await server.wait_for("max(resets(tidegate_requests_total[1m]))", 0)
        await server.wait_for("up", 1)
        exemplars = await server.ask(
            "query_exemplars",
            query="tidegate_time_to_first_token_seconds_bucket",
            start="1700000000",
            end="1900000000",
        )
    labels = [point["labels"] for series in exemplars for point in series["exemplars"]]
    assert {"trace_id": f"{14:032x}"} in labels
