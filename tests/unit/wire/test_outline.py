"""An outline says what policies ask about, and holds nothing that anybody wrote."""

import json
from typing import Any

import pytest

from tidegate.wire.outline import HIDDEN, MAX_ITEMS, origin, outline, restored


def request(**fields: Any) -> dict[str, Any]:
    return {"model": "claude-opus-5-5", "max_tokens": 64, "messages": [], **fields}


def said(content: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{"role": "user", "content": content}]


def test_of_a_plain_request_only_the_settings_are_left():
    document = request(
        messages=said([{"type": "text", "text": "the plan"}]),
        system="be brief",
        metadata={"user_id": "ana"},
        stop_sequences=["STOP"],
        stream=True,
        tools=[{"name": "read_file", "description": "reads", "input_schema": {}}],
    )

    assert outline(document) == {"model": "claude-opus-5-5", "max_tokens": 64, "stream": True}


LIMITS = {
    "thinking": {"type": "enabled", "budget_tokens": 2048},
    "output_config": {"effort": "high", "task_budget": {"type": "tokens", "total": 9000}},
    "fallbacks": [{"model": "claude-haiku-5-5", "max_tokens": 32, "speed": "fast"}],
    "service_tier": "standard_only",
    "speed": "fast",
    "inference_geo": "us",
    "container": {"skills": [{"type": "anthropic", "skill_id": "pptx"}]},
}


def test_limits_and_features_are_kept_as_the_request_writes_them():
    kept = outline(request(**LIMITS))

    assert {key: kept[key] for key in LIMITS} == LIMITS


def test_a_credential_of_an_mcp_server_is_not_kept_and_its_host_is():
    server = {
        "type": "url",
        "name": "tickets",
        "url": "https://MCP.example.com:8443/sse?token=1",
        "authorization_token": "very secret",
    }

    (kept,) = outline(request(mcp_servers=[server]))["mcp_servers"]

    assert kept == {"type": "url", "url": "https://mcp.example.com:8443"}


def test_tools_of_the_provider_are_kept_and_those_of_the_client_are_not():
    search = {"type": "web_search_20260318", "name": "web_search", "max_uses": 2}
    advisor = {"type": "advisor_20260301", "model": "claude-opus-5-5"}
    mine = [{"name": "a", "input_schema": {}}, {"type": "custom", "name": "b"}]

    kept = outline(request(tools=[*mine, search, advisor, search]))["tools"]

    assert kept == [{"type": "web_search_20260318", "max_uses": 2}, advisor]


def test_blocks_that_lead_elsewhere_are_kept_once_wherever_they_stand():
    image = {"type": "image", "source": {"type": "url", "url": "https://img.example/a.png?x=1"}}
    file = {"type": "document", "source": {"type": "file", "file_id": "file_1"}}
    nested = {"type": "document", "source": {"type": "content", "content": [file]}}
    result = {"type": "tool_result", "tool_use_id": "t", "content": [image, nested]}
    addition = {
        "type": "tool_addition",
        "tool": {"type": "tool_definition", "definition": {"type": "advisor_20260301"}},
    }

    messages = said([image, result]) + said([{"type": "compaction", "tool_changes": [addition]}])
    (kept,) = outline(request(messages=messages))["messages"]

    assert kept["content"] == [
        {"type": "image", "source": {"type": "url", "url": "https://img.example"}},
        {"type": "compaction", "tool_changes": [addition]},
        {
            "type": "tool_result",
            "content": [
                {"type": "image", "source": {"type": "url", "url": "https://img.example"}},
                {"type": "document", "source": {"type": "content"}},
                {"type": "document", "source": {"type": "file", "file_id": "?"}},
            ],
        },
    ]


def test_an_effort_within_the_conversation_is_kept():
    system = {"role": "system", "content": "hush", "output_config": {"effort": "max"}}

    (kept,) = outline(request(messages=[system]))["messages"]

    assert kept == {"role": "system", "content": [], "output_config": {"effort": "max"}}


@pytest.mark.parametrize(
    ("field", "value", "kept"),
    [
        ("speed", "very fast please", HIDDEN),
        ("thinking", "on my mind", HIDDEN),
        ("thinking", ["on my mind"], []),
        ("fallbacks", "default", "default"),
        ("fallbacks", {"model": "x"}, {}),
        ("container", "container_01ab", HIDDEN),
        ("container", None, None),
        ("output_config", {"effort": {"say": "all"}}, {"effort": {}}),
        ("surprise", {"text": "the plan"}, HIDDEN),
    ],
)
def test_what_is_no_word_of_the_api_is_hidden(field: str, value: object, kept: object):
    assert outline(request(**{field: value}))[field] == kept


def test_a_key_that_is_a_sentence_is_hidden_too():
    assert outline(request(**{"Our plan is": 1})).keys() == {"model", "max_tokens", HIDDEN}


@pytest.mark.parametrize(
    ("url", "kept"),
    [
        ("https://a.example/b?c=d#e", "https://a.example"),
        ("http://[2001:db8::1]:80/", "http://[2001:db8::1]:80"),
        ("data:image/png;base64,AAAA", "data:"),
        ("file:///etc/passwd", "file:"),
        ("no address", HIDDEN),
        ("https://a b/c", "https:"),
        ("https://ana:pw@a.example/", "https:"),
        ("HTTPS://A.example", "https://a.example"),
        ("https://[broken/", "https:"),
        ("https://a:999999/", "https:"),
        (None, HIDDEN),
    ],
)
def test_of_an_address_only_where_it_leads_is_kept(url: object, kept: str):
    assert origin(url) == kept


def test_lists_are_kept_up_to_a_length():
    tools = [{"type": f"new_{i}"} for i in range(1000)]
    blocks = [{"type": f"new_{i}"} for i in range(1000)]
    unknown = {f"new_{i}": i for i in range(1000)}

    kept = outline(request(tools=tools, messages=said(blocks), fallbacks=tools, **unknown))

    assert [len(kept[key]) for key in ("tools", "fallbacks")] == [MAX_ITEMS, MAX_ITEMS]
    assert len(kept["messages"][0]["content"]) == MAX_ITEMS
    assert len(json.dumps(kept)) < 16_384


def test_a_restored_request_has_as_many_messages_and_tools():
    document = request(
        messages=said([{"type": "text", "text": "a"}]) * 7,
        tools=[{"name": "a"}, {"type": "web_fetch_20260318"}, {"name": "b"}],
    )

    again = restored(outline(document), messages=7, tools=3)

    assert (len(again["messages"]), len(again["tools"])) == (7, 3)
    assert outline(again) == outline(document)
