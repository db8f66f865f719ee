"""Traces over the wire, to a collector that is there, is not, and comes back."""

import asyncio
import os
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import msgspec
import pytest
from aiohttp import web
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from observed import AT, SONNET, exchange, host, refusal, vitals
from tidegate.errors import PluginError, Unavailable
from tidegate_plugins.otlp.config import Secret
from tidegate_plugins.tracing import plugin
from tidegate_plugins.tracing.config import TracingConfig


@dataclass
class Collector:
    """An OTLP/HTTP receiver on loopback that can be taken down and put up again."""

    port: int = 0
    status: int = 200
    refuses: str = ""
    """Answers 400 to any request that has a span with this `tidegate.id`."""
    requests: list[ExportTraceServiceRequest] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    runner: web.AppRunner | None = None

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def spans(self) -> list[Span]:
        return [
            span
            for request in self.requests
            for resource in request.resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        ]

    @property
    def exchanges(self) -> list[str]:
        return [said(span)["tidegate.id"] for span in self.spans if span.kind == SERVER]

    async def start(self) -> None:
        app = web.Application()
        app.router.add_post("/v1/traces", self._take)
        self.runner = web.AppRunner(app)
        await self.runner.setup()
        site = web.TCPSite(self.runner, "127.0.0.1", self.port)
        await site.start()
        self.port = self.runner.addresses[0][1]

    async def stop(self) -> None:
        if self.runner is not None:
            await self.runner.cleanup()
            self.runner = None

    async def _take(self, request: web.Request) -> web.Response:
        message = ExportTraceServiceRequest.FromString(await request.read())
        if self.refuses and self.refuses in str(message):
            return web.Response(status=400)
        if self.status == 200:
            self.headers.append({name.lower(): value for name, value in request.headers.items()})
            self.requests.append(message)
        return web.Response(status=self.status, content_type="application/x-protobuf")


SERVER = Span.SpanKind.SPAN_KIND_SERVER
CLIENT = Span.SpanKind.SPAN_KIND_CLIENT


def said(thing: Any) -> dict[str, Any]:
    found = {}
    for pair in thing.attributes:
        kind = pair.value.WhichOneof("value")
        value = getattr(pair.value, kind)
        found[pair.key] = [v.string_value for v in value.values] if kind == "array_value" else value
    return found


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith("OTEL_"):
            monkeypatch.delenv(name)


@pytest.fixture
async def collector() -> AsyncIterator[Collector]:
    it = Collector()
    await it.start()
    yield it
    await it.stop()


def config(collector: Collector, **changes: Any) -> TracingConfig:
    return TracingConfig(endpoint=collector.endpoint, timeout_s=0.5, **changes)


async def test_an_exchange_arrives_as_server_and_inference_span(collector: Collector) -> None:
    async with plugin.open(config(collector), host("tracing")) as observer:
        await observer.on_record(vitals())
        await observer.on_record(exchange(5))
        assert await observer.flush() == b""
    server, redact, inference, request = collector.spans
    assert (server.kind, server.name) == (SERVER, "POST /v1/messages")
    assert (inference.kind, inference.name) == (CLIENT, f"chat {SONNET}")
    assert server.trace_id == inference.trace_id == (5).to_bytes(16, "big")
    assert inference.parent_span_id == server.span_id == (5).to_bytes(8, "big")
    assert server.parent_span_id.hex() == "00f067aa0ba902b7"
    start = (int(AT) + 5) * 1_000_000_000
    assert (server.start_time_unix_nano, server.end_time_unix_nano) == (start, start + 2 * 10**9)
    assert inference.start_time_unix_nano == start + 3_000_000
    assert said(inference)["gen_ai.usage.input_tokens"] == 100
    assert said(inference)["gen_ai.response.finish_reasons"] == ["stop"]
    assert (request.kind, request.name) == (CLIENT, "POST")
    assert request.parent_span_id == inference.span_id
    assert redact.parent_span_id == server.span_id
    for span in (server, redact):
        assert [event.name for event in span.events] == ["tidegate.policy.decision"]
    assert server.status.code == Status.StatusCode.STATUS_CODE_UNSET
    assert collector.headers[0]["content-encoding"] == "gzip"
    assert collector.headers[0]["content-type"] == "application/x-protobuf"


async def test_the_resource_says_what_runs(
    collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def resource(**changes: Any) -> dict[str, Any]:
        async with plugin.open(config(collector, **changes), host("tracing")) as observer:
            await observer.on_record(exchange())
            await observer.flush()
        return said(collector.requests[-1].resource_spans[0].resource)

    found = await resource()
    assert (found["service.name"], found["service.version"]) == ("tidegate", "1.2.3")
    monkeypatch.setenv("OTEL_SERVICE_NAME", "egress")
    monkeypatch.setenv(
        "OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=prod,service.instance.id=a-1"
    )
    found = await resource()
    assert (found["service.name"], found["service.instance.id"]) == ("egress", "a-1")
    assert found["deployment.environment.name"] == "prod"
    assert (await resource(service_name="house"))["service.name"] == "house"


async def test_the_environment_alone_is_enough(
    collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.endpoint)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "x-tenant=blue")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_COMPRESSION", "none")
    monkeypatch.setenv("TENANT_TOKEN", "not-for-the-log")
    headers: dict[str, str | Secret] = {"x-token": Secret(env="TENANT_TOKEN")}
    async with plugin.open(TracingConfig(headers=headers), host("tracing")) as observer:
        await observer.on_record(exchange())
        await observer.flush()
    assert collector.headers[0]["x-tenant"] == "blue"
    assert collector.headers[0]["x-token"] == "not-for-the-log"
    assert "content-encoding" not in collector.headers[0]


