"""The spans of a record: ids, times, names, status and attributes, value by value."""

import importlib
import pkgutil
from collections.abc import Mapping
from typing import Any

import opentelemetry.semconv._incubating.attributes as incubating
import opentelemetry.semconv.attributes as stable
import pytest
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import SpanKind, StatusCode

from observed import AT, PARENT, SONNET, SPAN, TRACE, exchange, refusal, trace
from tidegate.record import (
    DecisionRecord,
    ExchangeRecord,
    ModelRecord,
    Shape,
    Timing,
    Usage,
)
from tidegate_plugins.otlp import semconv
from tidegate_plugins.tracing.spans import SpanBuilder

SECOND = 1_000_000_000
NEWER_THAN_THE_PACKAGE = {
    "gen_ai.client.inference.operation.details",  # an event: the package names attributes only
    "gen_ai.conversation.compacted",
    "gen_ai.request.reasoning.level",
    "gen_ai.usage.cache_write.input_tokens",
}


def build(record: ExchangeRecord) -> list[ReadableSpan]:
    return SpanBuilder(Resource.get_empty(), "1.2.3").build(record, "ratio")


def server(record: ExchangeRecord) -> ReadableSpan:
    return build(record)[0]


def inference(record: ExchangeRecord) -> ReadableSpan:
    return build(record)[-2]


def request(record: ExchangeRecord) -> ReadableSpan:
    return build(record)[-1]


def policies(record: ExchangeRecord) -> list[ReadableSpan]:
    return [span for span in build(record) if span.kind is SpanKind.INTERNAL]


def said(span: ReadableSpan) -> Mapping[str, Any]:
    return dict(span.attributes or {})


def ids(span: ReadableSpan) -> tuple[str, str]:
    context = span.get_span_context()
    assert context is not None
    return f"{context.trace_id:032x}", f"{context.span_id:016x}"


def test_the_server_span_has_the_records_ids_and_times() -> None:
    span = server(exchange(7, trace=trace()))
    assert (span.name, span.kind) == ("POST /v1/messages", SpanKind.SERVER)
    assert ids(span) == (TRACE, SPAN)
    assert span.parent is not None
    assert (f"{span.parent.span_id:016x}", span.parent.is_remote) == (PARENT, True)
    assert span.start_time == (int(AT) + 7) * SECOND
    assert span.end_time == (int(AT) + 9) * SECOND
    assert span.status.status_code is StatusCode.UNSET


def test_without_a_parent_the_server_span_is_the_root() -> None:
    assert server(exchange(trace=trace(parent_id=None))).parent is None


def test_the_server_span_says_http_and_ours_and_nothing_of_gen_ai() -> None:
    found = said(server(exchange(7)))
    assert found == {
        "http.request.method": "POST",
        "http.route": "/v1/messages",
        "url.path": "/v1/messages",
        "url.scheme": "http",
        "http.response.status_code": 200,
        "http.request.body.size": 1000,
        "http.response.body.size": 5000,
        "tidegate.id": "tg_00000007",
        "tidegate.outcome": "complete",
        "tidegate.kept_for": "ratio",
        "tidegate.team": "search",
        "tidegate.principal": "ci-search",
        "tidegate.worker": 0,
        "tidegate.config": "c0ffee",
        "tidegate.client.app": "claude-cli/2.1.330",
        "tidegate.edits": 1,
        "tidegate.edit_rules": ("aws-key",),
        "tidegate.overhead_s": 0.0015,
    }


