"""The metrics there are: name, meaning, labels, buckets. Others build on these names.

Durations double, so that a relative error is the same for a 20 ms and a 20 min answer.
Histograms carry no team: teams times buckets are too many series.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Counter:
    """Counts up, for ever: it is restored after a restart."""

    name: str
    help: str
    labels: tuple[str, ...]
    before: tuple[str, ...] = ()
    """Values of the last labels, in what was counted before there were those labels."""


@dataclass(frozen=True, slots=True)
class Histogram:
    """Counts values by size; `bounds` are inclusive upper ones, in the metric's unit."""

    name: str
    help: str
    labels: tuple[str, ...]
    bounds: tuple[float, ...]


def _doubling(first: float, count: int) -> tuple[float, ...]:
    return tuple(round(first * 2**step, 10) for step in range(count))


DURATION_S = _doubling(0.01, 19)
"""10 ms to 2621.44 s: agents think for half an hour."""
FIRST_TOKEN_S = _doubling(0.04, 13)
"""40 ms to 163.84 s."""
PER_TOKEN_S = (0.001, 0.0025, 0.005, 0.01, 0.015, 0.02, 0.03, 0.05, 0.075, 0.1, 0.2, 0.5, 1.0)
OWN_S = (
    *(0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25),
    *(1.0, 5.0),
)
"""The gateway's own time, from 50 µs. The last two are for what went wrong."""
BODY_BYTES = tuple(float(256 * 4**step) for step in range(10))
"""256 B to 64 MiB."""

REQUESTS = Counter(
    "tidegate_requests_total",
    "Exchanges that are over, by how they ended.",
    ("route", "model", "team", "stream", "outcome", "status"),
)
TOKENS = Counter(
    "tidegate_tokens_total",
    "Tokens in disjoint types: their sum is all that was processed.",
    ("model", "team", "type"),
)
REASONING = Counter(
    "tidegate_reasoning_tokens_total",
    "Tokens of thinking, a part of the output tokens.",
    ("model", "team"),
)
DECISIONS = Counter(
    "tidegate_policy_decisions_total",
    "Verdicts and findings of policies; in mode shadow they had no effect.",
    ("plugin", "rule", "verdict", "mode"),
)
REDACTIONS = Counter(
    "tidegate_redactions_total",
    "Secrets in request bodies, by what was done: mask, block, or detect (left, and recorded).",
    ("rule", "action"),
    before=("mask",),
)
REDACT_BYTES = Counter(
    "tidegate_redact_bytes_total", "Bytes of request bodies that redactors searched.", ("plugin",)
)
STOP_REASONS = Counter(
    "tidegate_stop_reasons_total", "Why answers ended.", ("model", "stop_reason")
)
UPSTREAM_ERRORS = Counter(
    "tidegate_upstream_errors_total",
    "Exchanges that the upstream or the way to it failed.",
    ("model", "error_type"),
)
UNPARSED = Counter(
    "tidegate_usage_unparsed_total",
    "Answers whose usage could not be read to the end.",
    ("reason",),
)
RELOADS = Counter(
    "tidegate_config_reloads_total",
    "Reloads of the configuration in a worker, by result.",
    ("worker", "result"),
)
ENDS = Counter(
    "tidegate_writers_ended_total",
    "Processes that stopped writing the journal: by themselves, or found dead by recovery.",
    ("by",),
)
DROPPED = Counter(
    "tidegate_dropped_series_total",
    "Label values counted as `other` because the label had no room left.",
    ("label",),
)
RECORDS = Counter("tidegate_observer_records_total", "Journal records counted here.", ("kind",))

DURATION = Histogram(
    "tidegate_request_duration_seconds",
    "From a request's head to the last byte of its answer.",
    ("route", "model", "stream", "outcome"),
    DURATION_S,
)
FIRST_TOKEN = Histogram(
    "tidegate_time_to_first_token_seconds",
    "From a request's head to the first content of its stream.",
    ("model",),
    FIRST_TOKEN_S,
)
PER_TOKEN = Histogram(
    "tidegate_time_per_output_token_seconds",
    "Time from first token to last byte, by output token; complete streams only.",
    ("model",),
    PER_TOKEN_S,
)
OVERHEAD = Histogram(
    "tidegate_overhead_seconds",
    "The gateway's own part of an exchange, without waiting for client or upstream.",
    ("phase",),
    OWN_S,
)
PLUGIN = Histogram(
    "tidegate_plugin_duration_seconds", "Time a policy took to decide.", ("plugin",), OWN_S
)
REDACT = Histogram(
    "tidegate_redact_seconds",
    "Time a redactor took to search a body and decide.",
    ("plugin", "verdict"),
    OWN_S,
)
REQUEST_BYTES = Histogram(
    "tidegate_request_body_bytes", "Request bodies as they came.", ("route",), BODY_BYTES
)
RESPONSE_BYTES = Histogram(
    "tidegate_response_body_bytes", "Answers' bodies as they left.", ("route",), BODY_BYTES
)

COUNTERS = (
    *(REQUESTS, TOKENS, REASONING, DECISIONS, REDACTIONS, REDACT_BYTES, STOP_REASONS),
    *(UPSTREAM_ERRORS, UNPARSED, RELOADS, ENDS, DROPPED, RECORDS),
)
HISTOGRAMS = (
    *(DURATION, FIRST_TOKEN, PER_TOKEN, OVERHEAD, PLUGIN, REDACT, REQUEST_BYTES, RESPONSE_BYTES),
)
