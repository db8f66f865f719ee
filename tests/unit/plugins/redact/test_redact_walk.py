"""Which strings are searched, and what may be done to them."""

from typing import Any

import pytest

from redacting import conversation
from tidegate_plugins.redact.walk import Place, leaves, pointer

MARK = "a mark long enough to be searched"
TEXT, FIXED, SIGNED, OPAQUE = Place.TEXT, Place.FIXED, Place.SIGNED, Place.OPAQUE


def places(document: dict[str, Any]) -> dict[str, Place]:
    return {pointer(leaf.path): leaf.place for leaf in leaves(document) if leaf.text == MARK}


def block(role: str, **fields: Any) -> dict[str, Any]:
    message = {"role": role, "content": [fields]}
    return {"model": "m", "messages": [message]}


B = "/messages/0/content/0"


@pytest.mark.parametrize(
    ("document", "where", "place"),
    [
        ({"system": MARK}, "/system", TEXT),
        ({"system": [{"type": "text", "text": MARK}]}, "/system/0/text", TEXT),
        (conversation(MARK), "/messages/0/content", TEXT),
        (conversation("x", MARK), "/messages/1/content", SIGNED),
        ({"messages": [{"role": "system", "content": MARK}]}, "/messages/0/content", TEXT),
        (block("user", type="text", text=MARK), f"{B}/text", TEXT),
        (block("assistant", type="text", text=MARK), f"{B}/text", SIGNED),
        (block("user", type="tool_result", content=MARK), f"{B}/content", TEXT),
        (
            block("user", type="tool_result", content=[{"type": "text", "text": MARK}]),
            f"{B}/content/0/text",
            TEXT,
        ),
        (block("assistant", type="tool_use", input={"a": [MARK]}), f"{B}/input/a/0", SIGNED),
        (block("assistant", type="tool_use", input={"type": MARK}), f"{B}/input/type", SIGNED),
        (block("user", type="document", title=MARK), f"{B}/title", TEXT),
        (
            block("user", type="document", source={"type": "text", "data": MARK}),
            f"{B}/source/data",
            TEXT,
        ),
        (
            block("user", type="document", source={"type": "content", "content": MARK}),
            f"{B}/source/content",
            TEXT,
        ),
        (block("user", type="image", source={"type": "url", "url": MARK}), f"{B}/source/url", FIXED),
        (block("user", type="search_result", source=MARK), f"{B}/source", FIXED),
        (
            block("user", type="search_result", content=[{"type": "text", "text": MARK}]),
            f"{B}/content/0/text",
            TEXT,
        ),
        (block("assistant", type="thinking", thinking=MARK), f"{B}/thinking", SIGNED),
        (block("user", type="server_tool_use", input={"q": MARK}), f"{B}/input/q", SIGNED),
        (
            block(
                "assistant",
                type="code_execution_tool_result",
                content={"type": "code_execution_result", "stdout": MARK},
            ),
            f"{B}/content/stdout",
            SIGNED,
        ),
        (block("user", type="hologram", beam={"depth": [MARK]}), f"{B}/beam/depth/0", TEXT),
        (block("user", type="hologram", data=MARK), f"{B}/data", TEXT),
        (block("user", type="text", signature=MARK), f"{B}/signature", TEXT),
        ({"new_field": {"deep": MARK}}, "/new_field/deep", TEXT),
        ({"tools": [{"name": "x", "description": MARK}]}, "/tools/0/description", TEXT),
        (
            {"tools": [{"input_schema": {"properties": {"type": {"description": MARK}}}}]},
            "/tools/0/input_schema/properties/type/description",
            TEXT,
        ),
        ({"tools": [{"input_examples": [{"id": MARK}]}]}, "/tools/0/input_examples/0/id", TEXT),
        ({"output_config": {"format": {"schema": {"title": MARK}}}}, "/output_config/format/schema/title", TEXT),
        ({"stop_sequences": [MARK]}, "/stop_sequences/0", TEXT),
        ({"metadata": {"user_id": MARK}}, "/metadata/user_id", FIXED),
        ({"container": {"id": MARK}}, "/container/id", FIXED),
        ({"mcp_servers": [{"url": MARK}]}, "/mcp_servers/0/url", FIXED),
        ({"compaction": {"type": "summarize", "instructions": MARK}}, "/compaction/instructions", TEXT),
        (
            block("user", type="tool_addition", tool={"definition": {"description": MARK}}),
            f"{B}/tool/definition/description",
            TEXT,
        ),
        (block("user", type="tool_use", input={MARK: 1}), f"{B}/input/{MARK}", FIXED),
        (block("assistant", type="tool_use", input={MARK: 1}), f"{B}/input/{MARK}", SIGNED),
    ],
)  # fmt: skip
def test_place(document: dict[str, Any], where: str, place: Place) -> None:
    assert places(document) == {where: place}


