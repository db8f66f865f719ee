"""LangChain and pydantic-ai, as their users write programs, against `chat_completions = "convert"`."""

import base64
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from langchain_core.messages import HumanMessage, SystemMessage, ToolMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI
from openai import AsyncOpenAI, BadRequestError, DefaultAsyncHttpxClient
from pydantic import BaseModel
from pydantic_ai import Agent, BinaryContent, ImageUrl, ModelHTTPError
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.output import NativeOutput
from pydantic_ai.providers.openai import OpenAIProvider

from support.gateway import Gateway, gateway
from tidegate.simulator import serve_simulator

KEY = "-".join(("sk", "t" * 24))
OPUS = "claude-opus-4-6"
PIXEL = b"\x89PNG\r\n a picture"


@pytest.fixture
async def gate(tmp_path: Path) -> AsyncIterator[Gateway]:
    toml = '[openai]\nchat_completions = "convert"\n'
    async with serve_simulator() as api, gateway(tmp_path, api.url, toml) as running:
        yield running


@pytest.fixture
async def http() -> AsyncIterator[DefaultAsyncHttpxClient]:
    """What both send with, so that it is closed at the end."""
    async with DefaultAsyncHttpxClient() as client:
        yield client


class Place(BaseModel):
    city: str
    people: int


@tool
def look(at: str) -> str:
    """Look at something."""
    return f"saw {at}"


@tool
def ring(times: int) -> str:
    """Ring the bell."""
    return f"rang {times}"


# LangChain


@pytest.fixture
def chain(gate: Gateway, http: DefaultAsyncHttpxClient) -> Callable[..., ChatOpenAI]:
    def make(**more: Any) -> ChatOpenAI:
        url = f"{gate.url}/v1"
        return ChatOpenAI(
            model=OPUS, api_key=KEY, base_url=url, max_retries=0, http_async_client=http, **more
        )

    return make


async def test_langchain_text(gate: Gateway, chain: Callable[..., ChatOpenAI]) -> None:
    found = await chain(temperature=0.3, max_tokens=500).ainvoke(
        [SystemMessage("Be brief."), HumanMessage("grüße")]
    )
    assert found.content == "You said: grüße"
    assert found.response_metadata["finish_reason"] == "stop"
    record = await gate.exchange()
    usage = found.usage_metadata
    assert usage is not None
    assert usage["output_tokens"] == record["usage"]["output"]
    assert usage["input_tokens"] == record["usage"]["input"]


async def test_langchain_streams(gate: Gateway, chain: Callable[..., ChatOpenAI]) -> None:
    chunks = [chunk async for chunk in chain(stream_usage=True).astream("grüße " * 20)]
    assert "".join(str(chunk.content) for chunk in chunks) == f"You said: {'grüße ' * 20}"
    told = [chunk.usage_metadata for chunk in chunks if chunk.usage_metadata]
    assert told[-1]["output_tokens"] == (await gate.exchange())["usage"]["output"]


@pytest.mark.parametrize("streaming", [False, True])
async def test_langchain_tools(chain: Callable[..., ChatOpenAI], streaming: bool) -> None:
    model = chain(streaming=streaming).bind_tools([look, ring])
    asked = HumanMessage("look, and ring")
    said = await model.ainvoke([asked])
    assert [call["name"] for call in said.tool_calls] == ["look", "ring"]
    results = [
        ToolMessage("a tide", tool_call_id=call["id"], name=None) for call in said.tool_calls
    ]
    found = await model.ainvoke([asked, said, *results])
    assert found.content == "The tool returned: a tide\na tide"


async def test_langchain_images_and_json(gate: Gateway, chain: Callable[..., ChatOpenAI]) -> None:
    data = f"data:image/png;base64,{base64.b64encode(PIXEL).decode()}"
    parts = [
        {"type": "text", "text": "what is this?"},
        {"type": "image_url", "image_url": {"url": data}},
    ]
    found = await chain().ainvoke([HumanMessage(parts)])
    assert found.content == "You said: what is this?"
    place = await chain().with_structured_output(Place, method="json_schema").ainvoke("where?")
    assert isinstance(place, Place)


async def test_langchain_errors(chain: Callable[..., ChatOpenAI]) -> None:
    with pytest.raises(BadRequestError) as caught:
        await chain(seed=7).ainvoke("hi")
    assert caught.value.param == "seed"


# pydantic-ai


@pytest.fixture
def agent(gate: Gateway, http: DefaultAsyncHttpxClient) -> Callable[..., Agent[None, Any]]:
    url = f"{gate.url}/v1"
    client = AsyncOpenAI(base_url=url, api_key=KEY, max_retries=0, http_client=http)
    model = OpenAIChatModel(OPUS, provider=OpenAIProvider(openai_client=client))

    def make(**more: Any) -> Agent[None, Any]:
        return Agent(model, **more)

    return make


async def test_pydantic_ai_text_and_usage(
    gate: Gateway, agent: Callable[..., Agent[None, Any]]
) -> None:
    found = await agent(instructions="Be brief.").run("grüße")
    assert found.output == "You said: grüße"
    record = await gate.exchange()
    assert found.usage.output_tokens == record["usage"]["output"]


async def test_pydantic_ai_streams(agent: Callable[..., Agent[None, Any]]) -> None:
    async with agent().run_stream("grüße " * 20) as run:
        texts = [text async for text in run.stream_text(delta=True, debounce_by=None)]
    assert len(texts) > 1
    assert "".join(texts) == f"You said: {'grüße ' * 20}"


async def test_pydantic_ai_tools(gate: Gateway, agent: Callable[..., Agent[None, Any]]) -> None:
    made = agent()
    seen: list[str] = []

    @made.tool_plain
    def look(at: str) -> str:
        seen.append("look")
        return "a tide"

    @made.tool_plain
    def ring(times: int) -> str:
        seen.append("ring")
        return "a bell"

    found = await made.run("look, and ring")
    assert sorted(seen) == ["look", "ring"]
    assert found.output == "The tool returned: a tide\na bell"
    assert len(await gate.exchanges(2)) == 2


async def test_pydantic_ai_images_and_json(agent: Callable[..., Agent[None, Any]]) -> None:
    content = ["what?", ImageUrl("https://example.com/a.png"), BinaryContent(PIXEL, media_type="image/png")]  # fmt: skip
    assert (await agent().run(content)).output == "You said: what?"
    found = await agent(output_type=NativeOutput(Place)).run("where?")
    assert isinstance(found.output, Place)
    by_tool = await agent(output_type=Place).run("where?")
    assert isinstance(by_tool.output, Place)


async def test_pydantic_ai_errors(agent: Callable[..., Agent[None, Any]]) -> None:
    with pytest.raises(ModelHTTPError) as caught:
        await agent(model_settings={"seed": 7}).run("hi")
    assert caught.value.status_code == 400
    assert isinstance(caught.value.body, dict)
    assert caught.value.body["param"] == "seed"
