"""Each example of the reselling provider's documentation, through the gateway, in either form.

The provider takes Bearer tokens only. What stands in its page is written here as its readers
would copy it: the bodies of its curl examples, and its programs for the SDK.
"""

import base64
import json
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import anthropic
import pytest

from support.gateway import Gateway, gateway
from support.raw import ask, post
from tidegate.simulator import Simulator, serve_simulator

TOKEN = "-".join(("sk", "x" * 24))
OPUS = "claude-opus-4-7"
FORMS = {"bearer": "authorization: Bearer {}", "x-api-key": "x-api-key: {}"}
PIXEL = base64.standard_b64encode(b"\xff\xd8\xff\xe0 a picture \xff\xd9").decode()
WEATHER = {
    "name": "get_weather",
    "description": "获取指定城市的天气信息",
    "input_schema": {
        "type": "object",
        "properties": {"city": {"type": "string", "description": "城市名称"}},
        "required": ["city"],
    },
}


@pytest.fixture
async def provider() -> AsyncGenerator[Simulator, None]:
    async with serve_simulator(profile="onedim") as running:
        yield running


@pytest.fixture
async def gate(tmp_path: Path, provider: Simulator) -> AsyncGenerator[Gateway, None]:
    async with gateway(tmp_path, provider.url, '[upstream]\nprofile = "onedim"') as running:
        yield running


def image(source: dict[str, str]) -> list[dict[str, Any]]:
    content = [{"type": "image", "source": source}, {"type": "text", "text": "描述这张图片"}]
    return [{"role": "user", "content": content}]


CURL: dict[str, dict[str, Any]] = {
    "basic": {"messages": [{"role": "user", "content": "Hello, Claude!"}]},
    "system": {
        "system": "You are a professional translator. Translate all user input to Chinese.",
        "messages": [{"role": "user", "content": "Hello, how are you today?"}],
    },
    "tools": {
        "tools": [WEATHER],
        "messages": [{"role": "user", "content": "北京今天天气怎么样？"}],
    },
    "image by URL": {
        "messages": image({"type": "url", "url": "https://example.com/image.jpg"}),
    },
    "image in base64": {
        "messages": image({"type": "base64", "media_type": "image/jpeg", "data": PIXEL}),
    },
    "thinking": {
        "thinking": {"type": "enabled", "budget_tokens": 1024},
        "max_tokens": 2048,
        "messages": [{"role": "user", "content": "Hello, Claude!"}],
    },
    "sampling": {
        "temperature": 0.7, "top_p": 0.9, "top_k": 40, "stop_sequences": ["\n\nHuman:"],
        "metadata": {"user_id": "u-1"}, "thinking": {"type": "disabled"},
        "messages": [{"role": "user", "content": "Hello"}],
    },
}  # fmt: skip


@pytest.mark.parametrize("version", [b"anthropic-version: 2023-06-01\r\n", b""])
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("example", CURL)
async def test_an_example_for_curl(
    gate: Gateway, provider: Simulator, example: str, form: str, version: bytes
) -> None:
    document = {"model": OPUS, "max_tokens": 1024} | CURL[example]
    body = json.dumps(document, ensure_ascii=False, indent=4).encode()
    head = FORMS[form].format(TOKEN).encode() + b"\r\n" + version
    if example == "tools":
        head += b"x-simulate: answer=tool_use\r\n"  # the simulator does not understand Chinese
    status, _, said = await ask(gate.port, post(body, headers=head))
    answer = json.loads(said)
    record = await gate.exchange()
    (received,) = provider.requests

    assert status == 200, answer
    assert received.body == body
    assert received.headers["authorization"] == f"Bearer {TOKEN}"
    assert "x-api-key" not in received.headers
    assert received.headers["anthropic-version"] == "2023-06-01"
    assert set(answer) == {"id", "type", "role", "content", "model", "stop_reason", "usage"}
    assert (record["outcome"], record["usage_source"]) == ("complete", "final")
    assert record["usage"]["input"] == answer["usage"]["input_tokens"]
    assert record["usage"]["output"] == answer["usage"]["output_tokens"]
    if example == "tools":
        assert answer["stop_reason"] == "tool_use"
        assert answer["content"][-1]["name"] == "get_weather"
    if example == "thinking":
        assert answer["content"][0]["type"] == "thinking"


def client(gate: Gateway, form: str) -> anthropic.AsyncAnthropic:
    """The SDK as its current version has it, or with the header of the older ones."""
    headers = {} if form == "bearer" else {"x-api-key": TOKEN, "authorization": anthropic.Omit()}
    return anthropic.AsyncAnthropic(
        api_key=TOKEN, base_url=gate.url, max_retries=0, default_headers=headers
    )


@pytest.mark.parametrize("form", FORMS)
async def test_the_example_of_a_stream(gate: Gateway, provider: Simulator, form: str) -> None:
    async with (
        client(gate, form) as sdk,
        sdk.messages.stream(
            model=OPUS, max_tokens=1024, messages=[{"role": "user", "content": "讲一个故事"}]
        ) as stream,
    ):
        text = "".join([piece async for piece in stream.text_stream])
        message = await stream.get_final_message()
    record = await gate.exchange()
    assert text
    assert text == "".join(block.text for block in message.content if block.type == "text")
    assert provider.requests[0].headers["authorization"] == f"Bearer {TOKEN}"
    assert (record["outcome"], record["usage_source"]) == ("complete", "final")
    assert record["usage"]["output"] == message.usage.output_tokens


@pytest.mark.parametrize("form", FORMS)
async def test_the_examples_of_images(gate: Gateway, form: str) -> None:
    async with client(gate, form) as sdk:
        for example in ("image by URL", "image in base64"):
            message = await sdk.messages.create(
                model=OPUS, max_tokens=1024, messages=CURL[example]["messages"]
            )
            assert message.stop_reason == "end_turn"


async def test_the_gateways_own_token_goes_as_a_bearer(
    tmp_path: Path, provider: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ONEDIM_TOKEN", TOKEN)
    toml = '[upstream]\nprofile = "onedim"\ncredential = { env = "ONEDIM_TOKEN" }'
    body = json.dumps({"model": OPUS, "max_tokens": 10} | CURL["basic"]).encode()
    async with gateway(tmp_path, provider.url, toml) as gate:
        status, _, _ = await ask(gate.port, post(body))
    assert status == 200
    assert provider.requests[0].headers["authorization"] == f"Bearer {TOKEN}"


@pytest.mark.parametrize(
    "request_line", [b"GET /v1/models", b"POST /v1/messages/count_tokens", b"GET /v1/models/x"]
)
async def test_what_it_does_not_have_is_a_404_of_ours(
    gate: Gateway, provider: Simulator, request_line: bytes
) -> None:
    body = json.dumps({"model": OPUS, "messages": []}).encode() if b"POST" in request_line else b""
    head = b"host: x\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(body)
    status, fields, said = await ask(gate.port, request_line + b" HTTP/1.1\r\n" + head + body)
    assert status == 404
    assert json.loads(said)["error"]["type"] == "not_found_error"
    assert dict(fields)["x-tidegate-origin"] == "gateway"
    assert not provider.requests


async def test_without_the_profile_the_older_form_would_fail(
    tmp_path: Path, provider: Simulator
) -> None:
    """The simulated provider is as strict as its page: else this file would show nothing."""
    body = json.dumps({"model": OPUS, "max_tokens": 10} | CURL["basic"]).encode()
    async with gateway(tmp_path, provider.url) as gate:
        status, _, _ = await ask(gate.port, post(body, headers=f"x-api-key: {TOKEN}\r\n".encode()))
    assert status == 401