def test_the_inference_span_is_the_operation_as_the_model_sees_it() -> None:
    span = inference(exchange(7, trace=trace(), shape=Shape(max_tokens=4096)))
    assert (span.name, span.kind) == (f"chat {SONNET}", SpanKind.CLIENT)
    assert span.parent is not None
    assert (f"{span.parent.span_id:016x}", span.parent.is_remote) == (SPAN, False)
    assert span.start_time == (int(AT) + 7) * SECOND + 3_000_000
    assert span.end_time == (int(AT) + 9) * SECOND
    assert said(span) == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "anthropic",
        "server.address": "api.anthropic.com",
        "server.port": 443,
        "gen_ai.request.model": SONNET,
        "gen_ai.request.max_tokens": 4096,
        "gen_ai.request.stream": True,
        "gen_ai.response.id": "msg_upstream",
        "gen_ai.response.model": SONNET,
        "gen_ai.response.finish_reasons": ("stop",),
        "gen_ai.response.time_to_first_chunk": 0.298,
        "gen_ai.usage.input_tokens": 10 + 20 + 30 + 40,
        "gen_ai.usage.cache_read.input_tokens": 20,
        "gen_ai.usage.cache_write.input_tokens": 70,
        "gen_ai.usage.output_tokens": 51,
        "gen_ai.usage.reasoning.output_tokens": 7,
        "gen_ai.conversation.id": "session-1",
        "gen_ai.agent.id": "agent-1",
        "http.response.status_code": 200,
        "tidegate.upstream.name": "default",
        "tidegate.upstream.request_id": "req_upstream",
        "tidegate.usage.source": "final",
        "tidegate.usage.cache_write_5m": 30,
        "tidegate.usage.cache_write_1h": 40,
        "tidegate.stream.events": 42,
    }


def test_the_model_as_it_was_asked_for_is_told_where_it_was_changed() -> None:
    found = said(inference(exchange(model=ModelRecord("claude-x", SONNET, SONNET))))
    assert (found["gen_ai.request.model"], found["tidegate.model_asked"]) == (SONNET, "claude-x")


def test_a_refused_exchange_has_no_inference_span() -> None:
    span, policy = build(refusal())
    assert (policy.name, policy.kind) == ("tidegate.policy.decision models", SpanKind.INTERNAL)
    assert span.status.status_code is StatusCode.UNSET
    found = said(span)
    assert found["http.response.status_code"] == 404
    assert (found["tidegate.refused_by.plugin"], found["tidegate.refused_by.rule"]) == (
        "models",
        "not_allowed",
    )
    assert "error.type" not in found


def test_counting_tokens_uses_none() -> None:
    span = inference(exchange(route="count_tokens", stream=False, usage=Usage(input=9)))
    assert span.name == f"count_tokens {SONNET}"
    assert not [name for name in said(span) if name.startswith("gen_ai.usage")]


@pytest.mark.parametrize(
    ("route", "name"),
    [("models", "GET /v1/models"), ("model", "GET /v1/models/{model_id}"), ("none", "HTTP")],
)
def test_what_is_no_operation_on_a_model_has_no_inference_span(route: str, name: str) -> None:
    spans = build(exchange(route=route, decisions=()))
    assert spans[0].name == name
    assert [span.name for span in spans[1:]] == ([] if route == "none" else ["GET"])
    assert not [key for span in spans for key in said(span) if key.startswith("gen_ai.")]


def test_the_request_upstream_is_a_span_of_http_within_the_operation() -> None:
    record = exchange(7)
    span = request(record)
    assert (span.name, span.kind) == ("POST", SpanKind.CLIENT)
    assert span.parent is not None
    assert f"{span.parent.span_id:016x}" == ids(inference(record))[1]
    assert said(span) == {
        "http.request.method": "POST",
        "server.address": "api.anthropic.com",
        "server.port": 443,
        "url.full": "https://api.anthropic.com:443/v1/messages",
        "network.protocol.version": "1.1",
        "http.response.status_code": 200,
        "http.request.body.size": 984,
        "http.response.body.size": 5000,
        "tidegate.upstream.request_id": "req_upstream",
    }


def test_a_request_for_one_model_says_which() -> None:
    record = exchange(route="model", shape=Shape(outline={"model": "claude-x"}))
    assert said(server(record))["url.path"] == "/v1/models/claude-x"
    assert said(request(record))["url.full"] == "https://api.anthropic.com:443/v1/models/claude-x"


