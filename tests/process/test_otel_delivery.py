"""A real Collector goes away under load, in both ways, and so does the gateway: nothing is missing."""

import signal
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from support import caches, conventions
from support.gateway import Process, serve
from support.otel_collector import Collector, said
from support.traffic import load, reconciled, tide, until

pytestmark = [pytest.mark.process, pytest.mark.timeout(600)]

WAIT_S = 120.0
"""The observers' own pauses between attempts grow to half a minute."""


def toml(collector: Collector) -> str:
    """Traces go over HTTP and logs over gRPC, so that both are tried."""
    return f"""
[listen]
workers = 2
drain_s = 5
[[plugins]]
use = "tracing"
[plugins.config]
endpoint = "{collector.http}"
timeout_s = 2
[[plugins]]
use = "logs"
[plugins.config]
endpoint = "{collector.grpc}"
protocol = "grpc"
timeout_s = 2
"""


def exchanges(running: Process) -> dict[str, dict[str, Any]]:
    return {record["id"]: record for record in running.records()}


def logged(collector: Collector) -> Counter[str]:
    """How often each exchange's log record has come."""
    return Counter(said(entry)["tidegate.id"] for entry in collector.logs())


def traced(collector: Collector) -> dict[str, list[dict[str, Any]]]:
    """The spans by trace; one that came twice is there twice."""
    found: dict[str, list[dict[str, Any]]] = {}
    for span in collector.spans():
        found.setdefault(span["traceId"], []).append(span)
    return found


async def test_nothing_is_missing_when_the_collector_and_the_gateway_come_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("grpc", reason="tidegate[grpc] is not installed")
    collector = Collector(caches.otel_collector(), tmp_path / "collector")
    config, journal = tmp_path / "tidegate.toml", tmp_path / "j"
    config.write_text(toml(collector))
    seen: list[str] = []
    try:
        await collector.start()
        async with tide() as water:
            async with serve(journal, config, "--upstream", water.url) as running:
                async with load(running.port) as clients:
                    await clients.seen(40)
                    await until(lambda: logged(collector) and traced(collector), WAIT_S)
                    await collector.stop(signal.SIGTERM)
                    await clients.seen(40)
                    await collector.start()
                    await clients.seen(40)
                    await collector.stop(signal.SIGKILL)
                    await clients.seen(40)
                seen += clients.ids
                running.signal(signal.SIGTERM)
                assert await running.wait() == 0
            async with serve(journal, config, "--upstream", water.url) as running:
                async with load(running.port) as clients:
                    await clients.seen(40)
                    await collector.start()
                    await clients.seen(20)
                await reconciled(journal, seen + clients.ids)
                there = exchanges(running)
                traces = {record["trace"]["trace_id"] for record in there.values()}
                await until(lambda: logged(collector).keys() >= there.keys(), WAIT_S)
                await until(lambda: traced(collector).keys() >= traces, WAIT_S)
    finally:
        await collector.stop()
    assert logged(collector).keys() == there.keys()
    assert traced(collector).keys() == traces
    _check(collector, there)


def _itself(item: dict[str, Any]) -> dict[str, Any]:
    """What was sent, without who sent it: that may be the process before a restart, or after."""
    return {key: value for key, value in item.items() if key != "resource"}


def _check(collector: Collector, there: dict[str, dict[str, Any]]) -> None:
    """What came twice is the same twice; what came follows the conventions."""
    entries: dict[str, dict[str, Any]] = {}
    for entry in collector.logs():
        conventions.check_log(entry)
        first = entries.setdefault(said(entry)["tidegate.id"], entry)
        assert _itself(first) == _itself(entry)
    by_trace = traced(collector)
    for spans in by_trace.values():
        once = {span["spanId"]: _itself(span) for span in spans}
        assert all(once[span["spanId"]] == _itself(span) for span in spans)
        conventions.check_trace(spans)
    for record in there.values():
        spans = by_trace[record["trace"]["trace_id"]]
        (server,) = {s["spanId"] for s in spans if s["kind"] == conventions.SERVER}
        assert server == record["trace"]["span_id"]
        assert entries[record["id"]]["traceId"] == record["trace"]["trace_id"]
        operations = [said(s) for s in spans if "gen_ai.operation.name" in said(s)]
        for operation in operations:
            usage = record["usage"] or {"output": None}
            assert operation.get("gen_ai.usage.output_tokens") == usage["output"]
