"""The OpenTelemetry conventions, as far as spans and log records of ours fall under them.

Sources: semantic conventions 1.44 "HTTP spans"; GenAI conventions as of late 2026, "Inference"
and "Anthropic". Written from the text, not from what the gateway sends.
"""

from collections.abc import Iterable
from typing import Any

from support.otel_collector import said

INTERNAL, SERVER, CLIENT = 1, 2, 3
ERROR = 2

TYPES: dict[str, type] = {
    "http.request.method": str,
    "http.route": str,
    "http.response.status_code": int,
    "http.request.body.size": int,
    "http.response.body.size": int,
    "url.path": str,
    "url.scheme": str,
    "url.full": str,
    "server.address": str,
    "server.port": int,
    "network.protocol.version": str,
    "error.type": str,
    "gen_ai.operation.name": str,
    "gen_ai.provider.name": str,
    "gen_ai.request.model": str,
    "gen_ai.request.max_tokens": int,
    "gen_ai.request.stream": bool,
    "gen_ai.request.temperature": float,
    "gen_ai.request.top_p": float,
    "gen_ai.request.top_k": int,
    "gen_ai.request.reasoning.level": str,
    "gen_ai.output.type": str,
    "gen_ai.response.id": str,
    "gen_ai.response.model": str,
    "gen_ai.response.finish_reasons": list,
    "gen_ai.response.time_to_first_chunk": float,
    "gen_ai.usage.input_tokens": int,
    "gen_ai.usage.cache_read.input_tokens": int,
    "gen_ai.usage.cache_write.input_tokens": int,
    "gen_ai.usage.output_tokens": int,
    "gen_ai.usage.reasoning.output_tokens": int,
    "gen_ai.conversation.id": str,
    "gen_ai.conversation.compacted": bool,
    "gen_ai.agent.id": str,
    "gen_ai.input.messages": list,
    "gen_ai.output.messages": list,
    "gen_ai.system_instructions": list,
}
"""Every attribute outside our own namespace, and its type."""


def check_trace(spans: Iterable[dict[str, Any]]) -> None:
    """Check the spans of one exchange: one SERVER, and what belongs under it."""
    by_id = {span["spanId"]: span for span in spans}
    (server,) = (span for span in by_id.values() if span["kind"] == SERVER)
    assert {span["traceId"] for span in by_id.values()} == {server["traceId"]}
    for span in by_id.values():
        check_types(said(span))
        assert int(span["startTimeUnixNano"]) <= int(span["endTimeUnixNano"])
        failed = span["status"].get("code") == ERROR
        assert ("error.type" in said(span)) is failed, span
        if span is server:
            check_server(span)
        elif span["kind"] == INTERNAL:
            assert span["parentSpanId"] == server["spanId"]
            assert not _gen_ai(said(span))
        elif "gen_ai.operation.name" in said(span):
            assert span["parentSpanId"] == server["spanId"]
            check_inference(span)
        else:
            check_request(span, by_id[span["parentSpanId"]])


def check_types(found: dict[str, Any]) -> None:
    for name, value in found.items():
        assert name.startswith("tidegate.") or type(value) is TYPES[name], (name, value)


def check_server(span: dict[str, Any]) -> None:
    found = said(span)
    assert not _gen_ai(found)
    assert found["http.request.method"] in ("GET", "POST", "_OTHER")
    assert found["url.scheme"] in ("http", "https")
    if "http.route" in found:
        assert found["url.path"]
        assert span["name"] == f"{found['http.request.method']} {found['http.route']}"
    failed = span["status"].get("code") == ERROR
    assert not (failed and 400 <= found.get("http.response.status_code", 0) < 500)


def check_inference(span: dict[str, Any]) -> None:
    found = said(span)
    assert span["kind"] == CLIENT
    operation = found["gen_ai.operation.name"]
    assert span["name"] == f"{operation} {found['gen_ai.request.model']}"
    assert found["gen_ai.provider.name"] == "anthropic"
    assert found["server.address"]
    assert found["server.port"]
    assert "gen_ai.request.stream" not in found or found["gen_ai.request.stream"] is True
    check_usage(found)


def check_usage(found: dict[str, Any]) -> None:
    name = "gen_ai.usage."
    cached = ("cache_read.input_tokens", "cache_write.input_tokens")
    total = found.get(f"{name}input_tokens", 0)
    assert sum(found.get(name + each, 0) for each in cached) <= total
    output = found.get(f"{name}output_tokens", 0)
    assert found.get(f"{name}reasoning.output_tokens", 0) <= output
    if found["gen_ai.operation.name"] != "chat":
        assert not [each for each in found if each.startswith(name)]


def check_request(span: dict[str, Any], parent: dict[str, Any]) -> None:
    found = said(span)
    assert span["kind"] == CLIENT
    assert not _gen_ai(found)
    assert span["name"] == found["http.request.method"]
    assert found["server.address"]
    assert found["server.port"]
    assert found["url.full"].startswith(("http://", "https://"))
    assert "@" not in found["url.full"]
    assert "gen_ai.operation.name" in said(parent) or parent["kind"] == SERVER
    status = found.get("http.response.status_code")
    assert status is None or (status >= 400) <= (span["status"].get("code") == ERROR)


def check_log(entry: dict[str, Any]) -> None:
    """Check one log record."""
    check_types(said(entry))
    assert entry["eventName"]
    assert entry["severityText"] in ("DEBUG", "INFO", "WARN", "ERROR")
    assert 1 <= entry["severityNumber"] <= 24
    assert int(entry["timeUnixNano"]) > 0
    assert len(entry["traceId"]) == 32
    assert len(entry["spanId"]) == 16
    if "gen_ai.operation.name" in said(entry):
        check_usage(said(entry))


def _gen_ai(found: dict[str, Any]) -> list[str]:
    return [name for name in found if name.startswith("gen_ai.")]
