"""Records as the journal has them, and the host an observer is opened with."""

from collections.abc import Awaitable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tidegate.plugin import Host
from tidegate.record import (
    Bytes,
    DecisionRecord,
    EditRecord,
    ExchangeRecord,
    Intent,
    ModelRecord,
    PrincipalRecord,
    RefusedBy,
    Timing,
    TraceRecord,
    Usage,
    Vitals,
)
from tidegate.record import ClientRecord as Client

AT = 1_800_000_000.0
"""When the first exchange arrives, in seconds since the epoch."""
TRACE = "0af7651916cd43dd8448eb211c80319c"
SPAN = "b7ad6b7169203331"
PARENT = "00f067aa0ba902b7"
SONNET = "claude-sonnet-4-6"


@dataclass
class StandingClock:
    """A clock that moves when told to."""

    at: float = AT

    def now(self) -> float:
        return self.at

    def monotonic_ns(self) -> int:
        return int(self.at * 1e9)


def no_background(work: Awaitable[None], name: str) -> None:
    raise AssertionError(f"{name}: an observer here needs no background work")


def host(name: str, *, state: bytes = b"", clock: StandingClock | None = None) -> Host:
    return Host(
        name=name,
        clock=clock or StandingClock(),
        spawn=no_background,
        state_dir=Path("not-used"),
        state=state,
        info=(("version", "1.2.3"),),
        digest=lambda: "c0ffee",
    )


def trace(number: int = 0, **changes: Any) -> TraceRecord:
    fields: dict[str, Any] = {
        "trace_id": f"{number:032x}" if number else TRACE,
        "span_id": f"{number:016x}" if number else SPAN,
        "parent_id": PARENT,
        "flags": 1,
    }
    return TraceRecord(**(fields | changes))


def exchange(number: int = 1, **changes: Any) -> ExchangeRecord:
    """Return a complete stream: 2 s long, its first token after 0.5 s."""
    fields: dict[str, Any] = {
        "id": f"tg_{number:08d}",
        "at": AT + number,
        "worker": 0,
        "config": "c0ffee",
        "principal": PrincipalRecord("ci-search", "search"),
        "route": "messages",
        "model": ModelRecord(SONNET, SONNET, SONNET),
        "stream": True,
        "status": 200,
        "outcome": "complete",
        "dispatched": True,
        "decisions": (
            DecisionRecord("identify", "", "admit", "enforce", us=40),
            DecisionRecord("redact", "aws-key", "edit", "enforce", us=900),
            DecisionRecord("redact", "aws-key", "found", "enforce", "/messages/0/content"),
        ),
        "edits": (EditRecord("/messages/0/content", "aws-key", 40, 24, plugin="redact"),),
        "usage": Usage(10, 20, 30, 40, 51, thinking=7),
        "usage_source": "final",
        "stop_reason": "end_turn",
        "upstream_request_id": "req_upstream",
        "upstream": "default",
        "origin": "https://api.anthropic.com:443",
        "provider": "anthropic",
        "response_id": "msg_upstream",
        "client": Client(session="session-1", agent="agent-1", app="claude-cli/2.1.330"),
        "trace": trace(number),
        "timing_ms": Timing(
            admit=2.0,
            dispatched=3.0,
            upstream_head=300.0,
            first_byte=301.0,
            first_token=500.0,
            last_byte=2000.0,
            total=2000.0,
            overhead=1.5,
            overhead_request=1.2,
            overhead_response=0.3,
            longest_gap=150.0,
        ),
        "bytes": Bytes(1000, 984, 5000),
        "events": 42,
    }
    return ExchangeRecord(**(fields | changes))


def refusal(number: int = 1, **changes: Any) -> ExchangeRecord:
    """Return an exchange that a policy did not let leave."""
    fields: dict[str, Any] = {
        "status": 404,
        "outcome": "refused",
        "dispatched": False,
        "refused_by": RefusedBy("models", "not_allowed", "/model"),
        "decisions": (DecisionRecord("models", "not_allowed", "refuse", "enforce", "/model", 30),),
        "edits": (),
        "model": ModelRecord("claude-opus-4-1", "claude-opus-4-1"),
        "usage": None,
        "usage_source": "none",
        "stop_reason": None,
        "error_type": "not_found_error",
        "upstream_request_id": None,
        "upstream": None,
        "origin": None,
        "provider": None,
        "response_id": None,
        "timing_ms": Timing(
            admit=1.0, total=1.5, first_byte=1.4, last_byte=1.5, overhead=1.5, overhead_request=1.0
        ),
        "bytes": Bytes(1000, 0, 120),
        "events": 0,
    }
    return exchange(number, **(fields | changes))


def intent(number: int = 1) -> Intent:
    """Return what was written before `exchange(number)` left."""
    over = exchange(number)
    return Intent(
        id=over.id,
        at=over.at,
        worker=over.worker,
        config=over.config,
        route=over.route,
        principal=over.principal,
        model=over.model,
        stream=over.stream,
        client=over.client,
        trace=trace(number),
    )


def vitals(worker: int = 0, **changes: Any) -> Vitals:
    fields: dict[str, Any] = {
        "at": AT,
        "worker": worker,
        "pid": 100 + worker,
        "config": "c0ffee",
        "inflight": 3,
        "loop_lag_ms": 12.5,
        "rss_bytes": 50_000_000,
        "journal_pending": 0,
        "upstream_idle": 2,
        "upstream_open": 5,
    }
    return Vitals(**(fields | changes))
