"""One line of the list of the latest exchanges."""

import msgspec

from tidegate.record import ExchangeRecord
from tidegate_plugins.prices import Cost
from tidegate_plugins.usage.facts import Fact, clean, plausible


class Latest(msgspec.Struct, frozen=True):
    """What is shown of an exchange: never content, nor who may have written what."""

    id: str
    at: float
    """When it was over, in seconds since the epoch."""
    team: str
    principal: str
    model: str
    route: str
    outcome: str
    status: int | None
    reason: str
    """Of a refusal, an error or the answer's end."""
    prompt: int
    """Tokens, cache reads and writes included."""
    cached: int
    """Of these, read from the cache."""
    output: int
    nano_usd: int
    first_token_ms: float | None
    total_ms: float
    redactions: int
    partial: bool


def latest_of(record: ExchangeRecord, fact: Fact, cost: Cost) -> Latest:
    """Return the line of a record."""
    team, principal, model, route, outcome = fact.group
    usage, timing = plausible(record.usage), record.timing_ms
    refused = next((name for kind, name in fact.reasons if kind == "refused"), "")
    return Latest(
        id=clean(record.id),
        at=fact.at,
        team=team,
        principal=principal,
        model=model,
        route=route,
        outcome=outcome,
        status=record.status,
        reason=refused or clean(record.error_type or record.stop_reason or "-"),
        prompt=usage.input + usage.cache_read + usage.cache_write_5m + usage.cache_write_1h,
        cached=usage.cache_read,
        output=usage.output,
        nano_usd=cost.nano_usd,
        first_token_ms=timing.first_token,
        total_ms=timing.total,
        redactions=sum(kind == "redacted" for kind, _ in fact.reasons),
        partial=record.usage_source == "partial",
    )