def test_what_a_request_asks_for_is_told_if_it_is_of_the_right_type() -> None:
    config = {"effort": "xhigh", "format": {"type": "json_schema"}}
    outline = {"temperature": 1, "top_p": 0.5, "top_k": 40, "output_config": config}
    found = said(inference(exchange(shape=Shape(outline=outline))))
    assert found["gen_ai.request.temperature"] == 1.0
    assert found["gen_ai.request.top_p"] == 0.5
    assert found["gen_ai.request.top_k"] == 40
    assert found["gen_ai.request.reasoning.level"] == "xhigh"
    assert found["gen_ai.output.type"] == "json"
    odd = {"temperature": True, "top_p": "?", "top_k": [], "output_config": "?"}
    assert said(inference(exchange(shape=Shape(outline=odd)))) == said(inference(exchange()))


def test_a_compacted_conversation_is_told() -> None:
    found = said(inference(exchange(usage=Usage(iterations=({"type": "compaction"},)))))
    assert found["gen_ai.conversation.compacted"] is True


@pytest.mark.parametrize(
    ("reason", "expected"),
    [
        ("end_turn", "stop"),
        ("stop_sequence", "stop"),
        ("max_tokens", "length"),
        ("tool_use", "tool_call"),
        ("refusal", "refusal"),
        ("pause_turn", "pause_turn"),
    ],
)
def test_finish_reasons_are_those_of_the_conventions(reason: str, expected: str) -> None:
    found = said(inference(exchange(stop_reason=reason)))
    assert found["gen_ai.response.finish_reasons"] == (expected,)


@pytest.mark.parametrize(
    ("changes", "server_error", "inference_error"),
    [
        ({"outcome": "complete"}, "", ""),
        ({"outcome": "client_gone"}, "", ""),
        (
            {"outcome": "upstream_error", "status": 429, "error_type": "rate_limit_error"},
            "",
            "rate_limit_error",
        ),
        (
            {"outcome": "upstream_error", "status": 529, "error_type": "overloaded_error"},
            "overloaded_error",
            "overloaded_error",
        ),
        (
            {"outcome": "upstream_error_event", "error_type": "api_error"},
            "api_error",
            "api_error",
        ),
        ({"outcome": "upstream_cut"}, "upstream_cut", "upstream_cut"),
        ({"outcome": "unreachable", "status": 502}, "502", "unreachable"),
        ({"outcome": "worker_lost", "status": None}, "worker_lost", "worker_lost"),
    ],
)
def test_whose_error_it_is(
    changes: dict[str, Any], server_error: str, inference_error: str
) -> None:
    record = exchange(**changes, decisions=())
    for span, error in (
        (server(record), server_error),
        (inference(record), inference_error),
    ):
        assert said(span).get("error.type", "") == error
        assert (span.status.status_code is StatusCode.ERROR) is bool(error)


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"outcome": "complete"}, ""),
        ({"outcome": "upstream_error", "status": 429, "error_type": "rate_limit_error"}, "429"),
        ({"outcome": "upstream_error_event", "error_type": "api_error"}, ""),
        ({"outcome": "upstream_cut"}, "upstream_cut"),
        ({"outcome": "unreachable", "status": 502, "timing_ms": Timing(total=5.0)}, "unreachable"),
    ],
)
def test_what_failed_about_the_request_upstream(changes: dict[str, Any], error: str) -> None:
    span = request(exchange(**changes))
    assert said(span).get("error.type", "") == error
    assert (span.status.status_code is StatusCode.ERROR) is bool(error)
    if error == "unreachable":
        assert "http.response.status_code" not in said(span)


DECISIONS = (
    DecisionRecord("identify", "", "admit", "enforce", us=40),
    DecisionRecord("models", "x", "refuse", "shadow", "/model", us=10),
    DecisionRecord("redact", "aws-key", "edit", "enforce", us=900),
    DecisionRecord("redact", "aws-key", "found", "enforce", "/messages/0/content"),
    DecisionRecord("quota", "", "not_evaluated", "enforce"),
)


