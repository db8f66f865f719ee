"""Delivery: what goes into one export, and that each thing arrives, in order."""

from typing import Any

import pytest

from tidegate.errors import Unavailable
from tidegate_plugins.otlp import delivery
from tidegate_plugins.otlp.config import OtlpConfig
from tidegate_plugins.otlp.delivery import Delivery
from tidegate_plugins.otlp.export import Result
from tidegate_plugins.otlp.settings import LOGS, destination


class Collector:
    """Takes items in memory; fails as often as it is told to."""

    answer = "it answers 400"

    def __init__(self) -> None:
        self.batches: list[list[str]] = []
        self.failures = 0
        self.refused = ""

    def send(self, items: list[str]) -> Result:
        if self.failures:
            self.failures -= 1
            return Result.FAILED
        if self.refused in items:
            return Result.UNACCEPTABLE
        self.batches.append(items)
        return Result.SENT


@pytest.fixture
def collector() -> Collector:
    return Collector()


def to(collector: Any, *, most: int = 512) -> Delivery:
    environ = {"OTEL_BLRP_MAX_EXPORT_BATCH_SIZE": str(most)}
    where = destination(OtlpConfig(endpoint="http://127.0.0.1:1"), environ, LOGS)
    assert where is not None
    return Delivery(where, collector, items_each=1)


async def keep(it: Delivery, *names: str, size: int = 0) -> None:
    for name in names:
        await it.add(name, lambda name=name: [name], size)  # type: ignore[misc]


async def test_an_export_has_no_more_items_than_it_may(collector: Collector) -> None:
    it = to(collector, most=2)
    await keep(it, *"abcde")
    await it.flush()
    assert collector.batches == [["a", "b"], ["c", "d"], ["e"]]


async def test_an_export_has_no_more_content_than_it_may(collector: Collector) -> None:
    it = to(collector)
    third = delivery.MAX_BATCH_BYTES // 3
    await keep(it, *"abcd", size=third)
    await keep(it, "large", size=delivery.MAX_BATCH_BYTES * 2)
    await keep(it, "small")
    await it.flush()
    assert collector.batches == [["a", "b", "c"], ["d"], ["large"], ["small"]]


async def test_what_failed_is_sent_again_in_its_order(collector: Collector) -> None:
    it = to(collector, most=2)
    await keep(it, *"abc")
    collector.failures = 1
    with pytest.raises(Unavailable, match="logs took nothing"):
        await it.flush()
    await keep(it, "d")
    assert await it.flush() == b""
    assert collector.batches == [["a", "b"], ["c", "d"]]


async def test_what_is_refused_for_good_does_not_hold_up_the_rest(
    collector: Collector, caplog: pytest.LogCaptureFixture
) -> None:
    it = to(collector)
    collector.refused = "c"
    await keep(it, *"abcd")
    await it.flush()
    assert [item for batch in collector.batches for item in batch] == ["a", "b", "d"]
    assert "refuses c: it answers 400" in caplog.text


async def test_too_much_content_waits_in_the_journal(
    collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delivery, "RETRY_S", 0.0)
    monkeypatch.setattr(delivery, "MAX_PENDING_BYTES", 10)
    it = to(collector)
    await keep(it, "a", size=10)
    collector.failures = 3
    await keep(it, "b")
    assert collector.failures == 0
    assert collector.batches == [["a"]]
