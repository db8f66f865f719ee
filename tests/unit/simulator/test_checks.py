import gzip
import json
from typing import Any

import pytest

from tidegate.simulator.api import checked
from tidegate.simulator.errors import ApiError, Disconnect, demanded
from tidegate.simulator.ledger import Received

BASE: dict[str, Any] = {
    "model": "claude-opus-5-5",
    "max_tokens": 100,
    "messages": [{"role": "user", "content": "hello"}],
}
USE = {"type": "tool_use", "id": "toolu_1", "name": "f", "input": {}}
TEXT_FILE = {"type": "document", "source": {"type": "text"}}
RESULT = {"type": "tool_result", "tool_use_id": "toolu_1", "content": "ok"}


def received(body: bytes, **headers: str) -> Received:
    given = {"anthropic-version": "2026-10-21"} | {
        name.replace("_", "-"): value for name, value in headers.items()
    }
    return Received(id=1, method="POST", target="/", raw_headers=(), headers=given, body=body)


def check(*, counting: bool = False, headers: dict[str, str] | None = None, **more: Any) -> Any:
    body = json.dumps(BASE | more).encode()
    return checked(received(body, **(headers or {})), counting=counting)


def messages(*contents: Any) -> list[dict[str, Any]]:
    roles = ("user", "assistant")
    return [{"role": roles[index % 2], "content": each} for index, each in enumerate(contents)]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"max_tokens": "100"}, "max_tokens: Input should be a valid integer"),
        ({"max_tokens": True}, "max_tokens: Input should be a valid integer"),
        ({"max_tokens": -1}, "max_tokens: Input should be greater than or equal to 0"),
        ({"max_tokens": 0, "stream": True}, "max_tokens: 0 is not supported"),
        ({"max_tokens": 128_001}, "max_tokens: 128001 > 128000"),
        ({"model": None}, "model: Input should be a valid string"),
        ({"stream": 1}, "stream: Input should be a valid boolean"),
        ({"messages": {}}, "messages: Input should be a valid list"),
        ({"messages": []}, "messages: at least one message"),
        ({"messages": ["hello"]}, "messages.0: Input should be a valid dictionary"),
        ({"messages": [{"role": "user"}]}, "messages.0.content: Field required"),
        ({"messages": [{"role": "bot", "content": ""}]}, "messages.0.role"),
        ({"messages": messages(3)}, "messages.0.content: Input should be"),
        ({"messages": messages("")}, "messages.0.content.0: text content blocks must be"),
        ({"messages": messages([{"text": "x"}])}, "messages.0.content.0.type: Field required"),
        ({"messages": messages([{"type": "image"}])}, "messages.0.content.0.image.source"),
        ({"messages": messages([TEXT_FILE])}, "messages.0.content.0.document.source.text.data"),
        ({"messages": messages("a", "b")}, "does not support assistant message prefill"),
        ({"messages": messages("a", [USE], "b")}, "messages.1: `tool_use` ids were found"),
        ({"messages": messages([RESULT])}, "messages.0: unexpected `tool_use_id`"),
        ({"messages": messages("a", [{"type": "document", "source": {}}])}, "document blocks"),
        ({"system": 3}, "system: Input should be"),
        ({"stop_sequences": [" "]}, "stop_sequences.0"),
        ({"temperature": 1.0}, "temperature: Extra inputs are not permitted"),
        ({"top_k": 5}, "top_k: Extra inputs are not permitted"),
        ({"colour": "blue"}, "colour: Extra inputs are not permitted"),
        ({"mcp_servers": []}, "mcp_servers: Extra inputs are not permitted"),
        ({"tools": [{"name": "f"}]}, "tools.0.custom.input_schema: Field required"),
        ({"tools": [{"input_schema": {}}]}, "tools.0.name: Field required"),
        ({"tool_choice": {"type": "tool", "name": "f"}}, "Tool 'f' not found"),
        ({"tool_choice": {}}, "tool_choice.type"),
        ({"tool_choice": {"type": []}}, "tool_choice.type"),
        ({"thinking": {"type": "enabled"}}, "budget_tokens"),
        ({"thinking": {"type": "disabled"}}, '"thinking.type.disabled" is not supported'),
        ({"output_config": {"effort": "huge"}}, "does not support effort level 'huge'"),
    ],
)
def test_what_is_not_valid_is_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ApiError) as caught:
        check(**change)
    assert caught.value.status == 400
    assert message in caught.value.message


