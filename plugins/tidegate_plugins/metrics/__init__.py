"""Prometheus metrics: counted from the journal, exact over restarts, never reset."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from tidegate.plugin import Host, Observer, PluginSpec
from tidegate_plugins.metrics.config import MetricsConfig


@asynccontextmanager
async def _open(config: MetricsConfig, host: Host) -> AsyncIterator[Observer]:
    # prometheus_client is not needed to check a configuration.
    from tidegate_plugins.metrics.observer import MetricsObserver  # noqa: PLC0415

    yield MetricsObserver(config, host)


plugin = PluginSpec(
    config=MetricsConfig,
    open=_open,
    summary="Counts what the journal tells and serves it to Prometheus.",
)
"""What the entry point `metrics` names."""
