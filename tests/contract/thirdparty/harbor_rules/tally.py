"""An observer: how many exchanges ended in which way, by team."""

from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import msgspec

from tidegate.plugin import Host, PluginConfig, PluginSpec
from tidegate.record import ExchangeRecord, Record


class Config(PluginConfig, frozen=True):
    """Nothing to decide."""


class Tally:
    """The observer. Its state is the counts themselves, so a restart goes on counting."""

    def __init__(self, state: bytes) -> None:
        saved = msgspec.json.decode(state, type=dict[str, int]) if state else {}
        self.counts = Counter(saved)

    async def on_record(self, record: Record) -> None:
        """Count exchanges; nothing else is of interest."""
        if isinstance(record, ExchangeRecord):
            self.counts[f"{record.principal.team or 'none'} {record.outcome}"] += 1

    async def flush(self) -> bytes:
        """Return the counts."""
        return msgspec.json.encode(self.counts)

    def scrape(self, accept: str) -> tuple[bytes, str]:
        """Return the counts as Prometheus reads them."""
        lines = ["# TYPE harbor_exchanges_total counter"]
        for key, count in sorted(self.counts.items()):
            team, _, outcome = key.partition(" ")
            lines.append(f'harbor_exchanges_total{{team="{team}",outcome="{outcome}"}} {count}')
        return "\n".join([*lines, ""]).encode(), "text/plain; version=0.0.4"


@asynccontextmanager
async def _open(config: Config, host: Host) -> AsyncIterator[Tally]:
    yield Tally(host.state)


plugin: PluginSpec[Config] = PluginSpec(
    config=Config, open=_open, summary="Counts exchanges by team and outcome."
)
