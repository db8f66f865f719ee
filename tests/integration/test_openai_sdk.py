"""Programs of the OpenAI format against `chat_completions = "convert"`: the same answers as the Messages SDK's."""

import base64
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import openai
import pytest
from anthropic import AsyncAnthropic
from openai import AsyncOpenAI
from openai.types.chat import ChatCompletionChunk

from support.gateway import Gateway, gateway
from support.raw import ask, post
from tidegate.simulator import Simulator, serve_simulator

KEY = "-".join(("sk", "t" * 24))
CONVERT = '[openai]\nchat_completions = "convert"\n'
OPUS = "claude-opus-4-6"
PIXEL = base64.standard_b64encode(b"\x89PNG\r\n a picture").decode()
LOOK = {"type": "object", "properties": {"at": {"const": 'the "tide" é \U0001f600'}}}
RING = {"type": "object", "properties": {"times": {"const": 3}}, "required": ["times"]}
ARGUMENTS = {"look": {"at": 'the "tide" é \U0001f600'}, "ring": {"times": 3}}


@pytest.fixture
async def api() -> AsyncIterator[Simulator]:
    async with serve_simulator() as running:
        yield running


@pytest.fixture
async def gate(tmp_path: Path, api: Simulator) -> AsyncIterator[Gateway]:
    async with gateway(tmp_path, api.url, CONVERT) as running:
        yield running


@pytest.fixture
async def client(gate: Gateway) -> AsyncIterator[AsyncOpenAI]:
    async with AsyncOpenAI(api_key=KEY, base_url=f"{gate.url}/v1", max_retries=0) as made:
        yield made


@pytest.fixture
async def claude(api: Simulator) -> AsyncIterator[AsyncAnthropic]:
    version = {"anthropic-version": "2023-06-01"}  # in which sampling can be set
    async with AsyncAnthropic(
        api_key=KEY, base_url=api.url, max_retries=0, default_headers=version
    ) as made:
        yield made


def function(name: str, schema: dict[str, Any]) -> dict[str, Any]:
    described = {"name": name, "description": name, "parameters": schema}
    return {"type": "function", "function": described}


def tool(name: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"name": name, "description": name, "input_schema": schema}


def user(content: Any) -> dict[str, Any]:
    return {"role": "user", "content": content}


