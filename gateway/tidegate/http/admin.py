"""The admin port: health, readiness and metrics. It only reads."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from aiohttp import web


@dataclass(frozen=True, slots=True)
class Readiness:
    """Whether traffic should be sent here, and if not, why."""

    ready: bool
    reasons: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class AdminSources:
    """What the admin port shows."""

    readiness: Callable[[], Readiness]
    scrape: Callable[[str], Awaitable[tuple[bytes, str] | None]]
    """Takes the Accept header; None while the counters are not yet caught up."""


class AdminPort:
    """Serves `/healthz`, `/readyz` and `/metrics`, and nothing else."""

    def __init__(self, sources: AdminSources) -> None:
        self._sources = sources
        app = web.Application()
        app.router.add_get("/healthz", self._healthz)
        app.router.add_get("/readyz", self._readyz)
        app.router.add_get("/metrics", self._metrics)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)

    async def start(self, host: str, port: int) -> int:
        """Listen; return the port.

        Raises:
            OSError: the address cannot be had.
        """
        await self._runner.setup()
        await web.TCPSite(self._runner, host, port).start()
        address: tuple[str, int] = self._runner.addresses[0]
        return address[1]

    async def close(self) -> None:
        """Stop listening."""
        await self._runner.cleanup()

    async def _healthz(self, _request: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def _readyz(self, _request: web.Request) -> web.Response:
        readiness = self._sources.readiness()
        if readiness.ready:
            return web.Response(text="ready\n")
        return web.Response(status=503, text="".join(f"{why}\n" for why in readiness.reasons))

    async def _metrics(self, request: web.Request) -> web.Response:
        try:
            found = await asyncio.shield(self._sources.scrape(request.headers.get("accept", "")))
        except LookupError:
            text = 'no plugin serves metrics; add [[plugins]] use = "metrics"\n'
            return web.Response(status=404, text=text)
        if found is None:
            return web.Response(status=503, text="still catching up with the journal\n")
        body, content_type = found
        return web.Response(body=body, headers={"content-type": content_type})
