"""A real OpenTelemetry Collector takes what we send, and what it took follows the conventions."""

import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from observed import exchange, host, refusal
from support import caches, conventions
from support.otel_collector import Collector, said
from tidegate.record import Content, DecisionRecord, Shape, Timing, Usage
from tidegate_plugins.logs import plugin as logs
from tidegate_plugins.logs.config import LogsConfig
from tidegate_plugins.tracing import plugin as tracing
from tidegate_plugins.tracing.config import TracingConfig

pytestmark = pytest.mark.timeout(600)

OUTLINE = {"temperature": 0, "top_k": 5, "output_config": {"effort": "high"}}
RECORDS = (
    exchange(1, shape=Shape(max_tokens=64, outline=OUTLINE)),
    exchange(2, stream=False, usage=Usage(input=5, output=6, iterations=({"type": "compaction"},))),
    exchange(3, route="count_tokens", stream=False, usage=Usage(input=9)),
    exchange(4, route="models", usage=None, stream=False),
    exchange(5, route="model", usage=None, shape=Shape(outline={"model": "claude-x"})),
    exchange(6, outcome="upstream_error", status=429, error_type="rate_limit_error", usage=None),
    exchange(7, outcome="upstream_error", status=529, error_type="overloaded_error", usage=None),
    exchange(8, outcome="upstream_cut", error="the stream ended without its closing event"),
    exchange(9, outcome="unreachable", status=502, usage=None, timing_ms=Timing(total=3.0)),
    exchange(10, outcome="client_gone"),
    exchange(11, outcome="worker_lost", status=None, usage=None, timing_ms=Timing()),
    refusal(12),
    refusal(13, route="none", status=404),
    exchange(14, decisions=(DecisionRecord("quota", "", "timeout", "admit", us=10**7),), edits=()),
)
SEVERITIES = {"INFO": {1, 2, 3, 4, 5, 10, 14}, "WARN": {6, 12, 13}, "ERROR": {7, 8, 9, 11}}


@pytest.fixture
async def collector(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Collector]:
    for name in list(os.environ):
        if name.startswith("OTEL_"):
            monkeypatch.delenv(name)
    it = Collector(caches.otel_collector(), tmp_path / "collector")
    await it.start()
    yield it
    await it.stop()


def where(collector: Collector, protocol: str) -> dict[str, Any]:
    if protocol == "grpc":
        pytest.importorskip("grpc", reason="tidegate[grpc] is not installed")
    endpoint = collector.grpc if protocol == "grpc" else collector.http
    return {"endpoint": endpoint, "protocol": protocol, "timeout_s": 10}


@pytest.mark.parametrize("protocol", ["http/protobuf", "grpc"])
async def test_spans_arrive_and_follow_the_conventions(collector: Collector, protocol: str) -> None:
    config = TracingConfig(**where(collector, protocol))
    async with tracing.open(config, host("tracing")) as observer:
        for record in RECORDS:
            await observer.on_record(record)
        await observer.flush()
    by_trace: dict[str, list[dict[str, Any]]] = {}
    for span in collector.spans():
        by_trace.setdefault(span["traceId"], []).append(span)
        assert span["resource"]["service.name"] == "tidegate"
    assert {int(trace, 16) for trace in by_trace} == set(range(1, 15))
    for spans in by_trace.values():
        conventions.check_trace(spans)
    found = {span["name"]: said(span) for span in by_trace[f"{1:032x}"]}
    chat = found["chat claude-sonnet-4-6"]
    assert chat["gen_ai.response.id"] == "msg_upstream"
    assert (chat["gen_ai.request.temperature"], chat["gen_ai.request.top_k"]) == (0.0, 5)
    assert chat["gen_ai.request.reasoning.level"] == "high"
    assert chat["gen_ai.usage.input_tokens"] == 100
    assert found["POST"]["url.full"] == "https://api.anthropic.com:443/v1/messages"
    assert len(by_trace[f"{12:032x}"]) == 2
    assert {span["kind"] for span in by_trace[f"{12:032x}"]} == {
        conventions.SERVER,
        conventions.INTERNAL,
    }


@pytest.mark.parametrize("protocol", ["http/protobuf", "grpc"])
async def test_log_records_arrive_and_follow_the_conventions(
    collector: Collector, protocol: str
) -> None:
    async with (
        logs.open(LogsConfig(**where(collector, protocol)), host("logs")) as observer,
        tracing.open(TracingConfig(**where(collector, protocol)), host("tracing")) as tracer,
    ):
        for record in RECORDS:
            await observer.on_record(record)
            await tracer.on_record(record)
        await observer.flush()
        await tracer.flush()
    entries = collector.logs()
    for entry in entries:
        conventions.check_log(entry)
        assert entry["resource"]["service.name"] == "tidegate"
    assert [said(entry)["tidegate.id"] for entry in entries] == [r.id for r in RECORDS]
    severities: dict[str, set[int]] = {}
    for entry in entries:
        severities.setdefault(entry["severityText"], set()).add(int(entry["traceId"], 16))
    assert severities == SEVERITIES
    spans = {(span["traceId"], span["spanId"]) for span in collector.spans()}
    assert {(entry["traceId"], entry["spanId"]) for entry in entries} <= spans


@pytest.mark.parametrize("protocol", ["http/protobuf", "grpc"])
async def test_what_was_said_arrives_in_the_structure_of_the_conventions(
    collector: Collector, protocol: str
) -> None:
    kept = Content(
        id=RECORDS[0].id,
        at=RECORDS[0].at + 3,
        worker=0,
        config="c0ffee",
        request={"messages": [{"role": "user", "content": "how high?"}], "system": "be brief"},
        response={"content": [{"type": "text", "text": "3 m"}], "role": "assistant"},
    )
    async with logs.open(LogsConfig(**where(collector, protocol)), host("logs")) as observer:
        await observer.on_record(RECORDS[0])
        await observer.on_record(kept)
        await observer.flush()
    exchanged, details = collector.logs()
    conventions.check_log(details)
    assert details["eventName"] == "gen_ai.client.inference.operation.details"
    assert (details["traceId"], details["spanId"]) == (exchanged["traceId"], exchanged["spanId"])
    found = said(details)
    assert found["gen_ai.operation.name"] == "chat"
    assert found["gen_ai.input.messages"] == [
        {"role": "user", "parts": [{"type": "text", "content": "how high?"}]}
    ]
    assert found["gen_ai.output.messages"] == [
        {"role": "assistant", "parts": [{"type": "text", "content": "3 m"}]}
    ]
    assert found["gen_ai.system_instructions"] == [{"type": "text", "content": "be brief"}]
