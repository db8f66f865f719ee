"""The way to the collector: OpenTelemetry's own exporters, asked to say what happened."""

import enum
import importlib
import logging
import os
import socket
from collections.abc import Sequence
from typing import Any

import requests
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_INSTANCE_ID, SERVICE_NAME, SERVICE_VERSION, Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from tidegate.errors import PluginError
from tidegate_plugins.tracing.settings import Settings

_UNACCEPTABLE = frozenset({400, 413, 422})
_CREDENTIAL_PROVIDERS = (
    "OTEL_PYTHON_EXPORTER_OTLP_HTTP_CREDENTIAL_PROVIDER",
    "OTEL_PYTHON_EXPORTER_OTLP_HTTP_TRACES_CREDENTIAL_PROVIDER",
)


class Result(enum.Enum):
    """What came of an export."""

    SENT = "sent"
    UNACCEPTABLE = "unacceptable"
    """The collector will never take these spans."""
    FAILED = "failed"
    """Later, perhaps."""


class Exporter:
    """Sends spans; blocks, so it belongs in a thread."""

    def __init__(self, settings: Settings) -> None:
        # Each failure is reported by the caller, and nothing is lost: no need for the
        # exporter to tell the log about every attempt.
        logging.getLogger("opentelemetry.exporter").setLevel(logging.CRITICAL)
        self._answers: list[int] = []
        self._exporter = _grpc(settings) if settings.protocol == "grpc" else self._http(settings)

    @property
    def answer(self) -> str:
        """What the collector said last, for people."""
        return f"it answers {self._answers[-1]}" if self._answers else "it does not answer"

    def send(self, spans: Sequence[ReadableSpan]) -> Result:
        """Send the spans, for as long as the timeout allows."""
        self._answers.clear()
        if self._exporter.export(spans) is SpanExportResult.SUCCESS:
            return Result.SENT
        if self._answers and self._answers[-1] in _UNACCEPTABLE:
            return Result.UNACCEPTABLE
        return Result.FAILED

    def shutdown(self) -> None:
        """Give up what is being sent, and let go of the connection."""
        self._exporter.shutdown()

    def _http(self, settings: Settings) -> SpanExporter:
        return OTLPSpanExporter(
            endpoint=settings.endpoint,
            headers=settings.headers,
            timeout=settings.timeout_s,
            compression=Compression.Gzip if settings.compression else None,
            session=self._session(),
        )

    def _session(self) -> requests.Session | None:
        if any(os.environ.get(name) for name in _CREDENTIAL_PROVIDERS):
            return None  # the exporter makes its own, and keeps its answers to itself
        session = requests.Session()
        session.hooks["response"].append(self._seen)
        return session

    def _seen(self, response: requests.Response, *_: object, **__: object) -> None:
        self._answers.append(response.status_code)


def _grpc(settings: Settings) -> SpanExporter:
    try:
        exporters = importlib.import_module("opentelemetry.exporter.otlp.proto.grpc.trace_exporter")
        grpc: Any = importlib.import_module("grpc")
    except ImportError as error:
        raise PluginError('protocol "grpc" needs more packages: install tidegate[grpc]') from error
    exporter: SpanExporter = exporters.OTLPSpanExporter(
        endpoint=settings.endpoint,
        headers={name.lower(): value for name, value in settings.headers.items()} or None,
        timeout=settings.timeout_s,
        compression=grpc.Compression.Gzip if settings.compression else None,
    )
    return exporter


def resource(service_name: str | None, version: str) -> Resource:
    """Return what the spans come from; `OTEL_RESOURCE_ATTRIBUTES` may say more."""
    ours: dict[str, str] = {SERVICE_NAME: "tidegate", SERVICE_VERSION: version}
    ours[SERVICE_INSTANCE_ID] = socket.gethostname()
    said = Resource.create()
    for name, value in said.attributes.items():
        if name in ours and not str(value).startswith("unknown_service"):
            del ours[name]
    if service_name:
        ours[SERVICE_NAME] = service_name
    return said.merge(Resource(ours))
