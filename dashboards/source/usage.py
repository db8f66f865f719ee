"""2: tokens and cost, for whoever pays."""

from grafana_foundation_sdk.builders.dashboard import Dashboard

from source.page import Row, address, page
from source.panels import Column, Query, bars, lines, stat, table
from source.queries import MODEL, TEAM, cached, grown, increase, of, quantile, rate, ratio, saved

COST = "tidegate_cost_usd_total"
TOKENS = "tidegate_tokens_total"
REQUESTS = "tidegate_requests_total"
LEFT_S = "scalar(86400 * (days_in_month() - day_of_month() + 1) - 3600 * hour() - 60 * minute())"
"""Seconds to the end of the month, in UTC."""


def board() -> Dashboard:
    """By team, model and type; the cache; a forecast; top consumers; what has no price."""
    return page(
        "usage",
        "Token usage and cost",
        "What was used, by whom, at the configured prices. Prometheus estimates what grew between "
        "two scrapes; for accounts to the token use `tidegate usage` or the journal.",
        [_sums(), _cost(), _tokens(), _cache(), _consumers(), _unknown()],
    )


def _sums() -> Row:
    before = f"sum(increase({of(COST, TEAM, MODEL)}[$__range] offset $__range))"
    pace = f"{increase(COST, TEAM, MODEL, window='7d')} / (7 * 86400)"
    return Row(
        "Sums",
        [
            stat(
                "Cost",
                "In this time range, at the configured prices.",
                "currencyUSD",
                increase(COST, TEAM, MODEL),
                decimals=2,
            ),
            stat(
                "Against the range before",
                "This range's cost over that of the range of equal length before it; – without one.",
                "percentunit",
                ratio(increase(COST, TEAM, MODEL), before),
                warn=1.25,
                bad=2,
                decimals=0,
            ),
            stat(
                "This month so far",
                "Cost since the first of the month, whatever range is chosen.",
                "currencyUSD",
                increase(COST, TEAM, MODEL),
                since="now/M",
                decimals=2,
            ),
            stat(
                "Forecast to month end",
                "This month so far, and the rest of it (UTC) at the pace of the last 7 days.",
                "currencyUSD",
                f"{increase(COST, TEAM, MODEL)} + {pace} * {LEFT_S}",
                since="now/M",
                decimals=2,
            ),
            stat(
                "Cache hit ratio",
                "Tokens read from the cache, of all input tokens.",
                "percentunit",
                cached(TEAM, MODEL),
                warn=0.5,
                bad=0.2,
                decimals=1,
            ),
            stat(
                "Saved by the cache",
                "What cached tokens would have cost as plain input, at the price paid for it in this range, less what they cost. Negative if more was written than read.",
                "currencyUSD",
                f"sum({saved(TEAM, MODEL)})",
                decimals=2,
            ),
        ],
    )


def _cost() -> Row:
    return Row(
        "Cost",
        [
            lines(
                "Cost per hour by team",
                "Dollars an hour at the current pace.",
                "currencyUSD",
                Query(f"{rate(COST, TEAM, MODEL, by='team')} * 3600", "{{team}}"),
                stacked=True,
            ),
            lines(
                "Cost per hour by model",
                "Dollars an hour at the current pace.",
                "currencyUSD",
                Query(f"{rate(COST, TEAM, MODEL, by='model')} * 3600", "{{model}}"),
                stacked=True,
            ),
            lines(
                "Cost per hour by type",
                "Dollars an hour at the current pace: input, cache, output, and tools that the provider runs.",
                "currencyUSD",
                Query(f"{rate(COST, TEAM, MODEL, by='type')} * 3600", "{{type}}"),
                stacked=True,
            ),
        ],
    )


