"""Records to test an observer with: one exchange as you like it, or every kind there is."""

from collections.abc import Iterator
from typing import Any

import msgspec

from tidegate.record import (
    Bytes,
    ClientRecord,
    DecisionRecord,
    EditRecord,
    ExchangeRecord,
    Inspection,
    Intent,
    ModelRecord,
    PrincipalRecord,
    Record,
    RefusedBy,
    SegmentStart,
    Sha256,
    ShadowDifference,
    Shape,
    Timing,
    TraceRecord,
    Usage,
    Vitals,
    WriterEnd,
)
from tidegate.testing.fakes import EPOCH

OUTCOMES = (
    "complete",
    "answered",
    "refused",
    "client_gone",
    "upstream_error",
    "upstream_error_event",
    "upstream_cut",
    "upstream_timeout",
    "unreachable",
    "worker_lost",
    "drained",
    "failed",
)

_TRACE = TraceRecord("0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331")
_PRINCIPAL = PrincipalRecord("ci-search", "search")
_CLIENT = ClientRecord(session="session-1", app="test/1.0")
_TIMING = Timing(
    admit=0.4,
    dispatched=0.6,
    upstream_head=210.0,
    first_byte=210.2,
    first_token=350.0,
    last_byte=1900.0,
    total=1900.5,
    overhead=1.1,
    overhead_request=0.6,
    overhead_response=0.5,
    connect=0.0,
)


def make_record(**fields: Any) -> ExchangeRecord:
    """Return the record of a streamed answer that went well, with these fields changed."""
    record = ExchangeRecord(
        id="tg_test",
        at=EPOCH,
        worker=0,
        config="000000000000",
        principal=_PRINCIPAL,
        route="messages",
        model=ModelRecord("claude-sonnet-4-6", "claude-sonnet-4-6", "claude-sonnet-4-6"),
        stream=True,
        status=200,
        outcome="complete",
        dispatched=True,
        usage=Usage(input=12, cache_read=1000, cache_write_5m=30, output=250, thinking=100),
        usage_source="final",
        stop_reason="end_turn",
        upstream_request_id="req_upstream",
        client=_CLIENT,
        trace=_TRACE,
        timing_ms=_TIMING,
        bytes=Bytes(request_in=900, request_out=900, response=5000),
        events=40,
        shape=Shape(max_tokens=1024, messages=1, version="2023-06-01"),
    )
    return msgspec.structs.replace(record, **fields)


def make_intent(record: ExchangeRecord) -> Intent:
    """Return what was written before that exchange was dispatched."""
    return Intent(
        id=record.id,
        at=record.at,
        worker=record.worker,
        config=record.config,
        route=record.route,
        principal=record.principal,
        model=record.model,
        stream=record.stream,
        client=record.client,
        trace=record.trace or _TRACE,
        edits=record.edits,
        bytes=record.bytes,
    )


def make_inspection(record: ExchangeRecord, *decisions: DecisionRecord) -> Inspection:
    """Return what was found in that exchange's answer."""
    looked = DecisionRecord("redact", "", "inspect", "enforce", us=80)
    return Inspection(
        id=record.id,
        at=record.at + record.timing_ms.total / 1000,
        worker=record.worker,
        config=record.config,
        principal=record.principal,
        route=record.route,
        decisions=(looked, *decisions),
        bytes=record.bytes.response,
    )


def make_shadow_difference(record: ExchangeRecord, **fields: Any) -> ShadowDifference:
    """Return that a second configuration would have refused that exchange."""
    difference = ShadowDifference(
        id=record.id,
        at=record.at,
        worker=record.worker,
        config=record.config,
        shadow="111111111111",
        principal=record.principal,
        route=record.route,
        model=record.model,
        what="refused",
        live="leaves",
        candidate="models:not_allowed",
        decisions=(DecisionRecord("models", "not_allowed", "refuse", "shadow_config", us=9),),
    )
    return msgspec.structs.replace(difference, **fields)


