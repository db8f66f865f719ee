"""The way to the collector: OpenTelemetry's own exporters, asked to say what happened."""

import enum
import gzip
import importlib
import logging
import os
import socket
import zlib
from collections.abc import Callable, Sequence
from typing import Any

import requests
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.sdk.resources import SERVICE_INSTANCE_ID, SERVICE_NAME, SERVICE_VERSION, Resource
from opentelemetry.util.re import parse_env_headers

from tidegate.errors import PluginError
from tidegate_plugins.otlp.settings import Destination, Signal

COMPRESSION_LEVEL = 1
"""A third of the CPU of the exporters' 9, for a tenth more bytes."""
_UNACCEPTABLE = frozenset({400, 413, 422})
_HTTP = "opentelemetry.exporter.otlp.proto.http"
_GRPC = "opentelemetry.exporter.otlp.proto.grpc"
_EXPORTERS = {
    "traces": ("trace_exporter", "OTLPSpanExporter"),
    "logs": ("_log_exporter", "OTLPLogExporter"),  # the SDK calls its logs unfinished
}


class Result(enum.Enum):
    """What came of an export."""

    SENT = "sent"
    UNACCEPTABLE = "unacceptable"
    """The collector will never take these items."""
    FAILED = "failed"
    """Later, perhaps."""


Encode = Callable[[Sequence[Any]], bytes]


class Exporter:
    """Sends spans or log records; blocks, so it belongs in a thread.

    Over HTTP they are encoded by `encode` where one is given, and else by the exporter.
    """

    def __init__(self, where: Destination, encode: Encode | None = None) -> None:
        # Each failure is reported by the caller, and nothing is lost: no need for the
        # exporter to tell the log about every attempt.
        logging.getLogger("opentelemetry.exporter").setLevel(logging.CRITICAL)
        self._answers: list[int] = []
        self._encode = encode
        self._session: _Session | None = None
        self._exporter = _grpc(where) if where.protocol == "grpc" else self._http(where)

    @property
    def answer(self) -> str:
        """What the collector said last, for people."""
        return f"it answers {self._answers[-1]}" if self._answers else "it does not answer"

    def send(self, items: Sequence[Any]) -> Result:
        """Send the items, for as long as the timeout allows."""
        self._answers.clear()
        if self._session is not None and self._encode is not None:
            self._session.body = self._encode(items)
            items = items[:1]  # for the exporter to have something: it is not what is sent
        if self._exporter.export(items).name == "SUCCESS":
            return Result.SENT
        if self._answers and self._answers[-1] in _UNACCEPTABLE:
            return Result.UNACCEPTABLE
        return Result.FAILED

    def shutdown(self) -> None:
        """Give up what is being sent, and let go of the connection."""
        self._exporter.shutdown()

    def _http(self, where: Destination) -> Any:
        return _class(_HTTP, where.signal)(
            endpoint=where.endpoint,
            headers=where.headers,
            timeout=where.timeout_s,
            compression=Compression.Gzip if where.compression else None,
            session=self._own_session(where.signal),
        )

    def _own_session(self, signal: Signal) -> "_Session | None":
        prefix = "OTEL_PYTHON_EXPORTER_OTLP_HTTP_"
        own = f"{prefix}{signal.name.upper()}_CREDENTIAL_PROVIDER"
        if os.environ.get(own) or os.environ.get(f"{prefix}CREDENTIAL_PROVIDER"):
            return None  # the exporter makes its own, and keeps its answers to itself
        self._session = _Session(self._answers)
        return self._session


class _Session(requests.Session):
    """An exporter's way out: what it says of an export, with a body that is encoded already."""

    def __init__(self, answers: list[int]) -> None:
        super().__init__()
        self.body: bytes | None = None
        self._answers = answers

    def send(self, request: requests.PreparedRequest, **given: Any) -> requests.Response:
        """Send what the exporter asks for."""
        if self.body is not None and request.body:
            coding = str(request.headers.get("content-encoding", ""))
            request.prepare_body(_compressed(self.body, coding), None)
        response = super().send(request, **given)
        self._answers.append(response.status_code)
        return response


def _compressed(body: bytes, coding: str) -> bytes:
    if coding == "gzip":
        return gzip.compress(body, COMPRESSION_LEVEL)
    return zlib.compress(body, COMPRESSION_LEVEL) if coding == "deflate" else body


def _class(package: str, signal: Signal) -> Any:
    module, name = _EXPORTERS[signal.name]
    return getattr(importlib.import_module(f"{package}.{module}"), name)


def _grpc(where: Destination) -> Any:
    try:
        exporter = _class(_GRPC, where.signal)
        grpc: Any = importlib.import_module("grpc")
    except ImportError as error:
        raise PluginError('protocol "grpc" needs more packages: install tidegate[grpc]') from error
    return exporter(
        endpoint=where.endpoint,
        headers=_metadata(where) or None,
        timeout=where.timeout_s,
        compression=grpc.Compression.Gzip if where.compression else None,
    )


def _metadata(where: Destination) -> dict[str, str]:
    # Over HTTP the exporter adds the environment's headers to ours; over gRPC it would not.
    prefix = "OTEL_EXPORTER_OTLP_"
    own = os.environ.get(f"{prefix}{where.signal.name.upper()}_HEADERS")
    said = parse_env_headers(own or os.environ.get(f"{prefix}HEADERS", ""), liberal=True)
    return {name.lower(): value for name, value in {**said, **where.headers}.items()}


def resource(service_name: str | None, version: str) -> Resource:
    """Return what telemetry comes from; `OTEL_RESOURCE_ATTRIBUTES` may say more."""
    ours: dict[str, str] = {SERVICE_NAME: "tidegate", SERVICE_VERSION: version}
    ours[SERVICE_INSTANCE_ID] = socket.gethostname()
    said = Resource.create()
    for name, value in said.attributes.items():
        if name in ours and not str(value).startswith("unknown_service"):
            del ours[name]
    if service_name:
        ours[SERVICE_NAME] = service_name
    return said.merge(Resource(ours))
