"""The values that are written down: one JSON object a line in the journal.

Every field is always present, so that a reader never has to guess; what is not known is
null (or empty). Fields are added, never renamed; a change of meaning raises `VERSION`.
"""

from typing import Any

import msgspec

from tidegate.wire.errors import encodable

VERSION = 1


class PrincipalRecord(msgspec.Struct, frozen=True):
    """Whom the exchange is accounted to."""

    id: str | None = None
    team: str | None = None


class ModelRecord(msgspec.Struct, frozen=True):
    """Model ids: what the caller asked, what left after edits, what the answer names."""

    asked: str | None = None
    sent: str | None = None
    answered: str | None = None


class RefusedBy(msgspec.Struct, frozen=True):
    """The policy and rule that refused. Plugin `gateway` is the core itself."""

    plugin: str
    rule: str
    pointer: str = ""


class DecisionRecord(msgspec.Struct, frozen=True):
    """What one policy decided, or one finding of it."""

    plugin: str
    rule: str
    """Empty where a plain yes needs no rule."""
    verdict: str
    """`admit`, `edit`, `answer`, `refuse`, `error`, `timeout`; `inspect` where it looked at the answer;
    `not_evaluated` where the policy was not asked or had nothing to look at; or a plugin's own
    word (`found`, …)."""
    mode: str
    """`enforce`, `shadow`; `admit` where an error was let pass because the file says so."""
    pointer: str = ""
    us: int = 0
    """Microseconds the policy took; 0 on its further findings."""


class EditRecord(msgspec.Struct, frozen=True):
    """One splice: where in the document, by which rule, how long before and after."""

    pointer: str
    rule: str
    bytes_before: int
    bytes_after: int
    plugin: str = ""
    offset: int = 0
    """Byte offset in the body as that plugin saw it."""
    count: int = 1
    """How many splices this is: where there are very many, those beyond the first are told
    in one, by plugin and rule, without a place; the bytes are theirs together."""


class Usage(msgspec.Struct, frozen=True):
    """Tokens, in disjoint classes: their sum is all that was processed."""

    input: int = 0
    """Neither read from nor written to the cache."""
    cache_read: int = 0
    cache_write_5m: int = 0
    cache_write_1h: int = 0
    output: int = 0
    """Includes thinking."""
    thinking: int = 0
    """A part of `output`."""
    web_search_requests: int = 0
    web_fetch_requests: int = 0
    service_tier: str | None = None
    speed: str | None = None
    inference_geo: str | None = None
    iterations: tuple[dict[str, Any], ...] = ()
    """As the API reports them: one per model pass, where it does."""


class ClientRecord(msgspec.Struct, frozen=True):
    """What the calling program says of itself."""

    session: str | None = None
    agent: str | None = None
    parent_agent: str | None = None
    app: str | None = None


class TraceRecord(msgspec.Struct, frozen=True):
    """W3C ids, in hex. `span_id` is the exchange's SERVER span."""

    trace_id: str
    span_id: str
    parent_id: str | None = None
    flags: int = 1


class Timing(msgspec.Struct, frozen=True):
    """Milliseconds since the request's head was read; null where it did not come to that."""

    admit: float | None = None
    """The last policy has decided."""
    dispatched: float | None = None
    """The request is on its way upstream."""
    upstream_head: float | None = None
    """The answer's head has come."""
    first_byte: float | None = None
    """The client has been sent the first byte."""
    first_token: float | None = None
    """The first content delta of a stream has been passed on."""
    last_byte: float | None = None
    total: float = 0.0
    overhead: float = 0.0
    """The gateway's own part: everything but waiting for the client's body and the upstream."""
    overhead_request: float = 0.0
    overhead_response: float = 0.0
    connect: float | None = None
    """Waiting for a new upstream connection; 0 where one was reused."""
    longest_gap: float | None = None
    """The longest that a stream's next piece kept the client waiting, from its first token on."""


class Bytes(msgspec.Struct, frozen=True):
    """Body sizes: as they came, as they left, as answered."""

    request_in: int = 0
    request_out: int = 0
    response: int = 0


class Sha256(msgspec.Struct, frozen=True):
    """Hex digests of the same three bodies; only with `journal.digests = true`."""

    request_in: str | None = None
    request_out: str | None = None
    response: str | None = None


