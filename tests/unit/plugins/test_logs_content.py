"""What was asked and answered, as an event of the GenAI conventions."""

from typing import Any

import msgspec
from opentelemetry.exporter.otlp.proto.common._log_encoder import encode_logs
from opentelemetry.sdk._logs import ReadableLogRecord
from opentelemetry.sdk.resources import Resource

from observed import SONNET, TRACE, exchange, trace
from tidegate.record import Content, ExchangeRecord
from tidegate_plugins.logs.content import MAX_BYTES
from tidegate_plugins.logs.entries import EntryBuilder
from tidegate_plugins.logs.messages import input_messages, output_messages, system_instructions
from tidegate_plugins.otlp.ids import child_id

REQUEST: dict[str, Any] = {
    "model": SONNET,
    "system": [{"type": "text", "text": "be brief"}, {"type": "image"}],
    "messages": [
        {"role": "user", "content": "how high?"},
        {
            "role": "assistant",
            "content": [
                {"type": "thinking", "thinking": "the moon"},
                {"type": "tool_use", "id": "t1", "name": "tide", "input": {"at": "noon"}},
            ],
        },
        {
            "role": "user",
            "content": [{"type": "tool_result", "tool_use_id": "t1", "content": "3 m"}],
        },
    ],
}
RESPONSE: dict[str, Any] = {
    "id": "msg_1",
    "model": SONNET,
    "role": "assistant",
    "content": [
        {"type": "server_tool_use", "id": "s1", "name": "web_search", "input": {"query": "q"}},
        {"type": "web_search_tool_result", "tool_use_id": "s1", "content": []},
        {"type": "text", "text": "three metres"},
        {"type": "something_new"},
    ],
}


def content(**changes: Any) -> Content:
    fields: dict[str, Any] = {
        "id": "tg_00000007",
        "at": 1_800_000_010.5,
        "worker": 0,
        "config": "c0ffee",
        "request": REQUEST,
        "response": RESPONSE,
    }
    return Content(**(fields | changes))


def event(of: Content, record: ExchangeRecord | None) -> ReadableLogRecord:
    (found,) = EntryBuilder(Resource.get_empty(), "1.2.3").details(of, record)
    return found


def test_the_conversation_is_in_the_parts_of_the_conventions() -> None:
    assert input_messages(REQUEST) == [
        {"role": "user", "parts": [{"type": "text", "content": "how high?"}]},
        {
            "role": "assistant",
            "parts": [
                {"type": "reasoning", "content": "the moon"},
                {"type": "tool_call", "id": "t1", "name": "tide", "arguments": {"at": "noon"}},
            ],
        },
        {
            "role": "tool",
            "parts": [{"type": "tool_call_response", "id": "t1", "response": "3 m"}],
        },
    ]
    assert system_instructions(REQUEST) == [{"type": "text", "content": "be brief"}]
    (answer,) = output_messages(RESPONSE)
    assert answer["role"] == "assistant"
    assert [part["type"] for part in answer["parts"]] == [
        *("server_tool_call", "server_tool_call_response", "text", "generic")
    ]
    assert answer["parts"][3] == {"type": "generic", "generic_type": "something_new"}


def test_the_event_is_about_the_operation_on_the_model() -> None:
    record = exchange(7, trace=trace())
    found = event(content(), record).log_record
    assert found.event_name == "gen_ai.client.inference.operation.details"
    assert f"{found.trace_id:032x}" == TRACE
    assert f"{found.span_id:016x}" == child_id(record.id, "inference")
    said = dict(found.attributes or {})
    assert said["gen_ai.operation.name"] == "chat"
    assert said["gen_ai.usage.output_tokens"] == 51
    assert said["gen_ai.input.messages"] == input_messages(REQUEST)
    assert said["gen_ai.output.messages"] == output_messages(RESPONSE)
    assert "tidegate.content.missing" not in said


def test_without_its_exchange_it_says_what_it_knows() -> None:
    said = dict(event(content(missing=("request: 2 messages",)), None).log_record.attributes or {})
    assert said["gen_ai.operation.name"] == "chat"
    assert (said["gen_ai.request.model"], said["gen_ai.response.id"]) == (SONNET, "msg_1")
    assert (said["tidegate.id"], said["tidegate.content.missing"]) == (
        "tg_00000007",
        ("request: 2 messages",),
    )


def test_what_no_collector_would_take_is_left_out_and_said() -> None:
    large = {**RESPONSE, "content": [{"type": "text", "text": "x" * MAX_BYTES}]}
    said = dict(event(content(response=large), exchange()).log_record.attributes or {})
    assert "gen_ai.output.messages" not in said
    assert said["tidegate.content.missing"] == ("all: too large for an event",)


def test_it_is_sent_as_structure_and_not_as_text() -> None:
    sent = encode_logs([event(content(), exchange())])
    (entry,) = sent.resource_logs[0].scope_logs[0].log_records
    kinds = {pair.key: pair.value.WhichOneof("value") for pair in entry.attributes}
    assert kinds["gen_ai.input.messages"] == "array_value"
    assert kinds["gen_ai.output.messages"] == "array_value"


def test_odd_documents_do_no_harm() -> None:
    for odd in ({}, {"messages": "x", "system": 3}, {"messages": [1, {"content": [None, 2]}]}):
        msgspec.json.encode([input_messages(odd), system_instructions(odd)])
    assert output_messages({"content": None}) == []
