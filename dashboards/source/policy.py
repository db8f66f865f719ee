"""4: policy and security."""

from grafana_foundation_sdk.builders.dashboard import Dashboard

from source.page import Row, address, page
from source.panels import Column, Query, bars, lines, stat, table
from source.queries import MODEL, TEAM, grown, increase, of, or_none, quantile, rate, share

DECISIONS = "tidegate_policy_decisions_total"
REFUSALS = "tidegate_refusals_total"
REDACTIONS = "tidegate_redactions_total"
IDENTITY = 'plugin="identify"'
EVASION = (
    'plugin="gateway", rule=~"body.*|content_type|credentials_differ|override_header|http|expect"'
)
"""Requests that could be read in two ways, or bring what no client of the API sends."""
BROKEN = 'verdict=~"error|timeout"'
OPEN = 'mode="admit"'
DIFFERENCES = "tidegate_shadow_differences_total"
SHADOW = 'mode="shadow", verdict!~"admit|not_evaluated|inspect"'


def board() -> Dashboard:
    """Refusals by rule and team, shadow differences, redactions, identity, evasions."""
    return page(
        "policy",
        "Policy and security",
        "What was refused, changed or found, by which rule; and whether the policies themselves work.",
        [_now(), _refusals(), _secrets(), _identity(), _shadow(), _health()],
    )


def _now() -> Row:
    return Row(
        "In this time range",
        [
            stat(
                "Refused",
                "Exchanges that a policy or the gateway refused.",
                "short",
                or_none(grown(REFUSALS, TEAM)),
            ),
            stat(
                "Share refused",
                "Of all exchanges of the chosen teams and models.",
                "percentunit",
                share(
                    increase("tidegate_requests_total", TEAM, MODEL, 'outcome="refused"'),
                    increase("tidegate_requests_total", TEAM, MODEL),
                ),
                warn=0.1,
                bad=0.3,
                decimals=1,
            ),
            stat(
                "Secrets",
                "Found in requests and answers: masked, blocked or only recorded.",
                "short",
                or_none(grown(REDACTIONS)),
            ),
            stat(
                "Not identified",
                "Refusals of the identity plugin.",
                "short",
                or_none(grown(REFUSALS, TEAM, IDENTITY)),
            ),
            stat(
                "Odd requests",
                "Refused because they could be read in two ways, or bring what no client of the API sends: encoded or broken bodies, contradicting credentials, override headers.",
                "short",
                or_none(grown(REFUSALS, TEAM, EVASION)),
                warn=1,
            ),
            stat(
                "Let pass on error",
                'Decisions of a policy that failed and has `on_error = "admit"`: it protected nothing then.',
                "short",
                or_none(grown(DECISIONS, OPEN)),
                bad=1,
            ),
        ],
    )


def _refusals() -> Row:
    return Row(
        "Refusals",
        [
            lines(
                "Refusals by plugin",
                "Each second. Plugin `gateway` is the core itself.",
                "reqps",
                Query(rate(REFUSALS, TEAM, by="plugin"), "{{plugin}}"),
                stacked=True,
            ),
            table(
                "Refusals by rule",
                "In this time range. What a rule means: plugins/README.md.",
                Column("Refused", grown(REFUSALS, TEAM, by="plugin, rule"), "short"),
                labels=("plugin", "rule"),
                span=8,
            ),
            table(
                "Refusals by team and rule",
                "In this time range; `none` is a caller that was not identified. A team leads to what it uses.",
                Column("Refused", grown(REFUSALS, TEAM, by="team, plugin, rule"), "short"),
                labels=("team", "plugin", "rule"),
                links=[("team", address("usage", "team"))],
                span=8,
            ),
        ],
    )