@pytest.mark.parametrize("failure", ["down", 503, 429, 401, 404, 500])
async def test_a_collector_that_fails_and_comes_back_loses_nothing(
    collector: Collector, failure: str | int, caplog: pytest.LogCaptureFixture
) -> None:
    async with plugin.open(config(collector), host("tracing")) as observer:
        await observer.on_record(exchange(1))
        await observer.flush()
        if failure == "down":
            await collector.stop()
        else:
            collector.status = int(failure)
        for number in (2, 3):
            await observer.on_record(exchange(number))
        for _ in range(2):
            with pytest.raises(Unavailable, match="answer"):
                await observer.flush()
        if failure == "down":
            await collector.start()
        collector.status = 200
        await observer.flush()
        await observer.on_record(exchange(4))
        await observer.flush()
    assert collector.exchanges == [f"tg_{number:08d}" for number in (1, 2, 3, 4)]
    assert not caplog.records


async def test_a_hanging_collector_costs_its_timeout_and_no_more() -> None:
    async def hold(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    silent = await asyncio.start_server(hold, "127.0.0.1", 0)
    endpoint = f"http://127.0.0.1:{silent.sockets[0].getsockname()[1]}"
    clock = asyncio.get_running_loop().time
    began, ticks = clock(), 0
    async with plugin.open(TracingConfig(endpoint=endpoint, timeout_s=0.3), host("t")) as observer:
        await observer.on_record(exchange())
        flushing = asyncio.ensure_future(observer.flush())
        while not flushing.done():
            await asyncio.sleep(0.01)
            ticks += 1
        with pytest.raises(Unavailable):
            await flushing
    assert clock() - began < 5
    assert ticks >= 10, "the loop went on while the export waited"
    silent.close()
    await silent.wait_closed()


async def test_a_batch_is_sent_in_parts(
    collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "20")
    async with plugin.open(config(collector), host("tracing")) as observer:
        for number in range(1, 13):
            await observer.on_record(exchange(number))
        await observer.flush()
    assert len(collector.requests) == 3
    assert collector.exchanges == [f"tg_{number:08d}" for number in range(1, 13)]


async def test_one_exchange_the_collector_refuses_does_not_hold_up_the_others(
    collector: Collector, caplog: pytest.LogCaptureFixture
) -> None:
    collector.refuses = "tg_00000003"
    async with plugin.open(config(collector), host("tracing")) as observer:
        for number in range(1, 8):
            await observer.on_record(exchange(number))
        assert await observer.flush() == b""
    assert collector.exchanges == [f"tg_{number:08d}" for number in (1, 2, 4, 5, 6, 7)]
    assert [record.getMessage() for record in caplog.records] == [
        "the collector of traces refuses tg_00000003: it answers 400"
    ]


async def test_sent_again_it_is_the_same_span(collector: Collector) -> None:
    for _ in range(2):
        async with plugin.open(config(collector), host("tracing")) as observer:
            await observer.on_record(exchange(9))
            await observer.flush()
    first, second = (spans.SerializeToString() for spans in collector.requests)
    assert first == second


async def test_only_a_share_of_ordinary_exchanges_is_sent(collector: Collector) -> None:
    async with plugin.open(config(collector, sample_ratio=0), host("tracing")) as observer:
        await observer.on_record(exchange(1, edits=()))
        await observer.on_record(exchange(2))
        await observer.on_record(refusal(3))
        await observer.on_record(exchange(4, edits=(), outcome="upstream_cut"))
        await observer.flush()
    kept = {
        said(span)["tidegate.id"]: said(span)["tidegate.kept_for"]
        for span in collector.spans
        if span.kind == SERVER
    }
    assert kept == {"tg_00000002": "edited", "tg_00000003": "refused", "tg_00000004": "error"}


async def test_what_memory_has_no_room_for_waits_until_the_collector_is_back(
    collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tidegate_plugins.otlp.delivery.RETRY_S", 0.01)
    await collector.stop()
    async with plugin.open(config(collector, max_pending=2), host("tracing")) as observer:
        await observer.on_record(exchange(1))
        await observer.on_record(exchange(2))
        waiting = asyncio.ensure_future(observer.on_record(exchange(3)))
        done, _ = await asyncio.wait([waiting], timeout=0.2)
        assert not done
        await collector.start()
        await waiting
        await observer.flush()
    assert collector.exchanges == [f"tg_{number:08d}" for number in (1, 2, 3)]


async def test_grpc_without_its_packages_says_what_to_install(
    collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(
        __import__("sys").modules, "opentelemetry.exporter.otlp.proto.grpc.trace_exporter", None
    )
    grpc = msgspec.structs.replace(config(collector), protocol="grpc")
    with pytest.raises(PluginError, match=r"tidegate\[grpc\]"):
        async with plugin.open(grpc, host("tracing")):
            pass
