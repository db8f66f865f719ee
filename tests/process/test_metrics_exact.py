"""Two real Prometheus servers scrape a gateway while its processes are killed and reloaded.

In the end their counters are the journal's sums, exactly, and no counter ever fell.
"""

import asyncio
import os
import signal
import subprocess
from collections import Counter
from pathlib import Path
from typing import Any

import msgspec
import pytest

from support.gateway import Process, serve
from support.ports import free_port
from support.prometheus import Prometheus, needed, prometheus
from support.traffic import Load, admin, is_ready, load, reconciled, tide, until
from tidegate.record import ExchangeRecord
from tidegate_plugins.prices import load as load_prices

pytestmark = [pytest.mark.process, pytest.mark.timeout(240), needed]

TOML = '[listen]\nworkers = 2\ndrain_s = 5\n[[plugins]]\nuse = "metrics"\n'
TOKENS = ("input", "cache_read", "cache_write_5m", "cache_write_1h", "output")
NANO = 1_000_000_000


def pids(running: Process, module: str) -> list[int]:
    return [pid for pid, name in running.children().items() if name == f"tidegate.{module}"]


async def kill_children(running: Process, clients: Load) -> None:
    """Kill each kind of child under load, and wait until all is well again."""
    for module in ("worker", "observatory"):
        victim = pids(running, module)[0]
        os.kill(victim, signal.SIGKILL)
        await until(lambda gone=victim: not Path(f"/proc/{gone}").exists())
        await clients.seen(20)
        await until(lambda: is_ready(running))


async def reload(running: Process, config: Path) -> None:
    """Change the observer's own configuration, so that it is opened anew."""
    before = running.log.read_text().count("runs configuration")
    config.write_text(TOML + "[plugins.config]\nlabel_limit = 150\n")
    running.signal(signal.SIGHUP)
    await until(lambda: running.log.read_text().count("runs configuration") > before)


def sums(records: list[dict[str, Any]]) -> dict[str, dict[str, int]]:
    """What the journal adds up to, by counter and the one label that is looked at."""
    prices = load_prices()
    tokens, cost, outcomes = Counter[str](), Counter[str](), Counter[str]()
    for record in records:
        outcomes[record["outcome"]] += 1
        for kind in TOKENS:
            tokens[kind] += (record["usage"] or {}).get(kind, 0)
        cost.update(prices.cost(msgspec.convert(record, ExchangeRecord)).by_type)
    return {"requests": dict(outcomes), "tokens": dict(tokens), "cost_usd": dict(cost)}


async def counted(server: Prometheus) -> dict[str, dict[str, int]]:
    """The same, as Prometheus has it."""
    found: dict[str, dict[str, int]] = {}
    for name, label in (("requests", "outcome"), ("tokens", "type"), ("cost_usd", "type")):
        values = await server.values(f"tidegate_{name}_total")
        unit = NANO if name == "cost_usd" else 1
        totals = Counter[str]()
        for labels, value in values.items():
            totals[dict(labels)[label]] += round(value * unit)
        found[name] = dict(totals)
    return found


async def test_counters_are_the_journals_sums_whatever_dies(tmp_path: Path) -> None:
    config = tmp_path / "tidegate.toml"
    config.write_text(TOML)
    journal, ports = tmp_path / "j", (free_port(), free_port())
    seen: list[str] = []
    async with (
        tide() as water,
        prometheus(tmp_path / "p0", ports[1]) as first,
        prometheus(tmp_path / "p1", ports[1]) as second,
    ):
        async with serve(journal, config, "--upstream", water.url, ports=ports) as running:
            async with load(running.port) as clients:
                await clients.seen(40)
                await first.wait_for("up", 1, timeout_s=60)
                await kill_children(running, clients)
                await reload(running, config)
                await clients.seen(20)
                for pid in (running.process.pid, *running.children()):
                    os.kill(pid, signal.SIGKILL)
            seen += clients.ids
        async with serve(journal, config, "--upstream", water.url, ports=ports) as running:
            async with load(running.port) as clients:
                await clients.seen(40)
            await reconciled(journal, seen + clients.ids)
            records = running.records()
            for server in (first, second):
                total = "sum(tidegate_requests_total)"
                await server.wait_for(total, len(records), timeout_s=60)
                assert await counted(server) == sums(records)
                assert await fallen(server) == {}
            await clean(running)


async def fallen(server: Prometheus) -> dict[str, float]:
    """Counters that have fallen, and how often."""
    names = await server.ask("label/__name__/values")
    counters = [n for n in names if n.startswith("tidegate_") and n.endswith("_total")]
    assert len(counters) > 10
    found = {n: await server.values(f"max(resets({n}[10m]))") for n in counters}
    return {name: max(value.values()) for name, value in found.items() if any(value.values())}


async def clean(running: Process) -> None:
    """Let promtool read what Prometheus was given."""
    _, text = await admin(running, "/metrics")
    done = await asyncio.to_thread(
        subprocess.run,
        ["promtool", "check", "metrics"],
        input=text.encode(),
        capture_output=True,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