URL = "https://example.com/a.png"
DATA = f"data:image/png;base64,{PIXEL}"
BASE64 = {"type": "base64", "media_type": "image/png", "data": PIXEL}
CALL = {
    "id": "toolu_1",
    "type": "function",
    "function": {"name": "look", "arguments": '{"at":"x"}'},
}
USE = {"type": "tool_use", "id": "toolu_1", "name": "look", "input": {"at": "x"}}
SCHEMA = {"type": "object", "properties": {"city": {"const": "Kyōto"}}, "required": ["city"]}
SAME: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "text": ({"messages": [user("grüße \U0001f30a \\ \"")]}, {"messages": [user("grüße \U0001f30a \\ \"")]}),
    "system": (
        {"messages": [{"role": "system", "content": "Be brief."}, user("hi")]},
        {"system": "Be brief.", "messages": [user("hi")]},
    ),
    "developer in parts": (
        {"messages": [{"role": "developer", "content": [{"type": "text", "text": "a"}]}, user("hi"), {"role": "system", "content": "b"}]},
        {"system": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}], "messages": [user("hi")]},
    ),
    "a conversation": (
        {"messages": [user("one"), {"role": "assistant", "content": "two"}, user("three")]},
        {"messages": [user("one"), {"role": "assistant", "content": "two"}, user("three")]},
    ),
    "images": (
        {"messages": [user([{"type": "image_url", "image_url": {"url": url}} for url in (URL, DATA)])]},
        {"messages": [user([{"type": "image", "source": source} for source in ({"type": "url", "url": URL}, BASE64)])]},
    ),
    "sampling and a stop": (
        {"messages": [user("the tide turns")], "temperature": 0.5, "stop": "tide", "user": "u1"},
        {"messages": [user("the tide turns")], "stop_sequences": ["tide"], "metadata": {"user_id": "u1"}, "extra_body": {"temperature": 0.5}},
    ),
    "one tool": (
        {"messages": [user("look")], "tools": [function("look", LOOK)]},
        {"messages": [user("look")], "tools": [tool("look", LOOK)]},
    ),
    "two tools at once": (
        {"messages": [user("look, ring")], "tools": [function("look", LOOK), function("ring", RING)]},
        {"messages": [user("look, ring")], "tools": [tool("look", LOOK), tool("ring", RING)]},
    ),
    "not at once": (
        {"messages": [user("look, ring")], "tools": [function("look", LOOK), function("ring", RING)], "parallel_tool_calls": False},
        {"messages": [user("look, ring")], "tools": [tool("look", LOOK), tool("ring", RING)], "tool_choice": {"type": "auto", "disable_parallel_tool_use": True}},
    ),
    "a tool of one's choice": (
        {"messages": [user("hi")], "tools": [function("look", LOOK), function("ring", RING)], "tool_choice": {"type": "function", "function": {"name": "ring"}}},
        {"messages": [user("hi")], "tools": [tool("look", LOOK), tool("ring", RING)], "tool_choice": {"type": "tool", "name": "ring"}},
    ),
    "no tool": (
        {"messages": [user("look")], "tools": [function("look", LOOK)], "tool_choice": "none"},
        {"messages": [user("look")], "tools": [tool("look", LOOK)], "tool_choice": {"type": "none"}},
    ),
    "results of tools": (
        {"messages": [user("look"), {"role": "assistant", "content": None, "tool_calls": [CALL]}, {"role": "tool", "tool_call_id": "toolu_1", "content": "high"}], "tools": [function("look", LOOK)]},
        {"messages": [user("look"), {"role": "assistant", "content": [USE]}, user([{"type": "tool_result", "tool_use_id": "toolu_1", "content": "high"}])], "tools": [tool("look", LOOK)]},
    ),
    "JSON by a schema": (
        {"messages": [user("where?")], "response_format": {"type": "json_schema", "json_schema": {"name": "place", "strict": True, "schema": SCHEMA}}},
        {"messages": [user("where?")], "output_config": {"format": {"type": "json_schema", "schema": SCHEMA}}},
    ),
    "JSON": (
        {"messages": [user("where?")], "response_format": {"type": "json_object"}},
        {"messages": [user("where?")], "output_config": {"format": {"type": "json_schema", "schema": {"type": "object"}}}},
    ),
    "effort, which makes it think": (
        {"messages": [user("why?")], "reasoning_effort": "high"},
        {"messages": [user("why?")], "output_config": {"effort": "high"}},
    ),
}  # fmt: skip


def texts(blocks: list[Any]) -> str:
    return "".join(block.text for block in blocks if block.type == "text")


def uses(blocks: list[Any]) -> list[tuple[str, Any]]:
    return [(block.name, block.input) for block in blocks if block.type == "tool_use"]


def calls(found: Any) -> list[tuple[str, Any]]:
    return [(c.function.name, json.loads(c.function.arguments)) for c in found or ()]


def counts(usage: Any) -> tuple[int, int, int]:
    """Prompt, output and cached tokens, of either format."""
    if hasattr(usage, "prompt_tokens"):
        cached = usage.prompt_tokens_details.cached_tokens
        assert usage.total_tokens == usage.prompt_tokens + usage.completion_tokens
        return usage.prompt_tokens, usage.completion_tokens, cached
    read = usage.cache_read_input_tokens
    written = usage.cache_creation_input_tokens
    return usage.input_tokens + read + written, usage.output_tokens, read


REASONS = {"end_turn": "stop", "stop_sequence": "stop", "tool_use": "tool_calls"}


@pytest.mark.parametrize("name", SAME)
async def test_the_same_prompt_gives_the_same_answer(
    name: str, client: AsyncOpenAI, claude: AsyncAnthropic, api: Simulator, gate: Gateway
) -> None:
    chat, messages = SAME[name]
    expected = await claude.messages.create(model=OPUS, max_tokens=4096, **messages)
    found = await client.chat.completions.create(model=OPUS, **chat)
    (choice,) = found.choices
    assert (choice.message.content or "") == texts(expected.content)
    assert calls(choice.message.tool_calls) == uses(expected.content)
    assert choice.finish_reason == REASONS[str(expected.stop_reason)]
    assert counts(found.usage) == counts(expected.usage)
    assert (found.model, found.object) == (OPUS, "chat.completion")
    assert found._request_id
    record = await gate.exchange()
    assert (record["route"], record["chat"], record["outcome"]) == (
        "messages",
        "convert",
        "complete",
    )
    assert record["usage"]["output"] == expected.usage.output_tokens


