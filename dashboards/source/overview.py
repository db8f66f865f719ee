"""1: what everybody looks at first."""

from grafana_foundation_sdk.builders.dashboard import Dashboard

from source.page import Row, address, page
from source.panels import Column, Query, lines, stat, table
from source.queries import (
    MESSAGES,
    MODEL,
    TEAM,
    failed,
    firing,
    grown,
    increase,
    quantile,
    rate,
    total,
)

REQUESTS = "tidegate_requests_total"
FIRST = "tidegate_time_to_first_token_seconds"


def board() -> Dashboard:
    """Traffic, tokens, cost, errors, time to first token, availability."""
    return page(
        "overview",
        "Overview",
        "Is it up, who uses it, what does it cost, how fast is it.",
        [_now(), _traffic(), _speed(), _who()],
    )


def _now() -> Row:
    return Row(
        "In this time range",
        [
            stat(
                "Availability",
                "Share of messages requests that did not fail by the gateway's own fault (failed, lost with a worker, cut by a drain, or refused with 5xx). Refusals by policy do not count. The objective is 99.9 %.",
                "percentunit",
                f"1 - {failed('$__range')}",
                warn=0.9995,
                bad=0.999,
                decimals=2,
            ),
            stat(
                "Success",
                "As availability, but failures of the upstream and the way to it count too. The objective is 99 %.",
                "percentunit",
                f"1 - {failed('$__range', of_upstream=True)}",
                warn=0.995,
                bad=0.99,
                decimals=2,
            ),
            stat(
                "Requests",
                "Exchanges that are over, refused ones included.",
                "short",
                grown(REQUESTS, TEAM, MODEL),
            ),
            stat(
                "Tokens",
                "Everything processed: input, cache reads and writes, output.",
                "short",
                grown("tidegate_tokens_total", TEAM, MODEL),
            ),
            stat(
                "Cost",
                "At the configured prices. Not a bill.",
                "currencyUSD",
                increase("tidegate_cost_usd_total", TEAM, MODEL),
                decimals=2,
            ),
            stat(
                "First token, p95",
                "95 % of streams had their first content within this time of the request.",
                "s",
                quantile(0.95, FIRST, MODEL, window="$__range"),
                warn=2.56,
                bad=5.12,
            ),
        ],
    )


def _traffic() -> Row:
    return Row(
        "Traffic",
        [
            lines(
                "Requests by outcome",
                "Exchanges that ended, each second. `refused` is policy at work; `client_gone` is a client that left.",
                "reqps",
                Query(rate(REQUESTS, TEAM, MODEL, by="outcome"), "{{outcome}}"),
                stacked=True,
            ),
            lines(
                "Failures",
                "Share of valid messages requests that failed; the dashed lines are what the error budgets can bear for a while.",
                "percentunit",
                Query(failed(), "by the gateway"),
                Query(failed(of_upstream=True), "with the upstream's"),
                least=0.1,
                warn=0.01,
                bad=0.05,
            ),
            lines(
                "In flight",
                "Exchanges that have left and are not over, and those of them that stream.",
                "short",
                Query(total("tidegate_inflight_requests"), "requests"),
                Query(total("tidegate_open_streams"), "streams"),
            ),
            lines(
                "Tokens per second by type",
                "Tokens processed, in disjoint types.",
                "short",
                Query(rate("tidegate_tokens_total", TEAM, MODEL, by="type"), "{{type}}"),
                stacked=True,
            ),
            lines(
                "Cost per hour by model",
                "Dollars an hour at the current pace, at the configured prices.",
                "currencyUSD",
                Query(
                    f"{rate('tidegate_cost_usd_total', TEAM, MODEL, by='model')} * 3600",
                    "{{model}}",
                ),
                stacked=True,
            ),
            lines(
                "Status codes",
                "What clients were answered, each second.",
                "reqps",
                Query(rate(REQUESTS, TEAM, MODEL, by="status"), "{{status}}"),
                stacked=True,
            ),
        ],
    )


def _speed() -> Row:
    return Row(
        "Speed",
        [
            lines(
                "Time to first token",
                "From the request's head to the first content of its stream. Points lead to traces.",
                "s",
                *(
                    Query(quantile(q, FIRST, MODEL), f"p{q * 100:.0f}", exemplars=True)
                    for q in (0.5, 0.95)
                ),
                warn=2.56,
                bad=5.12,
            ),
            lines(
                "Duration by model, p95",
                "From the request's head to the last byte, completed messages only. Points lead to traces.",
                "s",
                Query(
                    quantile(
                        0.95,
                        "tidegate_request_duration_seconds",
                        MESSAGES,
                        MODEL,
                        'outcome="complete"',
                        by="model",
                    ),
                    "{{model}}",
                    exemplars=True,
                ),
            ),
            lines(
                "The gateway's own time",
                "Everything but waiting for client and upstream.",
                "s",
                *(
                    Query(
                        quantile(q, "tidegate_overhead_seconds", 'phase="total"'), f"p{q * 100:.0f}"
                    )
                    for q in (0.5, 0.99)
                ),
                warn=0.025,
                bad=0.05,
            ),
        ],
    )


def _who() -> Row:
    name = REQUESTS
    return Row(
        "Teams and alerts",
        [
            table(
                "Teams",
                "What each team did in this time range. A team leads to its usage and cost.",
                Column("Requests", grown(name, TEAM, MODEL, by="team"), "short"),
                Column("Tokens", grown("tidegate_tokens_total", TEAM, MODEL, by="team"), "short"),
                Column(
                    "Cost",
                    increase("tidegate_cost_usd_total", TEAM, MODEL, by="team"),
                    "currencyUSD",
                ),
                Column(
                    "Refused", grown(name, TEAM, MODEL, 'outcome="refused"', by="team"), "short"
                ),
                labels=("team",),
                links=[("team", address("usage", "team"))],
            ),
            table(
                "Alerts that fire",
                "Of the rules shipped with tidegate; deploy/runbook.md says what to do. Empty is good.",
                Column(
                    "Firing",
                    f"max by (alertname, severity, team, instance) ({firing()})",
                    "short",
                ),
                labels=("alertname", "severity", "team", "instance"),
            ),
        ],
    )
