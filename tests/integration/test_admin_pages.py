"""Pages on the admin port: read-only, on a short leash, closed to other people's web pages."""

import asyncio
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager

import aiohttp
import pytest

from tidegate.http import admin as module
from tidegate.http.admin import AdminPort, AdminSources, NoPages, Readiness
from tidegate.plugin import Page

Browse = Callable[[str, Mapping[str, str]], Awaitable[Page | None]]


@asynccontextmanager
async def admin(browse: Browse, host: str = "127.0.0.1") -> AsyncIterator[aiohttp.ClientSession]:
    async def scrape(accept: str, name: str) -> tuple[bytes, str]:
        return b"metrics", "text/plain"

    port = AdminPort(AdminSources(lambda: Readiness(ready=True), scrape, browse))
    number = await port.start(host, 0)
    try:
        async with aiohttp.ClientSession(f"http://127.0.0.1:{number}") as session:
            yield session
    finally:
        await port.close()


async def echo(path: str, query: Mapping[str, str]) -> Page | None:
    if path == "/none":
        return None
    return Page(body=f"{path} {dict(query)}".encode(), content_type="text/plain", status=203)


async def no_pages(path: str, query: Mapping[str, str]) -> Page | None:
    raise NoPages


async def test_a_page_is_served_as_it_is_under_a_strict_policy() -> None:
    async with admin(echo) as session:
        async with session.get("/a/b?range=1h") as answer:
            assert (answer.status, await answer.text()) == (203, "/a/b {'range': '1h'}")
            policy = answer.headers["content-security-policy"]
            assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self'")
            assert "unsafe" not in policy
            assert answer.headers["x-content-type-options"] == "nosniff"
        async with session.head("/a") as answer:
            assert (answer.status, await answer.read()) == (203, b"")
        async with session.get("/none") as answer:
            assert answer.status == 404


async def test_pages_do_not_stand_in_for_health_and_metrics() -> None:
    async with admin(echo) as session:
        for path, text in (("/healthz", "ok\n"), ("/readyz", "ready\n"), ("/metrics", "metrics")):
            async with session.get(path) as answer:
                assert (answer.status, await answer.text()) == (200, text)


async def test_without_pages_it_says_how_to_have_some() -> None:
    async with admin(no_pages) as session, session.get("/") as answer:
        assert answer.status == 404
        assert 'use = "usage"' in await answer.text()


@pytest.mark.parametrize(
    ("host", "status"),
    [
        *(("127.0.0.1:9464", 203), ("localhost:9464", 203), ("[::1]:9464", 203), ("[::1]", 203)),
        *(("rebound.example", 421), ("rebound.example:9464", 421), ("127.0.0.1.example", 421)),
    ],
)
async def test_on_loopback_only_names_of_this_machine_are_served(host: str, status: int) -> None:
    async with admin(echo) as session, session.get("/", headers={"Host": host}) as answer:
        assert answer.status == status


async def test_elsewhere_any_name_is() -> None:
    async with (
        admin(echo, "0.0.0.0") as session,
        session.get("/", headers={"Host": "tidegate.internal:9464"}) as answer,
    ):
        assert answer.status == 203


async def test_pages_that_hang_or_fail_leave_the_rest_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "PAGE_S", 0.05)
    leave = threading.Event()

    async def browse(path: str, query: Mapping[str, str]) -> Page | None:
        if path == "/fails":
            raise KeyError(path)
        await asyncio.to_thread(leave.wait)
        return None

    async with admin(browse) as session:
        async with session.get("/fails") as answer:
            assert answer.status == 500
        for _ in range(4):
            async with session.get("/hangs") as answer:
                assert answer.status == 503
        async with session.get("/metrics") as answer:
            assert answer.status == 200
        leave.set()
        async with asyncio.timeout(5):
            while True:
                async with session.get("/hangs") as answer:
                    if answer.status == 404:  # it has come back
                        return
