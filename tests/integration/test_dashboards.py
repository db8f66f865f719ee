"""A real Prometheus has scraped a real gateway: every query is answered, with data where there is some.

And promtool finds the rules well made, and sets off every alert.
"""

import asyncio
import re
import shutil
import subprocess
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from math import isnan
from pathlib import Path
from typing import Any

import pytest
import yaml
from aiohttp import ClientSession

from support.dashboards import (
    BOARDS,
    ROOT,
    RULES,
    Query,
    label_values,
    load,
    queries,
    rules,
    variables,
)
from support.gateway import serve
from support.ports import free_port
from support.prometheus import Prometheus, needed, prometheus
from tidegate.simulator import serve_simulator

pytestmark = [needed, pytest.mark.process, pytest.mark.timeout(240)]

RUNBOOK = (ROOT / "deploy/runbook.md").read_text()
ALERTS = [rule for rule in rules() if "alert" in rule]

TOML = """
[listen]
workers = 1
[[plugins]]
use = "models"
[plugins.config]
deny = ["claude-opus-*"]
[[plugins]]
use = "limits"
mode = "shadow"
[plugins.config]
max_tokens = 8
[[plugins]]
use = "quota"
[plugins.config]
store = "memory"
limits = [{ name = "team-day", scope = "team", per = "day", requests = 100000 }]
[[plugins]]
use = "redact"
[[plugins]]
use = "metrics"
"""
EMPTY = (
    "Unpriced requests",  # every model of the traffic has a price
    "Usage that could not be read",
    "Tools that the provider runs",
    "Alerts that fire",
    "Identity failures by rule",  # there is no identity plugin here
    "Odd requests by rule",
    "Refused by quota",
    "429 from upstream",
    "Against the range before",  # Prometheus has just begun
    "Saved by the cache",  # nothing of it is plain input, so that has no price
    "Second configuration",
    "annotation",
)
"""Beginnings of what has nothing to show after a minute of such traffic."""


async def test_promtool_finds_the_rules_well_made():
    done = await promtool("check", "rules", *map(str, RULES))
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("name", ["alerts", "slow"])
async def test_every_alert_goes_off_when_it_should_and_nothing_else_with_it(name: str):
    done = await promtool("test", "rules", str(ROOT / f"dashboards/prometheus/{name}.test.yml"))
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_alert_is_set_off_in_a_test():
    text = "".join(path.read_text() for path in (ROOT / "dashboards/prometheus").glob("*.test.yml"))
    fired = set(re.findall(r'alertname="(\w+)"', text))
    assert {rule["alert"] for rule in ALERTS} == fired
    assert len(ALERTS) >= 24


def test_every_alert_says_what_to_do():
    for rule in ALERTS:
        name = rule["alert"]
        assert rule["annotations"]["runbook_url"] == f"deploy/runbook.md#{name.lower()}"
        assert rule["annotations"]["summary"].endswith(".")
        assert rule["labels"]["severity"] in ("page", "ticket")
        section = RUNBOOK.partition(f"\n## {name}\n")[2].partition("\n## ")[0]
        assert "\n- Look: " in section
        assert "\n- Do: " in section
    assert set(re.findall(r"^## (\w+)$", RUNBOOK, re.MULTILINE)) == {r["alert"] for r in ALERTS}


def test_the_routes_name_alerts_and_receivers_that_there_are():
    text = (ROOT / "dashboards/prometheus/alertmanager.example.yml").read_text()
    example = yaml.safe_load(text)
    receivers = {receiver["name"] for receiver in example["receivers"]}
    routes = [example["route"], *example["route"]["routes"]]
    assert {route["receiver"] for route in routes} == receivers
    names = [rule["alert"] for rule in ALERTS]
    for pattern in re.findall(r'alertname=~"([^"]+)"', text):
        for part in pattern.split("|"):
            assert any(re.fullmatch(part, name) for name in names), part


