"""3: latency and streams."""

from grafana_foundation_sdk.builders.dashboard import Dashboard

from source.page import Row, page
from source.panels import Query, bars, heat, lines, stat
from source.queries import MESSAGES, MODEL, grown, increase, mean, quantile, rate, share

FIRST = "tidegate_time_to_first_token_seconds"
GAP = "tidegate_stream_longest_gap_seconds"
EACH = "tidegate_time_per_output_token_seconds"
OVERHEAD = "tidegate_overhead_seconds"
DURATION = "tidegate_request_duration_seconds"
STREAMS = "tidegate_streams_total"
GONE = 'outcome="client_gone"'
BROKEN = 'outcome=~"upstream_.+|worker_lost|failed|drained"'
COMPLETE = 'outcome="complete"'


def board() -> Dashboard:
    """Own overhead, time to first token, tokens per second, outcomes, clients that leave."""
    return page(
        "latency",
        "Latency and streams",
        "How long things take, whose time it is, and how streams end.",
        [_now(), _own(), _first(), _whole(), _streams(), _bodies()],
    )


def _percentiles(metric: str, *matchers: str, exemplars: bool = False) -> list[Query]:
    return [
        Query(quantile(share, metric, *matchers), f"p{share * 100:.0f}", exemplars)
        for share in (0.5, 0.95, 0.99)
    ]


def _now() -> Row:
    range_ = "$__range"
    return Row(
        "In this time range",
        [
            stat(
                "Own time, p50",
                "The gateway's own part of an exchange, without waiting for client or upstream.",
                "s",
                quantile(0.5, OVERHEAD, 'phase="total"', window=range_),
                warn=0.01,
                bad=0.05,
            ),
            stat(
                "Own time, p99",
                "As before; large new texts that are searched for secrets are here.",
                "s",
                quantile(0.99, OVERHEAD, 'phase="total"', window=range_),
                warn=0.025,
                bad=0.05,
            ),
            stat(
                "First token, p50",
                "From the request's head to the first content of its stream.",
                "s",
                quantile(0.5, FIRST, MODEL, window=range_),
                warn=1.28,
                bad=2.56,
            ),
            stat(
                "First token, p95",
                "As before.",
                "s",
                quantile(0.95, FIRST, MODEL, window=range_),
                warn=2.56,
                bad=5.12,
            ),
            stat(
                "Tokens per second, p50",
                "Speed of one stream from its first token on, the median of complete streams.",
                "short",
                f"1 / {quantile(0.5, EACH, MODEL, window=range_)}",
                warn=30,
                bad=15,
                decimals=0,
            ),
            stat(
                "Streams that broke",
                "Share of streams that neither completed nor were left by their client.",
                "percentunit",
                f"({increase(STREAMS, MODEL, BROKEN)} or vector(0)) / ({increase(STREAMS, MODEL)} > 0)",
                warn=0.01,
                bad=0.05,
                decimals=2,
            ),
        ],
    )


def _own() -> Row:
    return Row(
        "The gateway's own time",
        [
            lines(
                "Own time",
                "Whole exchange. Prometheus interpolates within buckets that double.",
                "s",
                *_percentiles(OVERHEAD, 'phase="total"'),
                warn=0.025,
                bad=0.05,
            ),
            lines(
                "Own time by phase, mean",
                "Request: reading, policies, sending. Response: passing it on.",
                "s",
                Query(mean(OVERHEAD, 'phase!="total"', by="phase"), "{{phase}}"),
            ),
            lines(
                "Time of policies, p99",
                "Each plugin, before a request leaves (admit) and after its answer (inspect).",
                "s",
                Query(
                    quantile(0.99, "tidegate_plugin_duration_seconds", by="plugin, phase"),
                    "{{plugin}} {{phase}}",
                ),
            ),
        ],
    )


