"""The observer: counts records, saves what it counted, answers scrapes."""

import threading

import msgspec
from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector
from prometheus_client.exposition import choose_encoder

from tidegate.errors import PluginError
from tidegate.plugin import Host
from tidegate.record import Record
from tidegate_plugins.metrics.config import MetricsConfig
from tidegate_plugins.metrics.exposition import StateCollector
from tidegate_plugins.metrics.project import Projection
from tidegate_plugins.metrics.state import State, freeze, thaw
from tidegate_plugins.prices import load


class MetricsObserver:
    """Aggregates of all workers. `scrape` may run in another thread than the rest."""

    def __init__(self, config: MetricsConfig, host: Host) -> None:
        try:
            self._state = thaw(host.state)
        except msgspec.MsgspecError as error:
            raise PluginError(
                f"{host.name}: the saved counters cannot be read ({error}); a newer version may "
                "have written them. Remove this observer's checkpoint to count from zero"
            ) from error
        self._state.began = self._state.began or host.clock.now()
        prices = load(config.prices or None)
        self._projection = Projection(self._state, config, prices.cost)
        self._lock = threading.Lock()
        self._frozen: bytes | None = None
        self._plain = _registry(StateCollector(config, host, self._copy, created=False))
        self._open = _registry(StateCollector(config, host, self._copy, created=True))

    async def on_record(self, record: Record) -> None:
        """Count one record."""
        with self._lock:
            self._frozen = None
            self._projection.add(record)

    async def flush(self) -> bytes:
        """Return all that has been counted."""
        return self._freeze()

    def scrape(self, accept: str) -> tuple[bytes, str]:
        """Return the exposition, OpenMetrics with exemplars where it is accepted."""
        encode, content_type = choose_encoder(accept)
        openmetrics = content_type.startswith("application/openmetrics-text")
        return encode(self._open if openmetrics else self._plain), content_type

    def _freeze(self) -> bytes:
        with self._lock:
            if self._frozen is None:
                self._frozen = freeze(self._state)
            return self._frozen

    def _copy(self) -> State:
        # The way over bytes copies 5,000 series in a few milliseconds, and only the
        # first half of it holds the lock.
        return thaw(self._freeze())


def _registry(collector: StateCollector) -> CollectorRegistry:
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    PlatformCollector(registry=registry)
    GCCollector(registry=registry)
    registry.register(collector)
    return registry
