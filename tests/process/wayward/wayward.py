"""Plugins of somebody else's that do everything wrong that a plugin can do."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from tidegate.errors import PluginError, Unavailable
from tidegate.exchange import Exchange, Request
from tidegate.plugin import ADMIT, Decision, Host, PluginConfig, PluginSpec, Stage
from tidegate.record import Record

FOREVER_S = 3600.0


class Config(PluginConfig, frozen=True):
    """Nothing."""


class _Observer:
    def __init__(self, config: Config, host: Host) -> None:
        pass

    async def on_record(self, record: Record) -> None:
        pass

    async def flush(self) -> bytes:
        return b""


class Hangs(_Observer):
    async def on_record(self, record: Record) -> None:
        await asyncio.Event().wait()


class Raises(_Observer):
    async def on_record(self, record: Record) -> None:
        raise ValueError("no")


class Exits(_Observer):
    async def on_record(self, record: Record) -> None:
        raise SystemExit(7)


class Cancels(_Observer):
    async def on_record(self, record: Record) -> None:
        raise asyncio.CancelledError


class Burns(_Observer):
    async def on_record(self, record: Record) -> None:
        while True:
            pass


class Blocks(_Observer):
    async def on_record(self, record: Record) -> None:
        time.sleep(FOREVER_S)  # noqa: ASYNC251


class NeverFlushes(_Observer):
    async def flush(self) -> bytes:
        raise Unavailable("nobody there")


class FailsToFlush(_Observer):
    async def flush(self) -> bytes:
        raise RuntimeError("no")


class CannotOpen(_Observer):
    def __init__(self, config: Config, host: Host) -> None:
        raise PluginError("there is nothing here to open")


class Stalls:
    """A policy that stops the worker's event loop for requests with a certain model."""

    def __init__(self, config: Config, host: Host) -> None:
        pass

    async def admit(self, exchange: Exchange, request: Request) -> Decision:
        if request.view.model == "claude-stall":
            print("stalls", flush=True)
            time.sleep(FOREVER_S)  # noqa: ASYNC251
        return ADMIT


def _spec(make: Callable[[Any, Host], Any], stage: Stage | None = None) -> PluginSpec[Config]:
    @asynccontextmanager
    async def opened(config: Config, host: Host) -> AsyncIterator[Any]:
        yield make(config, host)

    return PluginSpec(config=Config, open=opened, stage=stage)


hangs = _spec(Hangs)
raises = _spec(Raises)
exits = _spec(Exits)
cancels = _spec(Cancels)
burns = _spec(Burns)
blocks = _spec(Blocks)
never_flushes = _spec(NeverFlushes)
fails_to_flush = _spec(FailsToFlush)
cannot_open = _spec(CannotOpen)
cannot_open_policy = _spec(CannotOpen, Stage.AUTHORIZE)
stalls = _spec(Stalls, Stage.AUTHORIZE)