class Shape(msgspec.Struct, frozen=True):
    """The request's shape without its content: what policies looked at."""

    max_tokens: int | None = None
    """As it left, or would have left."""
    messages: int = 0
    tools: int = 0
    version: str | None = None
    betas: tuple[str, ...] = ()
    headers: tuple[str, ...] = ()
    """Which of the headers were there that name an account: `anthropic-workspace-id`, …"""
    outline: dict[str, Any] = {}
    """The request as it came, without its content: `tidegate.wire.outline`."""


class Intent(msgspec.Struct, frozen=True, tag_field="kind", tag="intent", kw_only=True):
    """Written before anything leaves: from here on this id owes an `exchange`."""

    v: int = VERSION
    id: str
    at: float
    worker: int
    config: str
    route: str
    principal: PrincipalRecord
    model: ModelRecord
    stream: bool
    upstream: str | None = None
    client: ClientRecord
    trace: TraceRecord
    edits: tuple[EditRecord, ...] = ()
    bytes: Bytes = Bytes()


class ExchangeRecord(msgspec.Struct, frozen=True, tag_field="kind", tag="exchange", kw_only=True):
    """Written when it is over, once for every id that a client ever saw."""

    v: int = VERSION
    id: str
    at: float
    """Seconds since the epoch, when the request's head had been read."""
    worker: int
    config: str
    """Digest of the configuration it ran under."""
    principal: PrincipalRecord = PrincipalRecord()
    route: str
    """`messages`, `count_tokens`, `models`, `model`, `probe`, `options` or `none`."""
    model: ModelRecord = ModelRecord()
    stream: bool = False
    upstream: str | None = None
    """Name of the upstream that it was sent to; null if it did not come to that."""
    origin: str | None = None
    """Scheme, host and port of that upstream: `https://api.anthropic.com:443`."""
    provider: str | None = None
    """Its profile: whose API it speaks."""
    scheme: str = "http"
    """`https` if the client spoke TLS with the gateway."""
    status: int | None = None
    """As sent to the client; null if nothing was."""
    outcome: str
    """`complete answered refused client_gone upstream_error upstream_error_event upstream_cut
    upstream_timeout unreachable worker_lost drained failed`."""
    dispatched: bool = False
    """An `intent` of the same id came before."""
    refused_by: RefusedBy | None = None
    decisions: tuple[DecisionRecord, ...] = ()
    edits: tuple[EditRecord, ...] = ()
    usage: Usage | None = None
    usage_source: str = "none"
    """`final`: the answer's own closing numbers; `partial`: it broke off; `none`."""
    stop_reason: str | None = None
    error_type: str | None = None
    error: str | None = None
    """What went wrong, for operators. Never content."""
    upstream_request_id: str | None = None
    response_id: str | None = None
    """The answer's own id, such as `msg_…`."""
    client: ClientRecord = ClientRecord()
    trace: TraceRecord | None = None
    timing_ms: Timing = Timing()
    bytes: Bytes = Bytes()
    sha256: Sha256 | None = None
    events: int = 0
    """Server-sent events in the answer."""
    meter: str | None = None
    """Why the usage meter stopped early, if it did."""
    shape: Shape = Shape()
    upstream_limits: dict[str, str] | None = None
    """The answer's `anthropic-ratelimit-*-remaining` and `-limit` headers, if any."""
    chat: str | None = None
    """How a client of the OpenAI format was served: `convert` where what it got are not the
    upstream's bytes but was made from them here, `pass` where the upstream converts."""


class Inspection(msgspec.Struct, frozen=True, tag_field="kind", tag="inspection", kw_only=True):
    """What policies found in an answer that had been passed on, written after its `exchange`.

    Where the configuration inspects answers, every answered `messages` exchange has one. If
    it is missing the worker died before: the answer was not inspected.
    """

    v: int = VERSION
    id: str
    """The exchange's."""
    at: float
    """Seconds since the epoch, when it was written."""
    worker: int
    config: str
    principal: PrincipalRecord = PrincipalRecord()
    route: str
    decisions: tuple[DecisionRecord, ...] = ()
    """Of each policy `inspect` and its findings, or why not: `not_evaluated`. Pointers lead
    into the message as it would be without streaming."""
    bytes: int = 0
    """Of the answer that was looked at, without its compression."""


