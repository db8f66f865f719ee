"""What the observers cost: microseconds of CPU a record, milliseconds a flush and a scrape.

Run it from the project's folder: `python tests/bench/observer_cost.py`.
"""

import asyncio
import sys
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import msgspec
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.sdk.resources import Resource

from observed import exchange, host, intent
from tidegate.plugin import Observer
from tidegate.record import DecisionRecord, ExchangeRecord, ModelRecord, PrincipalRecord, Record
from tidegate_plugins.metrics.config import MetricsConfig
from tidegate_plugins.metrics.observer import MetricsObserver
from tidegate_plugins.metrics.state import thaw
from tidegate_plugins.tracing.sampling import Sampler
from tidegate_plugins.tracing.spans import SpanBuilder

COUNT = 20_000
LIMITS = {
    f"anthropic-ratelimit-{kind}-{what}": "4000"
    for kind in ("requests", "input-tokens", "output-tokens")
    for what in ("limit", "remaining")
}


def records() -> list[ExchangeRecord]:
    decisions = tuple(
        DecisionRecord(name, "", "admit", "enforce", us=30)
        for name in ("identify", "models", "limits", "redact")
    )
    return [
        exchange(
            number,
            decisions=decisions,
            upstream_limits=LIMITS,
            principal=PrincipalRecord("key", f"team-{number % 20}"),
            edits=() if number % 10 else exchange().edits,
        )
        for number in range(COUNT)
    ]


def best(work: Callable[[], object], rounds: int = 5) -> float:
    """Return the CPU seconds of the fastest round: the machine is not ours alone."""
    took = []
    for _ in range(rounds):
        began = time.process_time()
        work()
        took.append(time.process_time() - began)
    return min(took)


def feeding(observer: Observer, found: list[Record]) -> Callable[[], None]:
    async def feed() -> None:
        for record in found:
            await observer.on_record(record)

    return lambda: asyncio.run(feed())


def show(what: str, value: float, unit: str) -> None:
    print(f"{what:<52}{value:>10.2f} {unit}")


def metrics(over: list[ExchangeRecord]) -> None:
    observer = MetricsObserver(MetricsConfig(), host("metrics"))
    idle = MetricsObserver(MetricsConfig(), host("metrics"))
    each = 1e6 / COUNT
    show("metrics: an exchange", best(feeding(observer, [*over])) * each, "µs")
    show(
        "metrics: an intent",
        best(feeding(idle, [intent(n) for n in range(COUNT)])) * each,
        "µs",
    )
    for number in range(160):
        name = f"claude-m{number}"
        asyncio.run(observer.on_record(exchange(number, model=ModelRecord(name, name, name))))
    lines = observer.scrape("")[0].splitlines()
    show("metrics: series now", sum(not line.startswith(b"#") for line in lines), "")
    flushing = best(lambda: asyncio.run(_changed_flush(observer)))
    show("metrics: a flush of them", flushing * 1000, "ms")
    state = asyncio.run(observer.flush())
    show("metrics: bytes of state", len(state), "")
    show("metrics: a restore of them", best(lambda: thaw(state)) * 1000, "ms")
    show("metrics: a scrape of them, in its thread", best(lambda: observer.scrape("")) * 1000, "ms")


async def _changed_flush(observer: MetricsObserver) -> None:
    await observer.on_record(intent(1))
    await observer.flush()


def tracing(over: list[ExchangeRecord]) -> None:
    builder = SpanBuilder(Resource.create(), "0")
    sampler = Sampler(ratio=0.1, follow_parent=False, slow_s=60)
    each = 1e6 / COUNT
    show(
        "tracing: the decision to keep one",
        best(lambda: [sampler.reason(r) for r in over]) * each,
        "µs",
    )
    some = over[: COUNT // 10]
    building = best(lambda: [builder.build(record, "ratio") for record in some])
    show("tracing: the spans of one (in a thread)", building * each * 10, "µs")
    spans = [span for record in some for span in builder.build(record, "ratio")]
    encoding = best(lambda: encode_spans(spans).SerializeToString())
    show("tracing: their encoding by the SDK (in a thread)", encoding * each * 10, "µs")


if __name__ == "__main__":
    found = records()
    lines = [msgspec.json.encode(record) for record in found]
    decoder = msgspec.json.Decoder(ExchangeRecord)
    decoding = best(lambda: [decoder.decode(line) for line in lines])
    show("journal: an exchange from its line, for comparison", decoding * 1e6 / COUNT, "µs")
    metrics(found)
    tracing(found)
