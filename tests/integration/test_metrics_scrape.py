"""The exposition as Prometheus and its tools see it, and as a busy observer serves it."""

import asyncio
import os
import shutil
import subprocess
import threading

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from observed import exchange, host, intent, refusal, vitals
from tidegate.record import ModelRecord, PrincipalRecord, Usage
from tidegate.testing.records import make_shadow_difference
from tidegate_plugins.metrics import catalogue, plugin
from tidegate_plugins.metrics.config import MetricsConfig
from tidegate_plugins.metrics.observer import MetricsObserver

OPENMETRICS = "application/openmetrics-text; version=1.0.0"


@pytest.fixture
async def busy() -> MetricsObserver:
    """An observer that has seen some of everything."""
    async with plugin.open(MetricsConfig(), host("metrics")) as observer:
        unpriced = ModelRecord("claude-9", "claude-9", "claude-9")
        limits = {
            "anthropic-ratelimit-requests-remaining": "4",
            "anthropic-ratelimit-requests-limit": "5",
        }
        for record in (
            vitals(0),
            vitals(1),
            intent(1),
            exchange(1, upstream_limits=limits),
            intent(2),
            exchange(2, outcome="upstream_cut", status=200, meter="event_too_large"),
            refusal(3),
            intent(4),
            exchange(5, usage=Usage(web_search_requests=1), model=unpriced),
            make_shadow_difference(exchange(6)),
        ):
            await observer.on_record(record)
        assert isinstance(observer, MetricsObserver)
        return observer


@pytest.mark.skipif(
    not shutil.which("promtool") and os.environ.get("CI") != "true",
    reason="promtool (package prometheus) is not installed",
)
async def test_promtool_finds_nothing_to_say(busy: MetricsObserver) -> None:
    data, _ = busy.scrape("text/plain")
    done = await asyncio.to_thread(
        subprocess.run,
        ["promtool", "check", "metrics"],
        input=data,
        capture_output=True,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


async def test_openmetrics_parses_and_has_every_metric(busy: MetricsObserver) -> None:
    text = busy.scrape(OPENMETRICS)[0].decode()
    families = {family.name: family for family in text_string_to_metric_families(text)}
    for counter in catalogue.COUNTERS:
        assert families[counter.name.removesuffix("_total")].samples, counter.name
    for histogram in catalogue.HISTOGRAMS:
        assert families[histogram.name].samples, histogram.name


async def test_a_scrape_in_another_thread_never_sees_half_a_record() -> None:
    observer = MetricsObserver(MetricsConfig(), host("metrics"))
    stop = threading.Event()

    def scrape_on() -> list[tuple[float, float, float]]:
        seen = []
        while not stop.is_set():
            text = observer.scrape(OPENMETRICS)[0].decode()
            samples = [s for f in text_string_to_metric_families(text) for s in f.samples]
            seen.append(
                (
                    sum(s.value for s in samples if s.name == "tidegate_requests_total"),
                    sum(s.value for s in samples if s.name.startswith("tidegate_tokens_total"))
                    / 151,
                    sum(
                        s.value
                        for s in samples
                        if s.name == "tidegate_request_duration_seconds_count"
                    ),
                )
            )
        return seen

    scraping = asyncio.ensure_future(asyncio.to_thread(scrape_on))
    for number in range(3000):
        await observer.on_record(exchange(number, principal=PrincipalRecord("k", f"t{number % 5}")))
        if number % 100 == 0:
            await observer.flush()
            await asyncio.sleep(0.001)
    stop.set()
    seen = await scraping
    assert len(seen) > 1
    assert all(requests == tokens == durations for requests, tokens, durations in seen)
