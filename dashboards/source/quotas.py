"""5: quotas, and what the upstream allows."""

from grafana_foundation_sdk.builders.dashboard import Dashboard

from source.page import Row, page
from source.panels import Column, Query, bars, lines, stat, table
from source.queries import (
    MODEL,
    TEAM,
    gathered,
    grown,
    highest,
    increase,
    of,
    or_none,
    rate,
    share,
    total,
)

REFUSALS = "tidegate_refusals_total"
QUOTA = 'plugin="quota"'
BY = "limit, measure, subject"
REMAINING, LIMIT = "tidegate_upstream_ratelimit_remaining", "tidegate_upstream_ratelimit_limit"
RESPONSES = "tidegate_upstream_responses_total"


def board() -> Dashboard:
    """Quotas of teams and keys; rate limits, overload and errors of upstreams."""
    return page(
        "quotas",
        "Quotas and upstream limits",
        "Who is near a limit: ours, and the provider's.",
        [_now(), _quotas(), _upstream(), _answers()],
    )


def _left() -> str:
    """Return the share that is left of each upstream limit; the lowest, where gateways differ."""
    left = gathered("min", of(REMAINING), "limit, upstream")
    return f"{left} / ({highest(LIMIT, by='limit, upstream')} > 0)"


def _share(status: str) -> str:
    part = increase(RESPONSES, MODEL, f'status="{status}"')
    return f"({part} or vector(0)) / ({increase(RESPONSES, MODEL)} > 0)"


def _now() -> Row:
    return Row(
        "Now, and in this time range",
        [
            stat(
                "Fullest quota",
                "Used and reserved, of the limit that is nearest to its end.",
                "percentunit",
                highest("tidegate_quota_used_ratio"),
                warn=0.8,
                bad=1,
                decimals=0,
            ),
            stat(
                "Refused by quota",
                "Requests that were over a limit.",
                "short",
                or_none(grown(REFUSALS, TEAM, QUOTA)),
            ),
            stat(
                "Least left upstream",
                "Of the upstream limit that is nearest to its end, as the newest answer said; – if it said nothing lately.",
                "percentunit",
                f"min({_left()})",
                warn=0.2,
                bad=0.1,
                decimals=0,
            ),
            stat(
                "429 from upstream",
                "Share of the upstream's answers: too many requests.",
                "percentunit",
                _share("429"),
                warn=0.01,
                bad=0.05,
                decimals=1,
            ),
            stat(
                "529 from upstream",
                "Share of the upstream's answers: overloaded.",
                "percentunit",
                _share("529"),
                warn=0.01,
                bad=0.05,
                decimals=1,
            ),
            stat(
                "Charges not stored",
                "Of quotas, as their store cannot be reached: waiting, and given up.",
                "short",
                f"{total('tidegate_quota_pending_charges')} + {total('tidegate_quota_lost_charges')}",
                warn=1,
                bad=100,
            ),
        ],
    )


def _quotas() -> Row:
    return Row(
        "Quotas",
        [
            bars(
                "Used, of the limit",
                "The ten fullest counters, with what is reserved for requests under way.",
                "percentunit",
                Query(
                    f"topk(10, {highest('tidegate_quota_used_ratio', by=BY)})",
                    "{{limit}}, {{subject}} ({{measure}})",
                ),
                warn=0.8,
                bad=1,
                high=1,
                span=12,
            ),
            lines(
                "Used over time, of the limit",
                "Of each limit the team, key or other subject that has used most. It falls when a window ends.",
                "percentunit",
                Query(
                    highest("tidegate_quota_used_ratio", by="limit, measure"),
                    "{{limit}} ({{measure}})",
                ),
                warn=0.8,
                bad=1,
                span=12,
            ),
            lines(
                "Refused by quota",
                "Each second, by limit and team.",
                "reqps",
                Query(rate(REFUSALS, TEAM, QUOTA, by="rule, team"), "{{rule}}, {{team}}"),
                stacked=True,
                span=12,
            ),
            lines(
                "Charges not stored",
                "Charges that wait for the store of quotas, and those that were given up since a worker's start.",
                "short",
                Query(
                    total("tidegate_quota_pending_charges", by="instance"), "waiting, {{instance}}"
                ),
                Query(
                    total("tidegate_quota_lost_charges", by="instance"), "given up, {{instance}}"
                ),
                bad=1,
                least=2,
                span=12,
            ),
            table(
                "Counters",
                "What is used, reserved and allowed, in the measure's own unit (requests, tokens, dollars, streams), and when it ends.",
                Column("Used", highest("tidegate_quota_used", by=BY), "short"),
                Column("Reserved", highest("tidegate_quota_reserved", by=BY), "short"),
                Column("Limit", highest("tidegate_quota_limit", by=BY), "short"),
                Column(
                    "Resets",
                    f"{highest('tidegate_quota_reset_timestamp_seconds', by=BY)} * 1000",
                    "dateTimeFromNow",
                ),
                labels=("limit", "measure", "subject"),
                span=24,
            ),
        ],
    )


def _upstream() -> Row:
    return Row(
        "What the upstream allows",
        [
            lines(
                "Left of the upstream's limits",
                "Of each rate limit, as the newest answer said.",
                "percentunit",
                Query(_left(), "{{limit}}, {{upstream}}"),
                high=1,
                warn=0.2,
                bad=0.1,
            ),
            lines(
                "Remaining",
                "Requests or tokens until the limit resets.",
                "short",
                Query(gathered("min", of(REMAINING), "limit, upstream"), "{{limit}}, {{upstream}}"),
            ),
            lines(
                "Limits",
                "As the newest answer said; a step is a change of tier.",
                "short",
                Query(highest(LIMIT, by="limit, upstream"), "{{limit}}, {{upstream}}"),
            ),
        ],
    )


def _answers() -> Row:
    errors = "tidegate_upstream_errors_total"
    return Row(
        "What the upstream answers",
        [
            lines(
                "Answers by status",
                "Each second.",
                "reqps",
                Query(rate(RESPONSES, MODEL, by="upstream, status"), "{{upstream}}: {{status}}"),
                stacked=True,
            ),
            lines(
                "Errors by type",
                "Exchanges that an upstream or the way to it failed, each second.",
                "reqps",
                Query(
                    rate(errors, MODEL, by="upstream, error_type"), "{{upstream}}: {{error_type}}"
                ),
                stacked=True,
            ),
            lines(
                "Share of limited and overloaded answers",
                "429 and 529, of all answers of an upstream.",
                "percentunit",
                *(
                    Query(
                        share(
                            rate(RESPONSES, MODEL, f'status="{status}"', by="upstream"),
                            rate(RESPONSES, MODEL, by="upstream"),
                        ),
                        f"{{{{upstream}}}}: {status}",
                    )
                    for status in (429, 529)
                ),
                least=0.1,
                warn=0.01,
                bad=0.05,
            ),
        ],
    )