def _secrets() -> Row:
    return Row(
        "Secrets",
        [
            bars(
                "Redactions by type",
                "In this time range, by rule and direction.",
                "short",
                Query(
                    f"sort_desc({grown(REDACTIONS, by='rule, direction')})",
                    "{{rule}}, {{direction}}",
                ),
                span=12,
            ),
            lines(
                "Redactions by action",
                "Each second: mask replaces, block refuses, detect only records. Answers are never changed.",
                "ops",
                Query(rate(REDACTIONS, by="action, direction"), "{{action}}, {{direction}}"),
                stacked=True,
                span=12,
            ),
            lines(
                "Searching bodies, p99",
                "How long a redactor took for one body, by what came of it. `not_evaluated` ran out of time.",
                "s",
                Query(quantile(0.99, "tidegate_redact_seconds", by="verdict"), "{{verdict}}"),
                warn=0.25,
                bad=1,
                span=12,
            ),
            lines(
                "Bytes searched",
                "Of requests and answers, each second.",
                "Bps",
                Query(rate("tidegate_redact_bytes_total", by="direction"), "{{direction}}"),
                span=12,
            ),
        ],
    )


def _identity() -> Row:
    return Row(
        "Identity and evasions",
        [
            lines(
                "Identity failures by rule",
                "Each second: keys that are unknown or expired, the wrong network, tokens that do not hold.",
                "reqps",
                Query(rate(REFUSALS, TEAM, IDENTITY, by="rule"), "{{rule}}"),
                stacked=True,
            ),
            lines(
                "Odd requests by rule",
                "Each second. A client library with a defect, or somebody who tries to get past the policies.",
                "reqps",
                Query(rate(REFUSALS, TEAM, EVASION, by="rule"), "{{rule}}"),
                stacked=True,
            ),
            lines(
                "Requests by no known team",
                "Each second, by status: callers that were not identified.",
                "reqps",
                Query(rate("tidegate_requests_total", 'team="none"', by="status"), "{{status}}"),
                stacked=True,
            ),
        ],
    )


def _shadow() -> Row:
    return Row(
        "Shadow mode",
        [
            lines(
                "What shadow policies would have done",
                "Each second, by plugin and verdict; nothing was done. Low and understood: ready to enforce.",
                "ops",
                Query(rate(DECISIONS, SHADOW, by="plugin, verdict"), "{{plugin}} {{verdict}}"),
                stacked=True,
                span=12,
            ),
            table(
                "Shadow differences by rule",
                "In this time range: verdicts and findings that would have differed from letting pass.",
                Column(
                    "Times",
                    grown(DECISIONS, SHADOW, by="plugin, rule, verdict, phase"),
                    "short",
                ),
                labels=("plugin", "rule", "verdict", "phase"),
            ),
            lines(
                "Second configuration, differences",
                "Each second: exchanges that the configuration of [shadow] would have decided otherwise.",
                "ops",
                Query(rate(DIFFERENCES, by="difference"), "{{difference}}"),
                stacked=True,
                span=12,
            ),
            table(
                "Second configuration, by plugin",
                "In this time range: who refuses under the live one, and who would; leaves if nobody does.",
                Column("Exchanges", grown(DIFFERENCES, by="difference, live, candidate"), "short"),
                labels=("difference", "live", "candidate"),
            ),
        ],
    )


def _health() -> Row:
    return Row(
        "The policies themselves",
        [
            lines(
                "Decisions by verdict",
                "Each second, of all plugins; findings of redactors are here too.",
                "ops",
                Query(rate(DECISIONS, by="verdict"), "{{verdict}}"),
                stacked=True,
            ),
            lines(
                "Policies that fail",
                "Share of a plugin's decisions that were errors or time-outs. Unless it says otherwise, a failing policy refuses.",
                "percentunit",
                Query(
                    share(rate(DECISIONS, BROKEN, by="plugin"), rate(DECISIONS, by="plugin")),
                    "{{plugin}}",
                ),
                least=0.02,
                bad=0.01,
            ),
            lines(
                "Policies that are well",
                "By their own account, the worst worker: 1 is well, 0 is not. The message is on the admin page.",
                "short",
                Query(f"min by (plugin) ({of('tidegate_policy_healthy')})", "{{plugin}}"),
                high=1,
            ),
        ],
    )
