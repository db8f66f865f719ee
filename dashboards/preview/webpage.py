"""Serves the page, the dashboards and, from the same origin, Prometheus."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from aiohttp import ClientSession, web


@asynccontextmanager
async def serve_site(
    page: Path, boards: Path, prometheus: str, scenes: Mapping[str, Any]
) -> AsyncIterator[str]:
    """Give the address of the page."""
    async with ClientSession() as session:

        async def ask(request: web.Request) -> web.Response:
            address = f"{prometheus}/{request.match_info['rest']}"
            async with session.get(address, params=request.query) as answer:
                return web.Response(body=await answer.read(), content_type="application/json")

        async def told(_: web.Request) -> web.Response:
            return web.json_response(dict(scenes))

        async def index(_: web.Request) -> web.FileResponse:
            return web.FileResponse(page / "index.html")

        app = web.Application()
        app.router.add_get("/", index)
        app.router.add_get("/scenes.json", told)
        app.router.add_get("/prom/{rest:.+}", ask)
        app.router.add_static("/boards/", boards)
        app.router.add_static("/assets/", page / "assets")
        runner = web.AppRunner(app)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        try:
            yield f"http://127.0.0.1:{runner.addresses[0][1]}/"
        finally:
            await runner.cleanup()
