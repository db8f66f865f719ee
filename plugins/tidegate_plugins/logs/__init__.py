"""OpenTelemetry logs: one record of each exchange, correlated with its trace, sent by OTLP.

Off, and free, unless an endpoint is configured in the file or in `OTEL_EXPORTER_OTLP_*`.
"""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from tidegate.plugin import Host, Observer, PluginSpec
from tidegate_plugins.logs.config import LogsConfig
from tidegate_plugins.otlp.off import Off
from tidegate_plugins.otlp.settings import LOGS, destination


@asynccontextmanager
async def _open(config: LogsConfig, host: Host) -> AsyncIterator[Observer]:
    where = destination(config, os.environ, LOGS)
    if where is None:
        yield Off()
        return
    # The SDK takes a second to import: nobody who sends no logs waits for it.
    from tidegate_plugins.logs.observer import open_observer  # noqa: PLC0415

    async with open_observer(where, host) as observer:
        yield observer


plugin = PluginSpec(
    config=LogsConfig,
    open=_open,
    summary="Sends a log record of each exchange to an OpenTelemetry collector.",
)
"""What the entry point `logs` names."""
