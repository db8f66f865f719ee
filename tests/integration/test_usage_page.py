"""The page on the admin port, in a real browser: it draws, obeys its policy, and trusts nobody's text."""

import os
import shutil
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from observed import exchange, refusal
from tidegate.http.admin import AdminPort, AdminSources, Readiness
from tidegate.plugin import Page
from tidegate.record import ModelRecord, PrincipalRecord
from tidegate.testing import FakeClock, open_plugin
from tidegate_plugins.usage import plugin

playwright = pytest.importorskip("playwright.async_api", reason="playwright is not installed")
CHROMIUM = shutil.which("chromium")
pytestmark = [
    pytest.mark.timeout(180),
    pytest.mark.skipif(
        CHROMIUM is None and os.environ.get("CI") != "true",
        reason="chromium (Debian's package) is not installed",
    ),
]

NOW = 1_800_000_100.0
EVIL = '<img src=x onerror="document.title=1">'
SIZES = {"desk": (1280, 800), "phone": (360, 740)}


async def scrape(accept: str) -> tuple[bytes, str]:
    return b"", "text/plain"


class Site:
    """The admin port with the page of one observer."""

    def __init__(self, url: str, observer: Any) -> None:
        self.url = url
        self.observer = observer

    async def record(self, *records: Any) -> None:
        for record in records:
            await self.observer.on_record(record)
        await self.observer.flush()


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    async with open_plugin(plugin, state_dir=tmp_path, clock=FakeClock(NOW)) as observer:

        async def browse(path: str, query: Mapping[str, str]) -> Page | None:
            found: Page | None = observer.page(path, query)
            return found

        admin = AdminPort(AdminSources(lambda: Readiness(ready=True), scrape, browse))
        port = await admin.start("127.0.0.1", 0)
        yield Site(f"http://127.0.0.1:{port}/", observer)
        await admin.close()


@pytest.fixture
async def browser() -> AsyncIterator[Any]:
    async with playwright.async_playwright() as driver:
        found = await driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield found
        await found.close()


async def opened(browser: Any, url: str, said: list[str], **how: Any) -> Any:
    page = await (await browser.new_context(**how)).new_page()
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    here = url.partition("#")[0]
    page.on("request", lambda request: request.url.startswith(here) or said.append(request.url))
    await page.goto(url)
    return page


async def test_it_shows_what_was_recorded(site: Site, browser: Any) -> None:
    evil = PrincipalRecord(EVIL, EVIL)
    await site.record(
        *(exchange(n, at=NOW - 60 + n) for n in range(20)),
        exchange(30, at=NOW - 9, principal=evil, model=ModelRecord(EVIL, EVIL, EVIL)),
        refusal(31, at=NOW - 8),
    )
    said: list[str] = []
    for size, (width, height) in SIZES.items():
        for scheme in ("light", "dark"):
            how = {"viewport": {"width": width, "height": height}, "color_scheme": scheme}
            page = await opened(browser, site.url, said, **how)
            await page.wait_for_selector("#latest tbody tr")
            assert await page.locator("#latest tbody tr").count() == 22
            assert await page.locator("#totals .tile").nth(1).locator(".value").inner_text() == "22"
            assert await page.locator("figure canvas").count() >= 6
            assert EVIL in await page.locator("#teams tbody").inner_text()
            assert await page.locator("td img, th img").count() == 0
            assert await page.title() == "tidegate: usage"
            wide = await page.evaluate("document.documentElement.scrollWidth")
            assert wide <= width, size  # tables scroll by themselves
            background = await page.evaluate("getComputedStyle(document.body).backgroundColor")
            assert (sum(map(int, background[4:-1].split(", "))) < 200) == (scheme == "dark")
            await page.context.close()
    assert said == []


async def test_it_is_live_and_its_range_can_be_chosen_by_keyboard(site: Site, browser: Any) -> None:
    await site.record(exchange(1, at=NOW - 60))
    said: list[str] = []
    page = await opened(browser, f"{site.url}#15m", said)
    value = page.locator("#totals .tile").nth(1).locator(".value")
    await page.wait_for_selector("#totals .tile")
    await site.record(exchange(2, at=NOW - 30), exchange(3, at=NOW - 3 * 3600))
    await playwright.expect(value).to_have_text("2", timeout=15_000)
    await page.locator("input[value='15m']").focus()
    for _ in range(3):
        await page.keyboard.press("ArrowRight")
    await playwright.expect(value).to_have_text("3", timeout=15_000)
    assert page.url.endswith("#24h")
    for figure in await page.locator("figure").all():
        label = await figure.locator(".plot").get_attribute("aria-label")
        assert label
        assert "undefined" not in label
        assert "NaN" not in label
    assert said == []


async def test_without_anything_it_explains(site: Site, browser: Any) -> None:
    said: list[str] = []
    page = await opened(browser, site.url, said)
    await playwright.expect(page.locator("#empty")).to_be_visible()
    assert "tidegate demo" in await page.locator("#empty").inner_text()
    await site.record(exchange(1, at=NOW - 60))
    await playwright.expect(page.locator("#content")).to_be_visible(timeout=15_000)
    await playwright.expect(page.locator("#empty")).to_be_hidden()
    assert said == []
