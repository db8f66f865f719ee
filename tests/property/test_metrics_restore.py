"""A restart at any moment is invisible: same records, same exposition."""

import asyncio

from hypothesis import given, settings
from hypothesis import strategies as st

from observed import AT, exchange, host, intent, refusal, trace, vitals
from tidegate.record import (
    EditRecord,
    ExchangeRecord,
    ModelRecord,
    PrincipalRecord,
    Record,
    SegmentStart,
    Timing,
    Usage,
    WriterEnd,
)
from tidegate_plugins.metrics.config import MetricsConfig
from tidegate_plugins.metrics.observer import MetricsObserver
from tidegate_plugins.metrics.state import thaw

CONFIG = MetricsConfig(label_limit=4)

numbers = st.integers(0, 20)
milliseconds = st.floats(0, 5_000_000, allow_subnormal=False)
tokens = st.integers(0, 10**7)
models = st.sampled_from([None, "gpt", *(f"claude-{name}" for name in "abcdefgh")])
usages = st.builds(Usage, tokens, tokens, tokens, tokens, tokens, tokens)
timings = st.builds(
    Timing,
    first_byte=st.none() | milliseconds,
    first_token=st.none() | milliseconds,
    last_byte=st.none() | milliseconds,
    total=milliseconds,
    overhead=milliseconds,
)
exchanges: st.SearchStrategy[ExchangeRecord] = st.builds(
    exchange,
    numbers,
    model=st.builds(ModelRecord, models, models, models),
    principal=st.builds(PrincipalRecord, st.none(), st.none() | st.text(max_size=3)),
    route=st.sampled_from(["messages", "count_tokens", "models", "probe"]),
    status=st.none() | st.sampled_from([200, 429, 529]),
    outcome=st.sampled_from(["complete", "client_gone", "upstream_error", "worker_lost"]),
    error_type=st.none() | st.text(max_size=2),
    stop_reason=st.none() | st.text(max_size=2),
    usage=st.none() | usages,
    timing_ms=timings,
    trace=st.none() | st.builds(trace, numbers),
    edits=st.lists(
        st.builds(
            EditRecord, st.just("/"), st.text(max_size=1), numbers, numbers, st.just("redact")
        ),
        max_size=2,
    ).map(tuple),
    upstream_limits=st.none() | st.just({"anthropic-ratelimit-requests-remaining": "4"}),
)
records: st.SearchStrategy[Record] = st.one_of(
    exchanges,
    st.builds(refusal, numbers),
    st.builds(intent, numbers),
    st.builds(vitals, st.integers(0, 2), at=st.floats(AT, AT + 60), reloads=st.integers(0, 5)),
    st.builds(
        SegmentStart,
        at=st.just(AT),
        writer=st.just("w"),
        sequence=numbers,
        open=st.lists(st.builds(intent, numbers), max_size=2).map(tuple),
    ),
    st.builds(
        WriterEnd, at=st.just(AT), writer=st.just("w"), by=st.sampled_from(["writer", "recovery"])
    ),
)


def exposition(observer: MetricsObserver) -> list[bytes]:
    data, _ = observer.scrape("application/openmetrics-text; version=1.0.0")
    return [line for line in data.splitlines() if b"tidegate_" in line]


async def observe(sequence: list[Record], restarts: set[int]) -> MetricsObserver:
    observer = MetricsObserver(CONFIG, host("metrics"))
    for place, record in enumerate(sequence):
        if place in restarts:
            observer = MetricsObserver(CONFIG, host("metrics", state=await observer.flush()))
        await observer.on_record(record)
    return observer


@given(st.lists(records, max_size=30), st.sets(st.integers(0, 29)))
@settings(max_examples=150, deadline=None)
def test_a_restart_anywhere_changes_nothing(sequence: list[Record], restarts: set[int]) -> None:
    restarted = asyncio.run(observe(sequence, restarts))
    assert exposition(restarted) == exposition(asyncio.run(observe(sequence, set())))


@given(st.lists(records, max_size=30), st.sets(st.integers(0, 29)))
@settings(max_examples=100, deadline=None)
def test_every_exchange_and_token_is_counted_once(
    sequence: list[Record], restarts: set[int]
) -> None:
    state = thaw(asyncio.run(asyncio.run(observe(sequence, restarts)).flush()))

    def total(name: str) -> int:
        return sum(series.value for series in state.counters[name].values())

    over = [record for record in sequence if isinstance(record, ExchangeRecord)]
    used = [record.usage for record in over if record.usage is not None]
    assert total("tidegate_requests_total") == len(over)
    assert total("tidegate_observer_records_total") == len(sequence)
    assert total("tidegate_tokens_total") == sum(
        usage.input + usage.cache_read + usage.cache_write_5m + usage.cache_write_1h + usage.output
        for usage in used
    )
