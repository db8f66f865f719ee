"""What the observers cost: microseconds of CPU a record, milliseconds a flush and a scrape, and
the CPU of all of them together per 1,000 exchanges, the journal's reading and OTLP included.

Run it from the project's folder: `python tests/bench/observer_cost.py`.
"""

import asyncio
import dataclasses
import http.server
import itertools
import multiprocessing
import sys
import tempfile
import time
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import msgspec
from opentelemetry.exporter.otlp.proto.common._log_encoder import encode_logs
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.sdk.resources import Resource

from observed import exchange, host, intent, trace
from support.journals import writer
from tidegate.clock import SystemClock
from tidegate.follower import Follower
from tidegate.journal.keeper import Keeper, Limits
from tidegate.plugin import Observer
from tidegate.record import DecisionRecord, ExchangeRecord, ModelRecord, PrincipalRecord, Record
from tidegate.registry import resolve
from tidegate_plugins.logs.entries import EntryBuilder
from tidegate_plugins.metrics.config import MetricsConfig
from tidegate_plugins.metrics.observer import MetricsObserver
from tidegate_plugins.metrics.state import thaw
from tidegate_plugins.otlp.encoding import encoded
from tidegate_plugins.tracing.sampling import Sampler
from tidegate_plugins.tracing.spans import SpanBuilder
from tidegate_plugins.usage.config import UsageConfig
from tidegate_plugins.usage.observer import UsageObserver

COUNT = 5_000
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
            trace=trace(trace_id=f"{number * 0x9E3779B97F4A7C15 % 2**64:032x}"),
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
    for text, work in (
        ("their encoding (in a thread)", lambda: encoded(spans)),
        ("by the SDK, for comparison", lambda: encode_spans(spans).SerializeToString()),
    ):
        show(f"tracing: {text}", best(work) * each * 10, "µs")


def logs(over: list[ExchangeRecord]) -> None:
    builder = EntryBuilder(Resource.create(), "0")
    some = over[: COUNT // 10]
    each = 1e6 / len(some)
    building = best(lambda: [builder.build(record) for record in some])
    show("logs: the log record of one (in a thread)", building * each, "µs")
    entries = [entry for record in some for entry in builder.build(record)]
    encoding = best(lambda: encode_logs(entries).SerializeToString())
    show("logs: its encoding by the SDK (in a thread)", encoding * each, "µs")


def large_scrape() -> None:
    """Scrape 20,000 series, in both formats."""
    observer = MetricsObserver(MetricsConfig(label_limit=1000), host("metrics"))

    def series() -> int:
        return sum(not line.startswith(b"#") for line in observer.scrape("")[0].splitlines())

    for number in itertools.count():
        name = f"claude-m{number}"
        asyncio.run(observer.on_record(exchange(number, model=ModelRecord(name, name, name))))
        if number % 50 == 0 and series() >= 20_000:
            break
    show("a large scrape: series", series(), "")
    for text, accept in (("text", ""), ("OpenMetrics", "application/openmetrics-text")):
        took = best(lambda accept=accept: observer.scrape(accept), 3)  # type: ignore[misc]
        show(f"a large scrape: {text}, CPU", took * 1000, "ms")
    tracemalloc.start()
    observer.scrape("application/openmetrics-text")
    show("a large scrape: memory while it lasts", tracemalloc.get_traced_memory()[1] / 2**20, "MiB")
    tracemalloc.stop()


class _Sink(http.server.BaseHTTPRequestHandler):
    """Takes whatever it is sent."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        self.send_response(200)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *args: object) -> None:
        pass


def _serve(port: "multiprocessing.Queue[int]") -> None:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Sink)
    port.put(server.server_port)
    server.serve_forever()


@contextmanager
def sink() -> Iterator[str]:
    """A collector in a process of its own, so that its CPU is not counted."""
    port: multiprocessing.Queue[int] = multiprocessing.Queue()
    process = multiprocessing.Process(target=_serve, args=(port,), daemon=True)
    process.start()
    yield f"http://127.0.0.1:{port.get(timeout=10)}"
    process.terminate()
    process.join()


def observatory(over: list[ExchangeRecord]) -> None:
    """Follow one journal with the observers that most will have."""
    with sink() as endpoint, tempfile.TemporaryDirectory() as directory:
        journal = writer(Path(directory))
        for number, record in enumerate(over):
            journal.append(intent(number))
            journal.append(record)
        journal.close()
        to = f'endpoint = "{endpoint}"\n'
        ratio = "sample_ratio = 0.1\n"
        plugins = {"metrics": "", "tracing": to + ratio, "logs": to}
        for chosen in (("metrics",), ("metrics", "tracing"), ("metrics", "tracing", "logs")):
            toml = "".join(
                f'[[plugins]]\nuse = "{name}"\n[plugins.config]\n{plugins[name]}' for name in chosen
            )
            began = time.process_time()
            asyncio.run(_follow(toml, directory))
            took = (time.process_time() - began) / len(over) * 1e6
            show(f"observatory: 1,000 exchanges, {' + '.join(chosen)}", took, "ms")
            for checkpoint in (Path(directory) / "observers").glob("*.checkpoint"):
                checkpoint.unlink()


async def _follow(toml: str, directory: str) -> None:
    config, links = resolve(toml, {"journal": {"dir": directory}})
    clock = SystemClock()
    keeper = Keeper(Path(directory), clock, Limits())
    followers = [Follower(link, config, clock, keeper, tuple) for link in links]
    for follower in followers:
        await follower.start()
    for follower in followers:
        while not await follower.catch_up(60):
            pass
        await follower.stop(30)


def usage(over: list[ExchangeRecord]) -> None:
    with tempfile.TemporaryDirectory() as directory:
        place = dataclasses.replace(host("usage"), state_dir=Path(directory))
        observer = UsageObserver(UsageConfig(), place)
        show("usage: an exchange", best(feeding(observer, [*over])) * 1e6 / COUNT, "µs")
        asyncio.run(observer.flush())

        async def second() -> None:
            for record in over[:100]:
                await observer.on_record(record)
            await observer.flush()

        writing = best(lambda: asyncio.run(second()))
        show("usage: 100 exchanges and their flush", writing * 1000, "ms")
        observer.close()


if __name__ == "__main__":
    found = records()
    lines = [msgspec.json.encode(record) for record in found]
    decoder = msgspec.json.Decoder(ExchangeRecord)
    decoding = best(lambda: [decoder.decode(line) for line in lines])
    show("journal: an exchange from its line, for comparison", decoding * 1e6 / COUNT, "µs")
    metrics(found)
    tracing(found)
    logs(found)
    usage(found)
    large_scrape()
    observatory(found)
