"""What of a record is billed: the passes of models over tokens, in disjoint classes."""

from collections.abc import Iterator
from typing import Any

import msgspec

from tidegate.record import ExchangeRecord, Usage
from tidegate.wire.counts import count

CLASSES = ("input", "output", "cache_read", "cache_write_5m", "cache_write_1h")
"""Of tokens; `Tokens` has them in this order."""

Tokens = tuple[int, int, int, int, int]


class Pass(msgspec.Struct, frozen=True):
    """One run of one model."""

    model: str
    """As the answer writes it; empty where nothing names one."""
    tokens: Tokens
    billed: bool = True
    """False: declined before any output; counts are shown, but not charged."""
    own: bool = True
    """Of the model that answered, not of an advisor or of one that was tried before."""


def passes(record: ExchangeRecord) -> tuple[Pass, ...]:
    """Return what an exchange ran (messages-api sheet, section 3.2).

    Each of `usage.iterations` where there are any: compaction, advisors and fallbacks are in
    no other number. Otherwise the usage itself.
    """
    usage = record.usage
    if usage is None:
        return ()
    return tuple(_iterations(record, usage)) or (_whole(record, usage),)


def answered(record: ExchangeRecord) -> str:
    """Return the model that is charged: the one that answered, or was sent, or asked for."""
    model = record.model
    return model.answered or model.sent or model.asked or ""


def _whole(record: ExchangeRecord, usage: Usage) -> Pass:
    declined = record.stop_reason == "refusal" and not usage.output
    writes = (usage.cache_write_5m, usage.cache_write_1h)
    tokens = (usage.input, usage.output, usage.cache_read, *writes)
    return Pass(answered(record), tokens, billed=not declined)


def _iterations(record: ExchangeRecord, usage: Usage) -> Iterator[Pass]:
    counted = [(raw, _tokens(raw)) for raw in usage.iterations]
    if not any(any(tokens) for _, tokens in counted):
        return
    last = len(counted) - 1
    for index, (raw, tokens) in enumerate(counted):
        if index < last:
            declined = counted[index + 1][0].get("type") == "fallback_message"
        else:
            declined = record.stop_reason == "refusal"
        own = answered(record)
        model = raw.get("model")
        model = model if isinstance(model, str) and model else own
        yield Pass(model, tokens, billed=not (declined and not tokens[1]), own=model == own)


def _tokens(raw: dict[str, Any]) -> Tokens:
    write = count(raw, "cache_creation_input_tokens")
    split = raw.get("cache_creation")
    split = split if isinstance(split, dict) else {}
    long = count(split, "ephemeral_1h_input_tokens")
    # Without a split, or beyond it, writes are taken to be the shorter ones.
    short = max(count(split, "ephemeral_5m_input_tokens"), write - long)
    sums = [count(raw, f"{name}_tokens") for name in ("input", "output", "cache_read_input")]
    return (sums[0], sums[1], sums[2], short, long)
