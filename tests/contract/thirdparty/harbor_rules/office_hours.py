"""A policy: requests leave during office hours only."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, time

from tidegate.clock import Clock
from tidegate.errors import PluginError
from tidegate.exchange import Exchange, Request
from tidegate.plugin import Admit, Decision, Host, PluginConfig, PluginSpec, Refuse, Stage


class Config(PluginConfig, frozen=True):
    """In UTC."""

    opens: time = time(8)
    closes: time = time(18)
    exempt: tuple[str, ...] = ()
    """Teams that never sleep."""


class OfficeHours:
    """The policy."""

    def __init__(self, config: Config, clock: Clock) -> None:
        self._config = config
        self._clock = clock

    async def admit(self, exchange: Exchange, request: Request) -> Decision:
        """Admit while the office is open, and exempt teams always."""
        if request.principal.team in self._config.exempt:
            return Admit(rule="exempt")
        now = datetime.fromtimestamp(self._clock.now(), UTC).time()
        if self._config.opens <= now < self._config.closes:
            return Admit(rule="open")
        return Refuse(
            status=403,
            error_type="permission_error",
            message=f"the gate is closed; it opens at {self._config.opens:%H:%M} UTC",
            rule="closed",
        )


@asynccontextmanager
async def _open(config: Config, host: Host) -> AsyncIterator[OfficeHours]:
    if config.opens >= config.closes:
        raise PluginError("opens must be before closes")
    yield OfficeHours(config, host.clock)


plugin: PluginSpec[Config] = PluginSpec(
    config=Config,
    open=_open,
    stage=Stage.AUTHORIZE,
    summary="Lets requests leave during office hours.",
)
