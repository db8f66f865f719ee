"""Local usage: a small database of tokens, cost and latency, for `tidegate usage` and the page."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from tidegate.plugin import Host, Observer, PluginSpec
from tidegate_plugins.usage.config import UsageConfig


@asynccontextmanager
async def _open(config: UsageConfig, host: Host) -> AsyncIterator[Observer]:
    from tidegate_plugins.usage.observer import UsageObserver  # noqa: PLC0415

    observer = UsageObserver(config, host)
    try:
        yield observer
    finally:
        observer.close()


plugin = PluginSpec(
    config=UsageConfig,
    open=_open,
    summary="Keeps tokens, cost and latency in a local database, and shows them on a page.",
)
"""What the entry point `usage` names."""