@pytest.mark.parametrize("key", ["model", "max_tokens", "messages"])
def test_what_is_required_is_missed(key: str) -> None:
    body = json.dumps({name: value for name, value in BASE.items() if name != key}).encode()
    with pytest.raises(ApiError, match=f"{key}: Field required"):
        checked(received(body), counting=False)


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"messages": messages("a", [USE], [RESULT])},
        {"messages": messages("a", [{"type": "server_tool_use", "id": "s", "name": "x"}])},
        {"messages": messages([{"type": "image", "source": {"type": "url", "url": "x"}}])},
        {"tools": [{"type": "computer_toolset_20260801"}]},
        {"max_tokens": 0},
        {"thinking": None, "tools": [], "stop_sequences": ["END"]},
    ],
)
def test_what_is_valid_passes(change: dict[str, Any]) -> None:
    assert check(**change) == BASE | change


def test_the_older_version_takes_a_temperature() -> None:
    assert check(headers={"anthropic-version": "2023-06-01"}, temperature=0.5)


def test_a_beta_field_needs_its_beta() -> None:
    assert check(headers={"anthropic-beta": "x-2026-01-01,mcp-client-2025-11-20"}, mcp_servers=[])


def test_counting_takes_no_limit() -> None:
    body = json.dumps({key: value for key, value in BASE.items() if key != "max_tokens"}).encode()
    assert checked(received(body), counting=True)
    with pytest.raises(ApiError, match="max_tokens: Extra inputs"):
        check(counting=True)


def test_an_unknown_model_is_not_found() -> None:
    with pytest.raises(ApiError, match=r"^model: claude-what$") as caught:
        check(model="claude-what")
    assert caught.value.status == 404


def test_five_breakpoints_are_too_many() -> None:
    mark = {"type": "text", "text": "x", "cache_control": {"type": "ephemeral"}}
    assert check(messages=messages([mark] * 4))
    with pytest.raises(ApiError, match="Found 5"):
        check(messages=messages([mark] * 4), cache_control={"type": "ephemeral"})


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b'{"a": NaN}', b"\xff{}", b"\xef\xbb\xbf{}", b'{"a":' * 500]
)
def test_what_is_not_json_is_refused(body: bytes) -> None:
    with pytest.raises(ApiError, match="The request body"):
        checked(received(body), counting=False)


def test_the_last_of_two_keys_counts() -> None:
    body = json.dumps(BASE).encode().replace(b"{", b'{"model": "claude-what", ', 1)
    assert checked(received(body), counting=False) == BASE


def test_a_compressed_body_is_read() -> None:
    body = gzip.compress(json.dumps(BASE).encode())
    assert checked(received(body, content_encoding="gzip"), counting=False) == BASE
    with pytest.raises(ApiError, match="could not be decoded"):
        checked(received(b"plain", content_encoding="gzip"), counting=False)
    with pytest.raises(ApiError, match="'zstd' is not supported"):
        checked(received(body, content_encoding="zstd"), counting=False)


@pytest.mark.parametrize(
    ("error", "status"),
    [("529", 529), ("overloaded_error", 529), ("timeout_error", 504), ("502", 502), ("tea", 400)],
)
def test_an_error_on_demand(error: str, status: int) -> None:
    found = demanded(error, 1)
    assert isinstance(found, ApiError)
    assert found.status == status


def test_no_answer_on_demand() -> None:
    assert isinstance(demanded("disconnect", 1), Disconnect)
