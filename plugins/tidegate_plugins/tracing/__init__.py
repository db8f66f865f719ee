"""OpenTelemetry traces: built from the journal with the record's own times, sent by OTLP.

Off, and free, unless an endpoint is configured in the file or in `OTEL_EXPORTER_OTLP_*`.
"""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from tidegate.plugin import Host, Observer, PluginSpec
from tidegate_plugins.otlp.off import Off
from tidegate_plugins.tracing.config import TracingConfig
from tidegate_plugins.tracing.settings import settings


@asynccontextmanager
async def _open(config: TracingConfig, host: Host) -> AsyncIterator[Observer]:
    found = settings(config, os.environ)
    if found is None:
        yield Off()
        return
    # The SDK takes a second to import: nobody who sends no traces waits for it.
    from tidegate_plugins.tracing.observer import open_observer  # noqa: PLC0415

    async with open_observer(found, host) as observer:
        yield observer


plugin = PluginSpec(
    config=TracingConfig,
    open=_open,
    summary="Sends a trace of each exchange to an OpenTelemetry collector.",
)
"""What the entry point `tracing` names."""
