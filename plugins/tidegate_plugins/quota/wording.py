"""What callers are told: refusals and headers about limits."""

from collections.abc import Sequence
from datetime import UTC, datetime
from functools import lru_cache
from math import ceil

from tidegate.plugin import Hold, Note, Refuse
from tidegate_plugins.quota.config import NANO
from tidegate_plugins.quota.rules import Hit
from tidegate_plugins.quota.stores import Standing

Headers = tuple[tuple[str, str], ...]
Found = Sequence[tuple[Hit, Standing]]

IN_FLIGHT_S = 2
"""When to try again where requests in flight hold what is missing: nobody knows how long."""

NOUNS = {
    "requests": "requests",
    "input_tokens": "input tokens",
    "output_tokens": "output tokens",
    "tokens": "tokens",
    "usd": "USD",
    "concurrent": "requests at a time",
}


def refusal(full: Found, at: float, notes: tuple[Note, ...], hold: Hold) -> Refuse:
    """Return the refusal of a request for which these limits have no room.

    Of several limits the one is named that takes longest to have room again. A budget that
    is spent, and what can never fit, is not to be tried again by itself.
    """
    waits = [_wait_s(hit, standing, at) for hit, standing in full]
    index = max(range(len(full)), key=lambda i: _rank(waits[i]))
    hit, standing = full[index]
    wait_s = waits[index]
    limit = hit.rule.limit
    return Refuse(
        status=429,
        error_type="rate_limit_error",
        message=_message(hit, standing, wait_s),
        rule=limit.name,
        retry_after_s=wait_s,
        notes=notes,
        headers=(("x-tidegate-limit-name", limit.name), *headers(full)),
        hold=hold,
    )


def _rank(wait_s: int | None) -> float:
    return float("inf") if wait_s is None else wait_s


def _wait_s(hit: Hit, standing: Standing, at: float) -> int | None:
    """Return whole seconds after which the request would have room; None: do not wait."""
    take = hit.take
    if take.amount > take.limit:
        return None
    if standing.used + take.amount <= take.limit:
        return IN_FLIGHT_S
    if hit.rule.measure == "usd":
        return None
    over = standing.used + standing.reserved + take.amount - take.limit
    for dies, amount in standing.slots:
        over -= amount
        if over <= 0:
            return max(ceil(dies - at), 1)
    return IN_FLIGHT_S


def _message(hit: Hit, standing: Standing, wait_s: int | None) -> str:
    rule, take = hit.rule, hit.take
    noun = NOUNS[rule.measure]
    what = f"limit `{rule.limit.name}`: {amount(rule.measure, rule.most)} {noun}{_per(hit)}{_whom(hit)}"
    if take.amount > take.limit:
        needs = f"this request alone may need {amount(rule.measure, take.amount)}"
        return f"{what}; {needs}; lower max_tokens or send less"
    if rule.measure == "concurrent":
        return f"{what} are running; try again when one has ended"
    left = max(take.limit - standing.used - standing.reserved, 0)
    numbers = (
        f"{amount(rule.measure, standing.used)} used, "
        f"{amount(rule.measure, standing.reserved)} reserved by requests that are running, "
        f"{amount(rule.measure, left)} left"
    )
    if rule.measure != "requests":
        numbers += f", and this request may need {amount(rule.measure, take.amount)}"
    if wait_s is None:
        spent = "the budget is spent" if not left else "the budget has not enough left"
        return f"{what}: {spent} ({numbers}); it resets at {_reset(standing)}"
    return f"{what}: {numbers}; try again in {wait_s} s"


def _per(hit: Hit) -> str:
    limit = hit.rule.limit
    if limit.per is None or hit.rule.measure == "concurrent":
        return ""
    return f" in any {limit.per}" if limit.rolling else f" per {limit.per}"


def _whom(hit: Hit) -> str:
    scopes = [scope for scope, _ in hit.subject.values]
    return f" for this {' and '.join(scopes)}" if scopes else ""


def headers(found: Found) -> Headers:
    """Return `x-tidegate-limit-*`: of each measure the limit that has least left."""
    tightest: dict[str, tuple[int, Hit, Standing]] = {}
    for hit, standing in found:
        left = hit.rule.most - standing.used - standing.reserved
        before = tightest.get(hit.rule.measure)
        if before is None or left < before[0]:
            tightest[hit.rule.measure] = (left, hit, standing)
    said: list[tuple[str, str]] = []
    for measure, (left, hit, standing) in tightest.items():
        name = hit.rule.header
        said.append((name + "-limit", _amount(measure, hit.rule.most)))
        said.append((name + "-remaining", amount(measure, max(left, 0))))
        if standing.slots and standing.slots[-1][0]:
            said.append((name + "-reset", _reset(standing)))
    return tuple(said)


def _reset(standing: Standing) -> str:
    return timestamp(standing.slots[-1][0]) if standing.slots else "once"


@lru_cache(1024)
def timestamp(at: int) -> str:
    """Return a time as RFC 3339, as the API writes its own."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def amount(measure: str, value: int) -> str:
    """Return an amount for people: dollars with cents, or as many decimals as it takes."""
    if measure != "usd":
        return str(value)
    whole, rest = divmod(value, NANO)
    decimals = f"{rest:09}".rstrip("0").ljust(2, "0")
    return f"{whole}.{decimals}"


_amount = lru_cache(1024)(amount)
"""For amounts that are said again and again."""