async def test_every_query_is_answered_and_has_data_where_there_is_some(tmp_path: Path):
    async with scraped(tmp_path) as server:
        asked = [query for path in BOARDS for query in queries(path)]
        assert len(asked) > 150
        assert await silent(server, asked) == []
        for rule in rules():
            await server.ask("query", query=rule["expr"])
        for path in BOARDS:
            for name, variable in variables(load(path)).items():
                if name not in {"datasource", "environment"}:
                    assert await values(server, variable), name


async def promtool(*arguments: str) -> subprocess.CompletedProcess[str]:
    if not shutil.which("promtool"):
        pytest.skip("promtool (package prometheus) is not installed")
    return await asyncio.to_thread(
        subprocess.run, ["promtool", *arguments], capture_output=True, text=True, check=False
    )


async def silent(server: Prometheus, asked: list[Query]) -> list[str]:
    """Ask until all have answered that should; return those that never did.

    Where a busy machine made a scrape late, everything is gone until the next one.
    """
    left = [query for query in asked if not await answered(server, query)]
    left = [query for query in left if not query.place.startswith(EMPTY)]
    for _ in range(50):
        if not left:
            break
        await asyncio.sleep(0.2)
        left = [query for query in left if not await answered(server, query)]
    return [f"{query.board}: {query.place}" for query in left]


async def answered(server: Prometheus, query: Query) -> bool:
    """Whether there is data; that there is no error is asserted."""
    got = await server.ask("query", query=query.filled)
    found = [float(one["value"][1]) for one in got["result"]]
    return not all(map(isnan, found))


async def values(server: Prometheus, variable: dict[str, Any]) -> list[str]:
    selector, label = label_values(variable)
    query = Query("", "", selector)
    found: list[str] = await server.ask(f"label/{label}/values", **{"match[]": query.filled})
    return found


@asynccontextmanager
async def scraped(directory: Path) -> AsyncGenerator[Prometheus, None]:
    """Give a Prometheus that has seen a little of everything grow."""
    config = directory / "tidegate.toml"
    config.write_text(TOML)
    ports = (free_port(), free_port())
    async with (
        serve_simulator() as simulator,
        serve(directory / "j", config, "--upstream", simulator.url, ports=ports) as running,
        prometheus(directory / "p", ports[1]) as server,
        ClientSession(f"http://127.0.0.1:{running.port}") as client,
    ):
        await server.wait_for("max(tidegate_build_info)", 1, timeout_s=60)
        await traffic(client)  # the series begin
        await server.wait_for("min(tidegate_streams_total > 0) > bool 0", 1, timeout_s=30)
        await server.wait_for("max(tidegate_quota_used_ratio) > bool 0", 1, timeout_s=30)
        before = sum((await server.values("sum(tidegate_observer_records_total)")).values())
        await traffic(client)  # and grow
        await server.wait_for(
            f"sum(tidegate_observer_records_total) > bool {before + 20}", 1, timeout_s=30
        )
        await server.wait_for("min(count_over_time(tidegate_build_info[1m])) > bool 8", 1)
        yield server


async def traffic(client: ClientSession) -> None:
    for model in ("claude-haiku-4-5", "claude-sonnet-4-6", "claude-opus-4-1"):
        for stream in (True, False):
            for simulate in ("", "", "overloaded"):
                await ask(client, model, stream=stream, simulate=simulate)


async def ask(client: ClientSession, model: str, *, stream: bool, simulate: str) -> None:
    secret = "AK" + "IA" + "Q3EGRI5XUZ7JTWOA"
    content = {"type": "text", "text": f"key {secret} " + "word " * 3000}
    document = {
        "model": model,
        "max_tokens": 64,
        "stream": stream,
        "messages": [
            {"role": "user", "content": [content | {"cache_control": {"type": "ephemeral"}}]}
        ],
    }
    headers = {"x-api-key": "k", "anthropic-version": "2023-06-01"}
    headers |= {"x-simulate": simulate or "pace_ms=2"}  # so that streams have gaps
    async with client.post("/v1/messages", json=document, headers=headers) as answer:
        await answer.read()
