"""Traces over gRPC, where its packages are installed."""

import asyncio
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

from observed import exchange, host
from tidegate.errors import Unavailable
from tidegate_plugins.tracing import plugin
from tidegate_plugins.tracing.config import TracingConfig

grpc = pytest.importorskip("grpc", reason="tidegate[grpc] is not installed")
pytest.importorskip(
    "opentelemetry.exporter.otlp.proto.grpc", reason="tidegate[grpc] is not installed"
)
METHOD = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"


class Collector:
    """An OTLP/gRPC receiver on loopback that can be told to fail."""

    def __init__(self) -> None:
        self.requests: list[ExportTraceServiceRequest] = []
        self.metadata: list[dict[str, str]] = []
        self.fails = False
        self.server = grpc.server(ThreadPoolExecutor(2))
        self.server.add_generic_rpc_handlers((self,))
        self.port = self.server.add_insecure_port("127.0.0.1:0")

    def service(self, call):  # type: ignore[no-untyped-def]
        assert call.method == METHOD
        return grpc.unary_unary_rpc_method_handler(
            self._take,
            request_deserializer=ExportTraceServiceRequest.FromString,
            response_serializer=ExportTraceServiceResponse.SerializeToString,
        )

    def _take(self, request, context):  # type: ignore[no-untyped-def]
        if self.fails:
            context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "later")
        self.requests.append(request)
        self.metadata.append(dict(context.invocation_metadata()))
        return ExportTraceServiceResponse()


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[Collector]:
    for name in list(os.environ):
        if name.startswith("OTEL_"):
            monkeypatch.delenv(name)
    it = Collector()
    it.server.start()
    yield it
    it.server.stop(None).wait()


async def test_a_collector_that_fails_and_recovers_loses_nothing(collector: Collector) -> None:
    config = TracingConfig(
        endpoint=f"http://127.0.0.1:{collector.port}",
        protocol="grpc",
        timeout_s=1,
        headers={"X-Tenant": "blue"},
    )
    async with plugin.open(config, host("tracing")) as observer:
        await observer.on_record(exchange(1))
        await asyncio.wait_for(observer.flush(), 10)
        collector.fails = True
        await observer.on_record(exchange(2))
        with pytest.raises(Unavailable):
            await asyncio.wait_for(observer.flush(), 10)
        collector.fails = False
        await asyncio.wait_for(observer.flush(), 10)
    traces = [
        span.trace_id
        for request in collector.requests
        for scope in request.resource_spans[0].scope_spans
        for span in scope.spans
    ]
    assert traces == [number.to_bytes(16, "big") for number in (1, 1, 1, 1, 2, 2, 2, 2)]
    assert collector.metadata[0]["x-tenant"] == "blue"
