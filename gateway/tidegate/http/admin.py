"""The admin port: health, readiness, metrics, and the pages of observers. It only reads."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from aiohttp import web

from tidegate.config import is_loopback
from tidegate.errors import place_of
from tidegate.plugin import Page

log = logging.getLogger(__name__)

PAGES_AT_ONCE = 2
"""So that pages that hang leave threads for scrapes."""

PAGE_S = 10.0

PAGE_HEADERS = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
}

NO_PAGES = """\
This is the admin port of tidegate: /healthz, /readyz, /metrics.

For a page here that shows tokens, cost and latency, add to the configuration:

[[plugins]]
use = "usage"
"""


class NoPages(Exception):
    """No observer serves any."""


@dataclass(frozen=True, slots=True)
class Readiness:
    """Whether traffic should be sent here, and if not, why."""

    ready: bool
    reasons: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()
    """What is wrong all the same."""


@dataclass(frozen=True, slots=True)
class AdminSources:
    """What the admin port shows."""

    readiness: Callable[[], Readiness]
    scrape: Callable[[str, str], Awaitable[tuple[bytes, str] | None]]
    """Takes the Accept header and an observer's name, or none for the first one; None while
    the counters are not yet caught up. Raises `LookupError`."""
    browse: Callable[[str, Mapping[str, str]], Awaitable[Page | None]]
    """Takes path and query; None where there is no such page. Raises `NoPages`."""


class AdminPort:
    """Serves `/healthz`, `/readyz`, `/metrics`, and what observers show to people."""

    def __init__(self, sources: AdminSources) -> None:
        self._sources = sources
        self._pages = asyncio.Semaphore(PAGES_AT_ONCE)
        self._loopback = True
        app = web.Application()
        app.router.add_get("/healthz", self._healthz)
        app.router.add_get("/readyz", self._readyz)
        app.router.add_get("/metrics", self._metrics)
        app.router.add_get("/metrics/{name}", self._metrics)
        app.router.add_get("/{path:.*}", self._page)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)

    async def start(self, host: str, port: int) -> int:
        """Listen; return the port.

        Raises:
            OSError: the address cannot be had.
        """
        self._loopback = is_loopback(host)
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
        said = (*readiness.reasons, *readiness.remarks)
        if readiness.ready:
            said = ("ready", *said)
        text = "".join(f"{line}\n" for line in said)
        return web.Response(status=200 if readiness.ready else 503, text=text)

    async def _metrics(self, request: web.Request) -> web.Response:
        accept, name = request.headers.get("accept", ""), request.match_info.get("name", "")
        try:
            found = await asyncio.shield(self._sources.scrape(accept, name))
        except LookupError:
            text = 'no plugin serves metrics; add [[plugins]] use = "metrics"\n'
            if name:
                text = "no plugin of that name serves metrics\n"
            return web.Response(status=404, text=text)
        if found is None:
            return web.Response(status=503, text="still catching up with the journal\n")
        body, content_type = found
        return web.Response(body=body, headers={"content-type": content_type})

    async def _page(self, request: web.Request) -> web.Response:
        # A name that somebody else made to point here would give their pages ours to read.
        if self._loopback and not is_loopback(_hostname(request.host)):
            text = "the admin port listens on this machine only; ask for it as localhost\n"
            return web.Response(status=421, text=text)
        try:
            page = await self._browse(request.path, dict(request.query))
        except NoPages:
            status, text = 404, NO_PAGES
        except TimeoutError:
            status, text = 503, "the page takes too long; try again\n"
        except Exception as error:  # noqa: BLE001 - a plugin may raise anything
            log.error("a page failed: %s", place_of(error))  # noqa: TRY400
            status, text = 500, "the page failed; the log says where\n"
        else:
            if page is not None:
                headers = {**PAGE_HEADERS, "content-type": page.content_type}
                return web.Response(status=page.status, body=page.body, headers=headers)
            status, text = 404, "there is no such page\n"
        return web.Response(status=status, text=text)

    async def _browse(self, path: str, query: Mapping[str, str]) -> Page | None:
        """Ask for a page; one that hangs keeps its place until it comes back.

        Raises:
            TimeoutError: it takes too long.
        """
        async with asyncio.timeout(PAGE_S):
            await self._pages.acquire()
            asking = asyncio.ensure_future(self._sources.browse(path, query))
            asking.add_done_callback(self._asked)
            return await asyncio.shield(asking)

    def _asked(self, asking: "asyncio.Future[Page | None]") -> None:
        self._pages.release()
        if not asking.cancelled():
            asking.exception()  # whoever waited has seen it, or has left


def _hostname(host: str) -> str:
    """Return the name in a `Host` header, without port and brackets."""
    name = host.rpartition(":")[0] if not host.endswith("]") and ":" in host else host
    return name.removeprefix("[").removesuffix("]")
