"""What the metrics' observer pays to save its series, beside what a scrape of them pays."""

import asyncio
import timeit

from observed import exchange, host
from tidegate.record import ModelRecord
from tidegate_plugins.metrics.config import MetricsConfig
from tidegate_plugins.metrics.observer import MetricsObserver

ROUNDS = 5


async def test_saving_five_thousand_series_costs_less_than_a_twentieth_of_a_scrape() -> None:
    observer = MetricsObserver(MetricsConfig(), host("metrics"))
    for number in range(200):
        name = f"claude-m{number}"
        await observer.on_record(exchange(number, model=ModelRecord(name, name, name)))
    lines = observer.scrape("")[0].splitlines()
    assert sum(not line.startswith(b"#") for line in lines) > 5000

    saving, scraping = [], []
    clock = asyncio.get_running_loop().time
    for number in range(ROUNDS):  # alternating: whatever else the machine does is in both
        await observer.on_record(exchange(number))
        started = clock()
        await observer.flush()
        saving.append(clock() - started)
        scraping.append(timeit.timeit(lambda: observer.scrape(""), number=1))

    assert min(saving) < min(scraping) / 20