def test_a_plain_yes_is_an_event_at_the_moment_it_was_said() -> None:
    events = server(exchange(decisions=DECISIONS, at=AT)).events
    assert [event.name for event in events] == ["tidegate.policy.decision"] * 2
    assert [event.timestamp - int(AT) * SECOND for event in events] == [1_090_000, 2_000_000]
    assert dict(events[0].attributes or {}) == {
        "tidegate.policy.plugin": "identify",
        "tidegate.policy.verdict": "admit",
        "tidegate.policy.mode": "enforce",
        "tidegate.policy.duration_us": 40,
    }


def test_a_decision_that_is_no_plain_yes_is_a_span_with_its_findings() -> None:
    record = exchange(decisions=DECISIONS, at=AT)
    models, redact = policies(record)
    assert (models.name, redact.name) == (
        "tidegate.policy.decision models",
        "tidegate.policy.decision redact",
    )
    assert models.start_time == int(AT) * SECOND + 1_090_000
    assert models.end_time == redact.start_time == int(AT) * SECOND + 1_100_000
    assert redact.end_time == int(AT) * SECOND + 2_000_000
    assert models.parent == redact.parent == server(record).context
    assert said(models) == {
        "tidegate.policy.plugin": "models",
        "tidegate.policy.rule": "x",
        "tidegate.policy.verdict": "refuse",
        "tidegate.policy.mode": "shadow",
        "tidegate.policy.duration_us": 10,
    }
    (found,) = redact.events
    assert dict(found.attributes or {})["tidegate.policy.verdict"] == "found"


def test_a_slow_policy_is_a_span_though_it_said_yes() -> None:
    slow = DecisionRecord("identify", "", "admit", "enforce", us=50_000)
    (span,) = policies(exchange(decisions=(slow,)))
    assert span.status.status_code is StatusCode.UNSET


@pytest.mark.parametrize("verdict", ["error", "timeout"])
def test_a_policy_that_broke_is_an_error(verdict: str) -> None:
    (span,) = policies(exchange(decisions=(DecisionRecord("quota", "", verdict, "admit"),)))
    assert span.status.status_code is StatusCode.ERROR
    assert said(span)["error.type"] == verdict


def test_events_are_bounded_and_what_is_left_out_is_counted() -> None:
    many = tuple(DecisionRecord("redact", "x", "found", "enforce") for _ in range(500))
    span = server(exchange(decisions=many))
    assert (len(span.events), span.dropped_events) == (128, 372)


def test_limits_of_the_environment_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_SPAN_ATTRIBUTE_VALUE_LENGTH_LIMIT", "3")
    monkeypatch.setenv("OTEL_SPAN_EVENT_COUNT_LIMIT", "1")
    many = tuple(DecisionRecord("redact", "x", "found", "enforce") for _ in range(5))
    span = server(exchange(decisions=many))
    assert said(span)["tidegate.team"] == "sea"
    assert len(span.events) == 1


def test_the_same_record_is_the_same_spans() -> None:
    once, again = build(exchange(3)), build(exchange(3))
    assert [span.to_json() for span in once] == [span.to_json() for span in again]
    other = build(exchange(4, trace=trace(3)))
    assert not {ids(span) for span in once[1:]} & {ids(span) for span in other[1:]}
    assert len({ids(span) for span in once}) == len(once)


def test_an_exchange_that_recovery_closed_has_spans_too() -> None:
    lost = exchange(outcome="worker_lost", status=None, timing_ms=Timing(), at=AT)
    for span in build(lost):
        assert span.start_time == span.end_time == int(AT) * SECOND


def test_pointers_and_answers_of_policies_stay_in_the_journal() -> None:
    text = "".join(span.to_json() for span in build(exchange()))
    assert "/messages/0/content" not in text


def test_the_names_are_those_of_the_conventions() -> None:
    known = set[str]()
    for package in (stable, incubating):
        for module in pkgutil.iter_modules(package.__path__):
            names = vars(importlib.import_module(f"{package.__name__}.{module.name}"))
            known |= {value for value in names.values() if isinstance(value, str)}
    ours = {value for name, value in vars(semconv).items() if name.isupper()}
    foreign = {name for name in ours if not name.startswith("tidegate.")}
    assert foreign - known == NEWER_THAN_THE_PACKAGE