def _first() -> Row:
    return Row(
        "First token and speed",
        [
            lines(
                "Time to first token",
                "Points lead to traces.",
                "s",
                *_percentiles(FIRST, MODEL, exemplars=True),
                warn=2.56,
                bad=5.12,
            ),
            lines(
                "Time to first token by model, p95",
                "Points lead to traces.",
                "s",
                Query(quantile(0.95, FIRST, MODEL, by="model"), "{{model}}", exemplars=True),
            ),
            lines(
                "Tokens per second of a stream, p50",
                "One over the median time of an output token, complete streams only.",
                "short",
                Query(f"1 / {quantile(0.5, EACH, MODEL, by='model')}", "{{model}}"),
            ),
            lines(
                "Longest gap of a stream",
                "The longest that the next piece of a stream kept its client waiting, from its first token on. Time-outs in between should be well above. Points lead to traces.",
                "s",
                *_percentiles(GAP, MODEL, exemplars=True),
                warn=10,
                bad=30,
            ),
            heat(
                "Time to first token",
                "How many streams took how long. Points lead to traces.",
                "s",
                rate(f"{FIRST}_bucket", MODEL, by="le"),
                span=8,
            ),
            heat(
                "Duration of messages",
                "How many exchanges took how long, completed ones. Points lead to traces.",
                "s",
                rate(f"{DURATION}_bucket", MESSAGES, MODEL, COMPLETE, by="le"),
                span=8,
            ),
        ],
    )


def _whole() -> Row:
    upstream = "tidegate_upstream_duration_seconds"
    return Row(
        "Whole exchanges",
        [
            lines(
                "Duration by route, p95",
                "From the request's head to the last byte of its answer. Points lead to traces.",
                "s",
                Query(quantile(0.95, DURATION, MODEL, by="route"), "{{route}}", exemplars=True),
                span=12,
            ),
            lines(
                "Streams and single answers, p95",
                "Completed messages. Points lead to traces.",
                "s",
                *(
                    Query(
                        quantile(0.95, DURATION, MESSAGES, MODEL, COMPLETE, f'stream="{stream}"'),
                        name,
                        exemplars=True,
                    )
                    for stream, name in (("true", "streams"), ("false", "single answers"))
                ),
                span=12,
            ),
            lines(
                "The upstream's time, p95",
                "From departure to the last byte of the upstream's answer, by upstream and error (`none`: it went well).",
                "s",
                Query(
                    quantile(0.95, upstream, MODEL, by="upstream, error_type"),
                    "{{upstream}}: {{error_type}}",
                ),
                span=12,
            ),
            lines(
                "Connecting to the upstream",
                "Waiting for a connection; 0 where one was there. Rising means too few are kept.",
                "s",
                *_percentiles("tidegate_upstream_connect_seconds"),
                warn=0.1,
                bad=0.25,
                span=12,
            ),
        ],
    )


def _streams() -> Row:
    return Row(
        "How they end",
        [
            lines(
                "Streams by outcome",
                "Streams that were asked of the upstream, each second.",
                "reqps",
                Query(rate(STREAMS, MODEL, by="outcome"), "{{outcome}}"),
                stacked=True,
            ),
            lines(
                "Clients that left",
                "Share of streams whose client left before the end. Impatience, time-outs in between, or Ctrl-C.",
                "percentunit",
                Query(
                    share(rate(STREAMS, MODEL, GONE, by="model"), rate(STREAMS, MODEL, by="model")),
                    "{{model}}",
                ),
                least=0.3,
                warn=0.1,
                bad=0.25,
            ),
            bars(
                "Stop reasons",
                "Why answers ended, in this time range. Many `max_tokens`: limits are tight.",
                "short",
                Query(
                    f"sort_desc({grown('tidegate_stop_reasons_total', MODEL, by='stop_reason')})",
                    "{{stop_reason}}",
                ),
            ),
        ],
    )


def _bodies() -> Row:
    return Row(
        "Sizes",
        [
            lines(
                "Request bodies",
                "As they came. The largest bucket ends at 64 MiB.",
                "bytes",
                *_percentiles("tidegate_request_body_bytes"),
                span=12,
            ),
            lines(
                "Answers' bodies",
                "As they left.",
                "bytes",
                *_percentiles("tidegate_response_body_bytes"),
                span=12,
            ),
        ],
    )