class Content(msgspec.Struct, frozen=True, tag_field="kind", tag="content", kw_only=True):
    """What was asked and answered, after redaction. Only with `journal.content = "redacted"`.

    Written after the `exchange`, into segments of its own (`content-…`), which are kept for a
    time of their own. Never there: media, ciphertext, and what could not be looked through.
    """

    v: int = VERSION
    id: str
    """The exchange's."""
    at: float
    worker: int
    config: str
    principal: PrincipalRecord = PrincipalRecord()
    request: dict[str, Any] | None = None
    """The request as it left, every secret found in it replaced; null if it is not kept."""
    response: dict[str, Any] | None = None
    """The answer as it would be without streaming, likewise."""
    missing: tuple[str, ...] = ()
    """What is not there, and why: `request: 12 messages` did not fit, `response: not_redacted`."""


class ShadowDifference(msgspec.Struct, frozen=True, tag_field="kind", tag="shadow", kw_only=True):
    """Where the second configuration (`[shadow]`) would have gone otherwise than the live one.

    There is one only where they differ, or where the shadow was not asked.
    """

    v: int = VERSION
    id: str
    """The exchange's."""
    at: float
    """Seconds since the epoch, when the request's head had been read."""
    worker: int
    config: str
    """Digest of the live configuration."""
    shadow: str
    """Digest of the other."""
    principal: PrincipalRecord = PrincipalRecord()
    """Under the live one."""
    route: str
    model: ModelRecord = ModelRecord()
    what: str
    """`refused` or `admitted` by the shadow only, `other_rule`, `identity`, `changed`, or
    `not_evaluated`."""
    live: str
    """`leaves`, or `plugin:rule` of who refused; or the values that differ."""
    candidate: str
    """The same under the shadow."""
    decisions: tuple[DecisionRecord, ...] = ()
    """The shadow's, with mode `shadow_config`."""


class GaugeRecord(msgspec.Struct, frozen=True):
    """A number that a policy reports."""

    name: str
    labels: dict[str, str]
    value: float


class PolicyVitals(msgspec.Struct, frozen=True):
    """How one policy of a worker is, where it can tell."""

    plugin: str
    healthy: bool
    message: str = ""
    gauges: tuple[GaugeRecord, ...] = ()


class Vitals(msgspec.Struct, frozen=True, tag_field="kind", tag="vitals", kw_only=True):
    """How a worker is, every few seconds."""

    v: int = VERSION
    at: float
    worker: int
    pid: int
    config: str
    inflight: int
    loop_lag_ms: float
    """Worst lateness of a timer since the last vitals."""
    rss_bytes: int
    journal_pending: int
    """Records that could not be written yet."""
    journal_lost: int = 0
    """Records of this worker that were given up, as no more could be kept in memory."""
    upstream_idle: int
    upstream_open: int
    reloads: int = 0
    reload_failures: int = 0
    policies: tuple[PolicyVitals, ...] = ()


class SegmentStart(msgspec.Struct, frozen=True, tag_field="kind", tag="segment", kw_only=True):
    """The first line of each segment: whose it is, and which intents are still open."""

    v: int = VERSION
    at: float
    writer: str
    sequence: int
    previous: str | None = None
    """Where the chain of the segment before ended; empty if there is none before; null in
    journals from before there were chains."""
    by: str = "writer"
    """`recovery` where a power cut took the beginning."""
    open: tuple[Intent, ...] = ()


class WriterEnd(msgspec.Struct, frozen=True, tag_field="kind", tag="end", kw_only=True):
    """The last line of a writer's last segment: nothing of it is open any more."""

    v: int = VERSION
    at: float
    writer: str
    by: str
    """`writer` if it left in order, `recovery` if it was found dead."""
    torn_bytes: int = 0
    """Bytes of a half-written last line that recovery cut off."""


Record = (
    Intent
    | ExchangeRecord
    | Inspection
    | Content
    | ShadowDifference
    | Vitals
    | SegmentStart
    | WriterEnd
)

_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(Record)


def encode(record: Record) -> bytes:
    """Return the record as one line of JSON, newline included.

    A caller can write half a surrogate pair in a model id or a key; `?` stands for it here.
    """
    try:
        return _encoder.encode(record) + b"\n"
    except UnicodeEncodeError:
        return _encoder.encode(encodable(msgspec.to_builtins(record))) + b"\n"


def decode(line: bytes) -> Record:
    """Return the record that a journal line holds.

    Raises:
        msgspec.MsgspecError: not a record. Readers count it and go on.
    """
    record: Record = _decoder.decode(line)
    return record