@pytest.mark.parametrize("name", SAME)
async def test_a_stream_says_the_same(
    name: str, client: AsyncOpenAI, claude: AsyncAnthropic, gate: Gateway
) -> None:
    chat, messages = SAME[name]
    async with claude.messages.stream(model=OPUS, max_tokens=4096, **messages) as direct:
        expected = await direct.get_final_message()
    stream = await client.chat.completions.create(
        model=OPUS, stream=True, stream_options={"include_usage": True}, **chat
    )
    chunks = [chunk async for chunk in stream]
    for chunk in chunks:
        ChatCompletionChunk.model_validate(chunk.to_dict(), strict=True)
    said = [chunk.choices[0] for chunk in chunks if chunk.choices]
    assert "".join(c.delta.content or "" for c in said) == texts(expected.content)
    assert together(said) == uses(expected.content)
    reasons = [choice.finish_reason for choice in said if choice.finish_reason]
    assert reasons == [REASONS[str(expected.stop_reason)]]
    assert said[0].delta.role == "assistant"
    assert counts(chunks[-1].usage) == counts(expected.usage)
    assert [chunk.usage for chunk in chunks[:-1]] == [None] * (len(chunks) - 1)
    assert chunks[-1].choices == []
    record = await gate.exchange()
    assert (record["chat"], record["stream"], record["usage_source"]) == ("convert", True, "final")


def together(choices: list[Any]) -> list[tuple[str, Any]]:
    found: dict[int, list[str]] = {}
    for choice in choices:
        for part in choice.delta.tool_calls or ():
            if part.id:
                assert part.index == len(found)
                found[part.index] = [part.function.name]
            found[part.index].append(part.function.arguments)
    return [(name, json.loads("".join(parts))) for name, *parts in found.values()]


async def test_tools_have_their_arguments(client: AsyncOpenAI) -> None:
    """So that the comparisons above compare something."""
    found = await client.chat.completions.create(model=OPUS, **SAME["two tools at once"][0])
    assert calls(found.choices[0].message.tool_calls) == list(ARGUMENTS.items())


async def test_thinking_stays_here(client: AsyncOpenAI) -> None:
    chat, _ = SAME["effort, which makes it think"]
    found = await client.chat.completions.create(model=OPUS, **chat)
    assert "short answer will do" not in found.to_json()
    stream = await client.chat.completions.create(model=OPUS, stream=True, **chat)
    assert not any(["short answer will do" in chunk.to_json() async for chunk in stream])


async def test_the_parse_helpers(client: AsyncOpenAI) -> None:
    form = {"type": "json_schema", "json_schema": {"name": "place", "schema": SCHEMA}}
    async with client.chat.completions.stream(
        model=OPUS, messages=[user("where?")], response_format=form
    ) as stream:
        found = await stream.get_final_completion()
    assert json.loads(found.choices[0].message.content or "") == {"city": "Kyōto"}


STATUS = {
    "sim-error-400": openai.BadRequestError,
    "sim-error-401": openai.AuthenticationError,
    "sim-error-403": openai.PermissionDeniedError,
    "sim-error-404": openai.NotFoundError,
    "sim-error-429": openai.RateLimitError,
    "sim-error-529": openai.InternalServerError,
    "sim-error-502": openai.InternalServerError,
}


@pytest.mark.parametrize("model", STATUS)
@pytest.mark.parametrize("stream", [False, True])
async def test_errors_are_the_clients_own(client: AsyncOpenAI, model: str, stream: bool) -> None:
    with pytest.raises(STATUS[model]) as caught:
        await client.chat.completions.create(model=model, messages=[user("hi")], stream=stream)
    body = caught.value.body
    assert isinstance(body, dict)
    assert set(body) == {"message", "type", "param", "code"}
    assert body["message"]


async def test_an_error_within_a_stream_is_raised(client: AsyncOpenAI, gate: Gateway) -> None:
    stream = await client.chat.completions.create(
        model="sim-error_event-5", messages=[user("hi " * 50)], stream=True
    )
    with pytest.raises(openai.APIError, match="Overloaded"):
        [chunk async for chunk in stream]
    assert (await gate.exchange())["outcome"] == "upstream_error_event"