@pytest.mark.parametrize(
    "document",
    [
        {"model": MARK},
        {"cache_control": {"type": MARK}},
        {"messages": [{"role": MARK, "content": "x"}]},
        block("user", type="text", cache_control={"type": MARK}),
        block("user", type="image", source={"type": "base64", "media_type": MARK, "data": MARK}),
        block("assistant", type="thinking", thinking="x", signature=MARK),
        block("assistant", type="redacted_thinking", data=MARK),
        block("assistant", type="tool_use", id=MARK, name=MARK, caller={"type": MARK}),
        block("user", type="tool_result", tool_use_id=MARK),
        block("assistant", type="text", citations=[{"type": MARK, "encrypted_index": MARK}]),
        block(
            "assistant",
            type="web_search_tool_result",
            tool_use_id=MARK,
            content=[{"type": "web_search_result", "encrypted_content": MARK}],
        ),
        block(
            "assistant",
            type="code_execution_tool_result",
            content={"type": "encrypted_code_execution_result", "encrypted_stdout": MARK},
        ),
        block("assistant", type="compaction", encrypted_content=MARK, signature=MARK),
        block("user", type="container_upload", file_id=MARK),
        {"mcp_servers": [{"type": "url", "authorization_token": MARK}]},
        {"tools": [{"type": MARK, "name": MARK}]},
        {"fallback_credit_token": {"token": MARK}},
    ],
)
def test_opaque_places_are_not_searched(document: dict[str, Any]) -> None:
    assert places(document) == {}


def test_a_fetched_document_is_signed_and_its_media_opaque() -> None:
    pdf = {"type": "document", "source": {"type": "base64", "data": MARK}, "title": MARK}
    fetched = {"type": "web_fetch_result", "url": MARK, "content": pdf}
    found = places(block("user", type="web_fetch_tool_result", content=fetched))
    assert found == {f"{B}/content/url": SIGNED, f"{B}/content/content/title": SIGNED}


def test_attribution_is_searched_but_fixed() -> None:
    text = "x-anthropic-billing-header: cc_version=2.1.0;"
    found = leaves({"system": [{"type": "text", "text": text}, {"type": "text", "text": text}]})
    assert [leaf.place for leaf in found if leaf.text == text] == [FIXED, TEXT]


def test_only_the_callers_own_words_are_context() -> None:
    document = block("assistant", type="tool_use", input={"api_key": MARK, "list": [[MARK]]})
    document["system"] = [{"type": "text", "text": MARK}]
    found = {pointer(leaf.path): leaf.key for leaf in leaves(document) if leaf.text == MARK}
    assert found == {
        "/system/0/text": "",
        f"{B}/input/api_key": "api_key",
        f"{B}/input/list/0/0": "list",
    }


def test_pointer_escapes_cuts_and_renames() -> None:
    path = (((None, "a/b~c"), 3), "k" * 100)
    assert pointer(path) == "/a~1b~0c/3/" + "k" * 80 + "…"
    assert pointer((None, "secret"), {"secret": "[X]"}) == "/[X]"


def test_order_is_document_order() -> None:
    document = {
        "messages": [{"role": "user", "content": "1"}],
        "system": "2",
        "zeta": {"b": "3", "a": "4"},
    }
    assert [leaf.text for leaf in leaves(document)] == ["1", "2", "3", "4"]
