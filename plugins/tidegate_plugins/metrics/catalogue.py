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
    per_unit: int = 1
    """How many of what is counted make one of what is shown; it is counted in integers."""


@dataclass(frozen=True, slots=True)
class Histogram:
    """Counts values by size; `bounds` are inclusive upper ones, in the metric's unit."""

    name: str
    help: str
    labels: tuple[str, ...]
    bounds: tuple[float, ...]
    before: tuple[str, ...] = ()
    """As of a counter."""


def _doubling(first: float, count: int) -> tuple[float, ...]:
    return tuple(round(first * 2**step, 10) for step in range(count))


DURATION_S = _doubling(0.01, 19)
"""10 ms to 2621.44 s: agents think for half an hour."""
FIRST_TOKEN_S = _doubling(0.04, 13)
"""40 ms to 163.84 s."""
GAP_S = _doubling(0.01, 16)
"""10 ms to 327.68 s: above every usual time-out."""
PER_TOKEN_S = (0.001, 0.0025, 0.005, 0.01, 0.015, 0.02, 0.03, 0.05, 0.075, 0.1, 0.2, 0.5, 1.0)
OWN_S = (
    *(0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25),
    *(1.0, 5.0),
)
"""The gateway's own time, from 50 µs. The last two are for what went wrong."""
BODY_BYTES = tuple(float(256 * 4**step) for step in range(10))
"""256 B to 64 MiB."""

TOKENS_SIZE = tuple(float(4**step) for step in range(11))
"""1 token to 1,048,576."""

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
SERVER_TOOLS = Counter(
    "tidegate_server_tool_requests_total",
    "Requests of tools that the provider runs, and charges for.",
    ("model", "tool"),
)
USAGE_SOURCES = Counter(
    "tidegate_usage_sources_total",
    "Exchanges with the upstream's messages, by how much of their usage is known: final, "
    "partial (a lower bound) or none.",
    ("source",),
)
COST = Counter(
    "tidegate_cost_usd_total",
    "What was used, at the configured prices, in disjoint types: their sum is the bill.",
    ("model", "team", "type"),
    per_unit=1_000_000_000,
)
UNPRICED = Counter(
    "tidegate_cost_unpriced_requests_total",
    "Exchanges whose price the table does not have; they are counted at its default.",
    ("model",),
)
DECISIONS = Counter(
    "tidegate_policy_decisions_total",
    "Verdicts and findings of policies; in mode shadow they had no effect.",
    ("plugin", "rule", "verdict", "mode", "phase"),
    before=("admit",),
)
REFUSALS = Counter(
    "tidegate_refusals_total",
    "Exchanges that were refused, by whom and why; plugin gateway is the core itself, team none "
    "a caller that was not identified.",
    ("plugin", "rule", "team"),
    before=("other",),
)
REDACTIONS = Counter(
    "tidegate_redactions_total",
    "Secrets in bodies, by what was done: mask, block, or detect (left, and recorded).",
    ("rule", "action", "direction"),
    before=("mask", "request"),
)
REDACT_BYTES = Counter(
    "tidegate_redact_bytes_total",
    "Bytes of bodies that redactors searched.",
    ("plugin", "direction"),
    before=("request",),
)
STOP_REASONS = Counter(
    "tidegate_stop_reasons_total", "Why answers ended.", ("model", "stop_reason")
)
STREAMS = Counter(
    "tidegate_streams_total",
    "Streams that were asked of the upstream, by how they ended.",
    ("model", "outcome"),
)
UPSTREAM_RESPONSES = Counter(
    "tidegate_upstream_responses_total",
    "Answers that an upstream began, by status.",
    ("model", "status", "upstream"),
    before=("default",),
)
UPSTREAM_ERRORS = Counter(
    "tidegate_upstream_errors_total",
    "Exchanges that an upstream or the way to it failed.",
    ("model", "error_type", "upstream"),
    before=("default",),
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
JOURNAL_LOST = Counter(
    "tidegate_journal_lost_records_total",
    "Records that a worker gave up, as they could not be written.",
    ("worker",),
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
SHADOW = Counter(
    "tidegate_shadow_differences_total",
    "Exchanges that the second configuration ([shadow]) would have decided otherwise: who "
    "refuses under the live one, and who would; leaves if nobody does.",
    ("difference", "live", "candidate"),
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
LONGEST_GAP = Histogram(
    "tidegate_stream_longest_gap_seconds",
    "The longest that the next piece of a stream kept its client waiting, from its first token on.",
    ("model",),
    GAP_S,
)
OVERHEAD = Histogram(
    "tidegate_overhead_seconds",
    "The gateway's own part of an exchange, without waiting for client or upstream.",
    ("phase",),
    OWN_S,
)
UPSTREAM_DURATION = Histogram(
    "tidegate_upstream_duration_seconds",
    "From a request's departure to the last byte of the upstream's answer.",
    ("model", "stream", "error_type", "upstream"),
    DURATION_S,
    before=("default",),
)
CONNECT = Histogram(
    "tidegate_upstream_connect_seconds",
    "Waiting for a connection to the upstream; 0 where one was there.",
    (),
    OWN_S,
)
REQUEST_TOKENS = Histogram(
    "tidegate_request_tokens",
    "Tokens of one exchange: all input, what was cached included; all output.",
    ("model", "direction"),
    TOKENS_SIZE,
)
PLUGIN = Histogram(
    "tidegate_plugin_duration_seconds",
    "Time a policy took to decide (admit), or to look at an answer after it (inspect).",
    ("plugin", "phase"),
    OWN_S,
    before=("admit",),
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
    SHADOW,
    *(REQUESTS, TOKENS, REASONING, SERVER_TOOLS, USAGE_SOURCES, COST, UNPRICED, DECISIONS),
    *(REFUSALS, REDACTIONS, REDACT_BYTES, STOP_REASONS, STREAMS, UPSTREAM_RESPONSES),
    *(UPSTREAM_ERRORS, UNPARSED, RELOADS, JOURNAL_LOST, ENDS, DROPPED, RECORDS),
)
HISTOGRAMS = (
    *(DURATION, UPSTREAM_DURATION, FIRST_TOKEN, PER_TOKEN, LONGEST_GAP, OVERHEAD, PLUGIN, CONNECT),
    *(REQUEST_TOKENS, REDACT, REQUEST_BYTES, RESPONSE_BYTES),
)