@pytest.mark.parametrize("fault", ["cut", "reset-1-cut", "eof"])
async def test_a_stream_that_breaks_off_is_never_an_end(
    client: AsyncOpenAI, gate: Gateway, fault: str
) -> None:
    stream = await client.chat.completions.create(
        model=f"sim-{fault}-5", messages=[user("hi " * 50)], stream=True
    )
    with pytest.raises((openai.APIError, Exception)) as caught:
        [chunk async for chunk in stream]
    assert type(caught.value).__name__ in ("APIError", "RemoteProtocolError", "APIConnectionError")
    assert (await gate.exchange())["outcome"] == "upstream_cut"


async def test_refusals_of_the_gateway_are_in_its_format(
    client: AsyncOpenAI, api: Simulator
) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        await client.chat.completions.create(model=OPUS, messages=[user("hi")], seed=7)
    assert isinstance(caught.value.body, dict)
    assert caught.value.body["param"] == "seed"
    assert caught.value.body["message"].startswith("seed: ")
    assert caught.value.response.headers["x-should-retry"] == "false"
    assert caught.value.response.headers["x-tidegate-origin"] == "gateway"
    assert caught.value.request_id
    assert not api.requests


async def test_models_are_listed_for_the_client_that_asks(
    client: AsyncOpenAI, claude: AsyncAnthropic, gate: Gateway
) -> None:
    expected = [model async for model in claude.models.list(limit=1000)]
    listed = await client.models.list()
    assert listed.object == "list"
    assert {model.id for model in listed.data} <= {model.id for model in expected}
    one = await client.models.retrieve(OPUS)
    assert (one.id, one.object, one.owned_by) == (OPUS, "model", "anthropic")
    assert one.created == int(next(m for m in expected if m.id == OPUS).created_at.timestamp())
    with pytest.raises(openai.NotFoundError):
        await client.models.retrieve("claude-none")
    async with AsyncAnthropic(api_key=KEY, base_url=gate.url) as through:
        assert [model async for model in through.models.list(limit=1000)] == expected


LISTING = """
[[plugins]]
use = "models"
[plugins.config]
allow = ["claude-haiku-4-5"]
"""


async def test_a_policys_list_is_converted_too(tmp_path: Path, api: Simulator) -> None:
    async with (
        gateway(tmp_path, api.url, CONVERT + LISTING) as gate,
        AsyncOpenAI(api_key=KEY, base_url=f"{gate.url}/v1", max_retries=0) as client,
    ):
        listed = await client.models.list()
        assert [model.id for model in listed.data] == ["claude-haiku-4-5-20251001"]
        with pytest.raises(openai.NotFoundError):
            await client.models.retrieve(OPUS)
    assert not api.requests


async def test_a_reselling_provider_is_converted_for(tmp_path: Path) -> None:
    toml = f'{CONVERT}[upstream]\nprofile = "onedim"\n'
    async with (
        serve_simulator(profile="onedim") as api,
        gateway(tmp_path, api.url, toml) as gate,
        AsyncOpenAI(api_key=KEY, base_url=f"{gate.url}/v1", max_retries=0) as client,
    ):
        asked: dict[str, Any] = {"model": "claude-opus-4-7", "messages": [user("hé")]}
        found = await client.chat.completions.create(**asked)
        stream = await client.chat.completions.create(**asked, stream=True)
        said = "".join([chunk.choices[0].delta.content or "" async for chunk in stream])
    assert said == found.choices[0].message.content == "You said: hé"
    assert {received.target for received in api.requests} == {"/v1/messages"}


@pytest.mark.parametrize("controls", ["gzip-1", "chunk-7", "crlf-1", "unknown_event-1-chunk-0"])
async def test_however_it_comes(client: AsyncOpenAI, controls: str) -> None:
    asked: dict[str, Any] = {"model": f"sim-{controls}", "messages": [user("hé \U0001f30a")]}
    found = await client.chat.completions.create(**asked)
    stream = await client.chat.completions.create(stream=True, **asked)
    said = "".join([chunk.choices[0].delta.content or "" async for chunk in stream])
    assert said == found.choices[0].message.content == "You said: hé \U0001f30a"


async def test_it_is_not_there_unless_it_is_opened(tmp_path: Path, api: Simulator) -> None:
    async with gateway(tmp_path, api.url) as gate:
        for method in ("POST", "GET", "OPTIONS"):
            request = post(b"{}", target="/v1/chat/completions").replace(
                b"POST", method.encode(), 1
            )
            status, _, body = await ask(gate.port, request)
            assert status == 404
            assert set(json.loads(body)["error"]) == {"message", "type", "param", "code"}
        assert {record["route"] for record in await gate.exchanges(3)} == {"none"}
    assert not api.requests
