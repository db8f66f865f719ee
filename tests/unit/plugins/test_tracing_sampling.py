"""What is worth a trace, and that others choose the same ones."""

import pytest
from opentelemetry.sdk.trace.sampling import Decision, TraceIdRatioBased

from observed import exchange, refusal, trace
from tidegate.record import DecisionRecord, ExchangeRecord, Timing
from tidegate_plugins.tracing.sampling import Sampler

PLAIN = {"edits": (), "decisions": ()}


def reason(record: ExchangeRecord, *, ratio: float = 0.0, follow_parent: bool = False) -> str:
    return Sampler(ratio=ratio, follow_parent=follow_parent, slow_s=60).reason(record)


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        (exchange(**PLAIN), ""),
        (exchange(**PLAIN, outcome="client_gone"), ""),
        (exchange(), "edited"),
        (refusal(), "refused"),
        (exchange(**PLAIN, outcome="upstream_error"), "error"),
        (exchange(**PLAIN, outcome="worker_lost"), "error"),
        (exchange(**PLAIN, timing_ms=Timing(total=60_000.0)), "slow"),
        (
            exchange(edits=(), decisions=(DecisionRecord("models", "x", "refuse", "shadow"),)),
            "policy",
        ),
        (exchange(edits=(), decisions=(DecisionRecord("quota", "", "error", "admit"),)), "policy"),
        (refusal(route="none"), "refused"),
        (refusal(route="probe"), ""),
        (exchange(trace=None), ""),
    ],
)
def test_what_is_always_kept(record: ExchangeRecord, expected: str) -> None:
    assert reason(record) == expected


@pytest.mark.parametrize("ratio", [0.0, 0.1, 0.5, 0.999, 1.0])
def test_the_ratio_keeps_what_the_sdk_would_keep(ratio: float) -> None:
    theirs = TraceIdRatioBased(ratio)
    step = (1 << 64) // 97
    for number in range(97):
        trace_id = (number << 90) + number * step
        record = exchange(**PLAIN, trace=trace(trace_id=f"{trace_id:032x}"))
        kept = theirs.should_sample(None, trace_id, "x").decision is Decision.RECORD_AND_SAMPLE
        assert bool(reason(record, ratio=ratio)) is kept


@pytest.mark.parametrize(
    ("ratio", "flags", "parent", "expected"),
    [
        (0.0, 1, "00f067aa0ba902b7", "ratio"),
        (1.0, 0, "00f067aa0ba902b7", ""),
        (1.0, 0, None, "ratio"),
    ],
)
def test_the_callers_decision_counts_only_where_configured(
    ratio: float, flags: int, parent: str | None, expected: str
) -> None:
    record = exchange(**PLAIN, trace=trace(flags=flags, parent_id=parent))
    assert reason(record, ratio=ratio, follow_parent=True) == expected
    assert reason(record, ratio=ratio) == ("ratio" if ratio else "")