def make_vitals(**fields: Any) -> Vitals:
    """Return how a healthy worker is, with these fields changed."""
    vitals = Vitals(
        at=EPOCH,
        worker=0,
        pid=4711,
        config="000000000000",
        inflight=3,
        loop_lag_ms=0.8,
        rss_bytes=80_000_000,
        journal_pending=0,
        upstream_idle=2,
        upstream_open=5,
    )
    return msgspec.structs.replace(vitals, **fields)


def sample_records() -> tuple[Record, ...]:
    """Return a segment with every kind of record, in the order that one worker writes them."""
    exchanges = tuple(_exchanges())
    lost = make_record(
        id="tg_lost", outcome="worker_lost", status=None, usage=None, usage_source="none"
    )
    records: list[Record] = [
        SegmentStart(at=EPOCH, writer="w0", sequence=7, open=(make_intent(lost),)),
        make_vitals(),
        lost,
    ]
    for record in exchanges:
        if record.dispatched:
            records.append(make_intent(record))
        records.append(record)
        if record.dispatched:
            records.append(make_inspection(record))
    found = DecisionRecord("redact", "aws-key", "found", "enforce", "/content/0/text")
    missed = DecisionRecord("redact", "too_large", "not_evaluated", "enforce")
    records.append(make_inspection(make_record(id="tg_edited"), found, missed))
    records.append(make_shadow_difference(make_record(id="tg_edited")))
    records.append(make_vitals(at=EPOCH + 5, inflight=0, reloads=1, reload_failures=1))
    records.append(WriterEnd(at=EPOCH + 6, writer="w0", by="recovery", torn_bytes=17))
    return tuple(records)


def _exchanges() -> Iterator[ExchangeRecord]:
    for number, outcome in enumerate(OUTCOMES):
        yield make_record(id=f"tg_outcome_{number}", at=EPOCH + number, outcome=outcome)
    yield _refused()
    yield _edited()
    yield _bare()
    yield make_record(
        id="tg_count", route="count_tokens", stream=False, usage=None, usage_source="none"
    )
    yield make_record(id="tg_partial", outcome="upstream_cut", usage_source="partial")
    # What a caller or an upstream made up, and what a later version may write.
    odd = 'odd "model"\n\\ \N{SNOWMAN}\0' + "x" * 500
    yield make_record(id="tg_odd", model=ModelRecord(odd, odd, odd), stop_reason=odd)
    yield make_record(id="tg_new", route="batches", outcome="a_new_outcome", status=299)


def _refused() -> ExchangeRecord:
    decision = DecisionRecord("models", "not_allowed", "refuse", "enforce", "/model", 12)
    return make_record(
        id="tg_refused",
        status=404,
        outcome="refused",
        dispatched=False,
        refused_by=RefusedBy("models", "not_allowed", "/model"),
        decisions=(decision,),
        usage=None,
        usage_source="none",
        stop_reason=None,
        error_type="not_found_error",
        timing_ms=Timing(admit=0.3, total=0.5, overhead=0.5),
    )


def _edited() -> ExchangeRecord:
    pointer = "/messages/0/content"
    return make_record(
        id="tg_edited",
        decisions=(
            DecisionRecord("redact", "aws-key", "edit", "enforce", pointer, 300),
            DecisionRecord("redact", "aws-key", "found", "enforce", pointer),
        ),
        edits=(EditRecord(pointer, "aws-key", 42, 30, "redact", 77),),
        sha256=Sha256("0" * 64, "1" * 64, "2" * 64),
        usage=Usage(output=9, iterations=({"type": "message", "output_tokens": 9},)),
        meter="too_long",
        upstream_limits={"anthropic-ratelimit-requests-remaining": "49"},
    )


def _bare() -> ExchangeRecord:
    """Everything that can be unknown is: the head was read, and no more."""
    return ExchangeRecord(
        id="tg_bare", at=EPOCH, worker=1, config="", route="none", outcome="failed"
    )
