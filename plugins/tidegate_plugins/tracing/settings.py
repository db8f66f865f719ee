"""What the file and the environment say together."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tidegate.errors import PluginError
from tidegate_plugins.tracing.config import Protocol, Secret, TracingConfig

TIMEOUT_S = 5.0
"""Shorter than OpenTelemetry's 10 s: what fails is sent again anyway."""
SPANS_PER_EXPORT = 512

_PROTOCOLS: dict[str, Protocol] = {"http/protobuf": "http/protobuf", "grpc": "grpc"}
_TRACES = "OTEL_EXPORTER_OTLP_TRACES_"
_COMMON = "OTEL_EXPORTER_OTLP_"


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Everything decided. None: left to the exporter, which reads the environment itself."""

    protocol: Protocol
    endpoint: str | None
    headers: dict[str, str] = field(repr=False)
    timeout_s: float | None
    compression: bool
    """Compress, because nothing says how."""
    service_name: str | None
    ratio: float
    follow_parent: bool
    """Leave the decision to the caller where it has made one."""
    slow_s: float
    spans_per_export: int
    max_pending: int


def settings(config: TracingConfig, environ: Mapping[str, str]) -> Settings | None:
    """Return the settings, or None if no traces are wanted.

    Raises:
        PluginError: they cannot be met.
    """
    if _true(environ, "OTEL_SDK_DISABLED") or environ.get("OTEL_TRACES_EXPORTER") == "none":
        return None
    if not config.endpoint and not _otlp(environ, "ENDPOINT"):
        return None
    sampler = environ.get("OTEL_TRACES_SAMPLER", "") if config.sample_ratio is None else ""
    if sampler.endswith("always_off"):
        return None
    protocol = config.protocol or _protocol(environ)
    return Settings(
        protocol=protocol,
        endpoint=_endpoint(config.endpoint, protocol),
        headers={name: _plain(name, value, environ) for name, value in config.headers.items()},
        timeout_s=config.timeout_s or (None if _otlp(environ, "TIMEOUT") else TIMEOUT_S),
        compression=not _otlp(environ, "COMPRESSION"),
        service_name=config.service_name or None,
        ratio=_ratio(config.sample_ratio, sampler, environ),
        follow_parent=sampler.startswith("parentbased_"),
        slow_s=config.slow_s,
        spans_per_export=_number(environ, "OTEL_BSP_MAX_EXPORT_BATCH_SIZE", SPANS_PER_EXPORT),
        max_pending=config.max_pending,
    )


def _otlp(environ: Mapping[str, str], name: str) -> str:
    return environ.get(_TRACES + name) or environ.get(_COMMON + name) or ""


def _true(environ: Mapping[str, str], name: str) -> bool:
    return environ.get(name, "").strip().lower() == "true"


def _protocol(environ: Mapping[str, str]) -> Protocol:
    name = _otlp(environ, "PROTOCOL") or "http/protobuf"
    if name not in _PROTOCOLS:
        raise PluginError(f"OTLP protocol {name!r} is not supported; use http/protobuf or grpc")
    return _PROTOCOLS[name]


def _endpoint(endpoint: str, protocol: Protocol) -> str | None:
    if protocol == "grpc" or not endpoint or endpoint.endswith("/v1/traces"):
        return endpoint or None
    return endpoint.rstrip("/") + "/v1/traces"


def _plain(name: str, value: str | Secret, environ: Mapping[str, str]) -> str:
    if isinstance(value, str):
        return value
    try:
        found = environ[value.env] if value.env else Path(value.file).read_text().strip()
    except KeyError:
        raise PluginError(f"headers.{name}: the variable {value.env} is not set") from None
    except (OSError, UnicodeDecodeError) as error:
        raise PluginError(f"headers.{name}: cannot read {value.file}: {error}") from None
    if not found.isprintable():
        raise PluginError(f"headers.{name}: not one line of printable text")
    return found


def _ratio(configured: float | None, sampler: str, environ: Mapping[str, str]) -> float:
    if configured is not None:
        return configured
    if not sampler.endswith("traceidratio"):
        return 1.0
    try:
        ratio = float(environ.get("OTEL_TRACES_SAMPLER_ARG") or 1)
    except ValueError:
        ratio = -1.0
    if not 0 <= ratio <= 1:
        raise PluginError("OTEL_TRACES_SAMPLER_ARG: must be a number from 0 to 1")
    return ratio


def _number(environ: Mapping[str, str], name: str, default: int) -> int:
    text = environ.get(name, "").strip() or str(default)
    if not text.isdecimal() or int(text) < 1:
        raise PluginError(f"{name}: must be a positive number")
    return int(text)