def _tokens() -> Row:
    output = rate(TOKENS, TEAM, MODEL, 'type="output"')
    return Row(
        "Tokens",
        [
            lines(
                "Tokens per second by type",
                "In disjoint types.",
                "short",
                Query(rate(TOKENS, TEAM, MODEL, by="type"), "{{type}}"),
                stacked=True,
            ),
            lines(
                "Tokens per second by team",
                "Of all types.",
                "short",
                Query(rate(TOKENS, TEAM, MODEL, by="team"), "{{team}}"),
                stacked=True,
            ),
            lines(
                "Tokens of a request, p50 and p95",
                "All input, cached included, and all output of one exchange.",
                "short",
                *(
                    Query(
                        quantile(q, "tidegate_request_tokens", MODEL, by="direction"),
                        f"{{{{direction}}}} p{q * 100:.0f}",
                    )
                    for q in (0.5, 0.95)
                ),
            ),
            lines(
                "Thinking",
                "Share of output tokens that were thinking.",
                "percentunit",
                Query(
                    f"{rate('tidegate_reasoning_tokens_total', TEAM, MODEL)} / ({output} > 0)",
                    "thinking",
                ),
                high=1,
            ),
            lines(
                "Tools that the provider runs",
                "Requests of web search and web fetch, each second. They are charged by the piece.",
                "reqps",
                Query(rate("tidegate_server_tool_requests_total", MODEL, by="tool"), "{{tool}}"),
            ),
            bars(
                "Tokens by model",
                "In this time range, of all types.",
                "short",
                Query(f"sort_desc({grown(TOKENS, TEAM, MODEL, by='model')})", "{{model}}"),
            ),
        ],
    )


def _cache() -> Row:
    return Row(
        "Cache",
        [
            lines(
                "Cache hit ratio by model",
                "Tokens read from the cache, of all input tokens.",
                "percentunit",
                Query(cached(TEAM, MODEL, by="model", window="$__rate_interval"), "{{model}}"),
                high=1,
            ),
            lines(
                "Cache hit ratio by team",
                "A team far below the others may be missing `cache_control`, or change its prompts at the start.",
                "percentunit",
                Query(cached(TEAM, MODEL, by="team", window="$__rate_interval"), "{{team}}"),
                high=1,
            ),
            bars(
                "Saved by the cache, by model",
                "In this time range; see the sum above.",
                "currencyUSD",
                Query(f"sort_desc({saved(TEAM, MODEL)})", "{{model}}"),
            ),
        ],
    )


def _consumers() -> Row:
    return Row(
        "Top consumers",
        [
            table(
                "Top ten by cost",
                "Teams and models, in this time range. A team leads to itself alone.",
                Column(
                    "Cost",
                    f"topk(10, {increase(COST, TEAM, MODEL, by='team, model')})",
                    "currencyUSD",
                ),
                labels=("team", "model"),
                links=[("team", address("usage", "team")), ("model", address("usage", "model"))],
            ),
            table(
                "Teams",
                "In this time range: what each spent, what it got for it, and what one completed request cost.",
                Column("Cost", increase(COST, TEAM, MODEL, by="team"), "currencyUSD"),
                Column("Requests", grown(REQUESTS, TEAM, MODEL, by="team"), "short"),
                Column("Tokens", grown(TOKENS, TEAM, MODEL, by="team"), "short"),
                Column("Cached", cached(TEAM, MODEL, by="team"), "percentunit"),
                Column(
                    "Per request",
                    ratio(
                        increase(COST, TEAM, MODEL, by="team"),
                        increase(REQUESTS, TEAM, MODEL, 'outcome="complete"', by="team"),
                    ),
                    "currencyUSD",
                ),
                labels=("team",),
                links=[("team", address("usage", "team"))],
            ),
        ],
    )


def _unknown() -> Row:
    return Row(
        "What is not known",
        [
            bars(
                "Unpriced requests",
                "Exchanges with a model that the price table does not have, counted at its default. Add it to the file of `prices`.",
                "short",
                Query(
                    f"sort_desc({grown('tidegate_cost_unpriced_requests_total', MODEL, by='model')})",
                    "{{model}}",
                ),
                warn=1,
            ),
            lines(
                "How usage is known",
                "`partial` is a lower bound, of a stream that broke off; `none` is an answer without usage, such as an error.",
                "reqps",
                Query(rate("tidegate_usage_sources_total", by="source"), "{{source}}"),
                stacked=True,
            ),
            lines(
                "Usage that could not be read",
                "Answers whose usage could not be read to the end, by reason. None is normal.",
                "reqps",
                Query(rate("tidegate_usage_unparsed_total", by="reason"), "{{reason}}"),
                bad=0.01,
            ),
        ],
    )
