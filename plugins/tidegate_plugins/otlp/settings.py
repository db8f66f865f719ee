"""What the file and the environment say together about where a signal goes.

The variables are those of the OpenTelemetry specification, "OTLP Exporter Configuration" and
"Environment Variable Specification". What is left to the exporter, it reads itself: endpoint,
headers, compression, certificates.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tidegate.errors import PluginError
from tidegate_plugins.otlp.config import OtlpConfig, Protocol, Secret

TIMEOUT_S = 5.0
"""Shorter than OpenTelemetry's 10 s: what fails is sent again anyway."""
MIN_TIMEOUT_MS = 100
ITEMS_PER_EXPORT = 512

_PROTOCOLS: dict[str, Protocol] = {"http/protobuf": "http/protobuf", "grpc": "grpc"}
_COMMON = "OTEL_EXPORTER_OTLP_"


@dataclass(frozen=True, slots=True)
class Signal:
    """One kind of telemetry."""

    name: str
    """`traces` or `logs`, as in the variables and in the path of OTLP/HTTP."""
    batch: str
    """How the variables of its batches begin."""


TRACES = Signal("traces", "OTEL_BSP_")
LOGS = Signal("logs", "OTEL_BLRP_")


@dataclass(frozen=True, slots=True, kw_only=True)
class Destination:
    """Everything decided. None: left to the exporter, which reads the environment itself."""

    signal: Signal
    protocol: Protocol
    endpoint: str | None
    headers: dict[str, str] = field(repr=False)
    timeout_s: float
    compression: bool
    """Compress, because nothing says how."""
    service_name: str | None
    items_per_export: int
    max_pending: int


def destination(
    config: OtlpConfig, environ: Mapping[str, str], signal: Signal
) -> Destination | None:
    """Return where the signal goes, or None if it is not wanted.

    Raises:
        PluginError: that cannot be done.
    """
    if true(environ, "OTEL_SDK_DISABLED") or not _exported(environ, signal):
        return None
    if not config.endpoint and not _otlp(environ, signal, "ENDPOINT")[1]:
        return None
    protocol = config.protocol or _protocol(environ, signal)
    headers = {name: _plain(name, value, environ) for name, value in config.headers.items()}
    per_export = _number(environ, f"{signal.batch}MAX_EXPORT_BATCH_SIZE", ITEMS_PER_EXPORT)
    return Destination(
        signal=signal,
        protocol=protocol,
        endpoint=_endpoint(config.endpoint, protocol, signal),
        headers=headers,
        timeout_s=config.timeout_s or _timeout_s(environ, signal),
        compression=not _otlp(environ, signal, "COMPRESSION")[1],
        service_name=config.service_name or None,
        items_per_export=per_export,
        max_pending=config.max_pending,
    )


def true(environ: Mapping[str, str], name: str) -> bool:
    """Return whether a variable says yes, as the specification has it: `true` in any case."""
    return environ.get(name, "").strip().lower() == "true"


def _exported(environ: Mapping[str, str], signal: Signal) -> bool:
    """Return whether OTLP is among the exporters that `OTEL_<SIGNAL>_EXPORTER` names, if any."""
    named = environ.get(f"OTEL_{signal.name.upper()}_EXPORTER", "").strip()
    return not named or "otlp" in [exporter.strip() for exporter in named.split(",")]


def _otlp(environ: Mapping[str, str], signal: Signal, name: str) -> tuple[str, str]:
    """Return the variable that counts, the signal's own before the common one, and its value."""
    own, common = f"{_COMMON}{signal.name.upper()}_{name}", _COMMON + name
    return (own, environ[own]) if environ.get(own) else (common, environ.get(common, ""))


def _protocol(environ: Mapping[str, str], signal: Signal) -> Protocol:
    variable, name = _otlp(environ, signal, "PROTOCOL")
    name = name or "http/protobuf"
    if name not in _PROTOCOLS:
        raise PluginError(f"{variable}: {name!r} is not supported; use http/protobuf or grpc")
    return _PROTOCOLS[name]


def _endpoint(endpoint: str, protocol: Protocol, signal: Signal) -> str | None:
    path = f"/v1/{signal.name}"
    if protocol == "grpc" or not endpoint or endpoint.endswith(path):
        return endpoint or None
    return endpoint.rstrip("/") + path


def _timeout_s(environ: Mapping[str, str], signal: Signal) -> float:
    # Read here and not by the exporter: it would take the specification's milliseconds for
    # seconds, and an export that hangs for hours.
    variable, text = _otlp(environ, signal, "TIMEOUT")
    if not text:
        return TIMEOUT_S
    milliseconds = _number(environ, variable, 0)
    if milliseconds < MIN_TIMEOUT_MS:
        raise PluginError(
            f"{variable}: is in milliseconds; {milliseconds} ms are too short, "
            f"give at least {MIN_TIMEOUT_MS}"
        )
    return milliseconds / 1000


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


def _number(environ: Mapping[str, str], name: str, default: int) -> int:
    text = environ.get(name, "").strip() or str(default)
    if not text.isdecimal() or int(text) < 1:
        raise PluginError(f"{name}: must be a positive number")
    return int(text)
