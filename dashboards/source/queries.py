"""PromQL, put together: every selector carries the variables of its dashboard."""

SCOPE = 'job=~"$job", instance=~"$instance", environment=~"$environment"'
"""`environment` is a label of the scrape; where there is none, `.*` matches that too."""
TEAM = 'team=~"$team"'
MODEL = 'model=~"$model"'
MESSAGES = 'route="messages"'

LOOSE_SCOPE = 'job=~"$job|", instance=~"$instance|", environment=~"$environment|"'
"""For alerts, which have only those of the labels that their rule keeps."""

RATE = "$__rate_interval"
RANGE = "$__range"

OURS = 'outcome=~"failed|worker_lost|drained"'
"""Ends that the gateway itself is to blame for, as in `prometheus/rules.yml`."""
OURS_REFUSED = 'outcome="refused", status=~"5.."'
"""And what it refused because a part of it failed."""
UPSTREAM_FAILED = 'outcome=~"upstream_.+|unreachable"'
NOT_VALID = 'outcome="refused", status=~"4.."'
"""The caller's mistakes, and what policy forbids: neither good nor bad."""


def of(metric: str, *matchers: str) -> str:
    """Return a selector of the metric within the dashboard's variables."""
    return f"{metric}{{{', '.join((SCOPE, *matchers))}}}"


def firing() -> str:
    """Return a selector of the shipped alerts that fire."""
    return f'ALERTS{{{LOOSE_SCOPE}, alertname=~"Tidegate.+", alertstate="firing"}}'


def gathered(function: str, expression: str, by: str) -> str:
    """Return `function by (labels) (expression)`; `by` is a list such as `model, team`."""
    return f"{function} by ({by}) ({expression})" if by else f"{function}({expression})"


def rate(metric: str, *matchers: str, by: str = "") -> str:
    """Return the sum of a counter's rate, per second."""
    return gathered("sum", f"rate({of(metric, *matchers)}[{RATE}])", by)


def increase(metric: str, *matchers: str, by: str = "", window: str = RANGE) -> str:
    """Return by how much a counter grew, by default over the dashboard's range."""
    return gathered("sum", f"increase({of(metric, *matchers)}[{window}])", by)


def grown(metric: str, *matchers: str, by: str = "", window: str = RANGE) -> str:
    """Return the same as a whole number, of what is counted: Prometheus estimates fractions."""
    return f"round({increase(metric, *matchers, by=by, window=window)})"


def total(metric: str, *matchers: str, by: str = "") -> str:
    """Return the sum of a gauge."""
    return gathered("sum", of(metric, *matchers), by)


def highest(metric: str, *matchers: str, by: str = "") -> str:
    """Return the largest value of a gauge."""
    return gathered("max", of(metric, *matchers), by)


def quantile(share: float, metric: str, *matchers: str, by: str = "", window: str = RATE) -> str:
    """Return a quantile of a histogram."""
    labels = f"le, {by}" if by else "le"
    buckets = increase(f"{metric}_bucket", *matchers, by=labels, window=window)
    return f"histogram_quantile({share}, {buckets})"


def mean(metric: str, *matchers: str, by: str = "") -> str:
    """Return the mean of a histogram."""
    return ratio(rate(f"{metric}_sum", *matchers, by=by), rate(f"{metric}_count", *matchers, by=by))


def ratio(part: str, whole: str) -> str:
    """Return a share; it is absent, not NaN, where there is nothing to share."""
    return f"{part} / ({whole} > 0)"


def share(part: str, whole: str) -> str:
    """Return a share that is 0 where there is no such part of a whole that there is."""
    return f"({part} or {whole} * 0) / ({whole} > 0)"


def or_none(expression: str) -> str:
    """Return an expression that is 0 where it has nothing to say but there was traffic."""
    return f"{expression} or {increase('tidegate_requests_total')} * 0"


def failed(window: str = RATE, *, of_upstream: bool = False) -> str:
    """Return the share of valid requests that failed, by our fault or (also) the upstream's.

    0 where none failed; absent where there was no traffic.
    """
    name = "tidegate_requests_total"
    bad = [OURS, OURS_REFUSED, *([UPSTREAM_FAILED] if of_upstream else [])]
    parts = " or ".join(f"increase({of(name, MESSAGES, each)}[{window}])" for each in bad)
    everything = increase(name, MESSAGES, window=window)
    refused = f"({increase(name, MESSAGES, NOT_VALID, window=window)} or vector(0))"
    return f"(sum({parts}) or vector(0)) / ({everything} - {refused} > 0)"


def cached(*matchers: str, by: str = "", window: str = RANGE) -> str:
    """Return the share of input tokens that were read from the cache."""
    name, inputs = "tidegate_tokens_total", 'type!="output"'
    return share(
        increase(name, 'type="cache_read"', *matchers, by=by, window=window),
        increase(name, inputs, *matchers, by=by, window=window),
    )


def saved(*matchers: str, by: str = "model") -> str:
    """Return the dollars that caching saved over the range, by model (and `by`).

    What the cached tokens would have cost at the price that was paid for plain input in the
    same range, less what they did cost. Writing costs more than plain input: it can be negative.
    """
    tokens, cost = "tidegate_tokens_total", "tidegate_cost_usd_total"
    plain, caches = 'type="input"', 'type=~"cache_.+"'
    price = ratio(
        increase(cost, plain, *matchers, by=by), increase(tokens, plain, *matchers, by=by)
    )
    without = f"{increase(tokens, caches, *matchers, by=by)} * ({price})"
    return f"{without} - {increase(cost, caches, *matchers, by=by)}"
