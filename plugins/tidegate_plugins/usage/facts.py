"""From a record to what is counted of it: groups, amounts, reasons, latencies."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

from tidegate.record import ExchangeRecord, Usage
from tidegate_plugins.prices import Cost

NONE = "none"
"""Where a record says nothing."""
OTHER = "other"
MAX_TEXT = 128

GROUP = ("team", "principal", "model", "route", "outcome")
TOKENS = ("input", "cache_read", "cache_write_5m", "cache_write_1h", "output")
"""Disjoint: their sum is all that was processed."""
AMOUNTS = (
    *("requests", *TOKENS, "thinking", "web_searches"),
    *("nano_usd", "unpriced", "partial", "redactions"),
)
MEASURES = ("first_token", "total", "overhead")

MODEL_ROUTES = frozenset(("messages", "count_tokens"))
MAX_TOKENS = 2**40
"""No answer has more: what an upstream says must not overflow a sum."""

STEPS_PER_OCTAVE = 4
"""Of latency buckets: neighbours differ by a fifth."""

Group = tuple[str, ...]
Amounts = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Fact:
    """What one exchange adds."""

    at: float
    """When it was over, in seconds since the epoch."""
    group: Group
    amounts: Amounts
    reasons: tuple[tuple[str, str], ...]
    """Kind (`refused`, `redacted`, `stopped`) and name."""
    latencies: tuple[tuple[str, int], ...]
    """Measure and bucket."""


def fact_of(record: ExchangeRecord, cost: Cost, redactors: frozenset[str]) -> Fact:
    """Return what a record says."""
    reasons = tuple(_reasons(record, redactors))
    redacted = sum(kind == "redacted" for kind, _ in reasons)
    return Fact(
        at=record.at + record.timing_ms.total / 1000,
        group=group_of(record),
        amounts=(*_amounts(record, cost), redacted),
        reasons=reasons,
        latencies=tuple(_latencies(record)),
    )


def group_of(record: ExchangeRecord) -> Group:
    """Return in which group it is counted, in the order of `GROUP`."""
    principal = record.principal
    return (
        clean(principal.team),
        clean(principal.id),
        model_of(record),
        clean(record.route),
        clean(record.outcome),
    )


def model_of(record: ExchangeRecord) -> str:
    """Return the model that answered; one that was only asked for may be anything."""
    model = record.model
    if model.answered:
        return clean(model.answered)
    asked = model.sent or model.asked
    if asked is None:
        return NONE
    return clean(asked) if asked.startswith("claude-") else OTHER


def clean(text: str | None) -> str:
    """Return somebody's text, short and without control characters."""
    if not text:
        return NONE
    short = text[:MAX_TEXT]
    return short if short.isprintable() else "".join(c if c.isprintable() else "�" for c in short)


def _amounts(record: ExchangeRecord, cost: Cost) -> Amounts:
    usage = plausible(record.usage)
    return (
        1,
        *(usage.input, usage.cache_read, usage.cache_write_5m, usage.cache_write_1h),
        *(usage.output, usage.thinking, usage.web_search_requests),
        cost.nano_usd if usage is record.usage else 0,
        int(usage is record.usage and not cost.priced),
        int(record.usage_source == "partial"),
    )


def plausible(usage: Usage | None) -> Usage:
    """Return the usage, or none at all if it holds what cannot be."""
    if usage is None:
        return _NO_USAGE
    amounts = [getattr(usage, name) for name in (*TOKENS, "thinking", "web_search_requests")]
    return usage if min(amounts) >= 0 and max(amounts) <= MAX_TOKENS else _NO_USAGE


_NO_USAGE = Usage()


def _reasons(record: ExchangeRecord, redactors: frozenset[str]) -> Iterator[tuple[str, str]]:
    if record.refused_by is not None:
        yield "refused", clean(f"{record.refused_by.plugin}: {record.refused_by.rule}")
    if record.stop_reason is not None:
        yield "stopped", clean(record.stop_reason)
    for rule in redactions(record, redactors):
        yield "redacted", clean(rule)


def redactions(record: ExchangeRecord, redactors: frozenset[str]) -> Iterator[str]:
    """Yield the rule of each secret that was masked, blocked, or seen and left."""
    for edit in record.edits:
        if edit.plugin in redactors:
            yield f"mask: {edit.rule}"
    for decision in record.decisions:
        if decision.plugin not in redactors:
            continue
        if decision.verdict == "found":
            yield f"detect: {decision.rule}"
        elif decision.verdict == "blocked" and decision.mode == "enforce":
            yield f"block: {decision.rule}"


def _latencies(record: ExchangeRecord) -> Iterator[tuple[str, int]]:
    timing = record.timing_ms
    # Where recovery closed it, nobody knows how long it took.
    if record.route not in MODEL_ROUTES or not timing.total:
        return
    yield "overhead", bucket_of(timing.overhead)
    if record.dispatched:
        yield "total", bucket_of(timing.total)
    if timing.first_token is not None:
        yield "first_token", bucket_of(timing.first_token)


def bucket_of(milliseconds: float) -> int:
    """Return the number of the bucket of a duration: `STEPS_PER_OCTAVE` for each doubling."""
    return math.floor(STEPS_PER_OCTAVE * math.log2(max(1.0, milliseconds * 1000)))


def lower_bound_ms(bucket: float) -> float:
    """Return where a bucket begins."""
    return float(2 ** (bucket / STEPS_PER_OCTAVE) / 1000)
