"""The simulator through the official client, which has to understand all of it."""

from collections.abc import AsyncIterator
from typing import Any

import anthropic
import httpx2
import pytest
from anthropic import AsyncAnthropic

from simulating import SECRET
from tidegate.simulator import serve_simulator

ASK: dict[str, Any] = {
    "max_tokens": 4000,
    "messages": [{"role": "user", "content": "look at the tide"}],
}
OPUS = "claude-opus-5-5"
LOOK: dict[str, Any] = {
    "name": "look",
    "description": "Look",
    "input_schema": {"type": "object", "properties": {"at": {"const": 'the "tide" é'}}},
}
SEARCH: dict[str, Any] = {"type": "web_search_20260318", "name": "web_search"}
FETCH: dict[str, Any] = {"type": "web_fetch_20260318", "name": "web_fetch"}
CODE: dict[str, Any] = {"type": "code_execution_20260521", "name": "code_execution"}


@pytest.fixture
async def client() -> AsyncIterator[AsyncAnthropic]:
    async with (
        serve_simulator() as running,
        AsyncAnthropic(api_key=SECRET, base_url=running.url, max_retries=0) as made,
    ):
        yield made


def simulate(controls: str) -> dict[str, Any]:
    return {"extra_headers": {"x-simulate": controls}}


REQUESTS: list[dict[str, Any]] = [
    {"model": "claude-haiku-4-5"},
    {"model": OPUS, "thinking": {"type": "adaptive"}},
    {"model": OPUS, "output_config": {"effort": "xhigh"}},
    {"model": OPUS, "tools": [LOOK]},
    {"model": OPUS, "tools": [SEARCH, FETCH, CODE], "thinking": {"type": "adaptive"}},
    {"model": OPUS, "cache_control": {"type": "ephemeral", "ttl": "1h"}},
    {"model": "sim-answer-refusal"},
    {"model": "sim-answer-redacted_thinking"},
    {"model": "sim-gzip-1-chunk-5-crlf-1"},
    {"model": "claude-opus-4-6", "stop_sequences": ["tide"]},
]


NEW_EACH_TIME = {"id", "tool_use_id", "signature", "data", "container", "parsed_output"}


def lasting(value: Any) -> Any:
    """Return a Message without what differs between two answers to one request."""
    if isinstance(value, dict):
        kept = {key: each for key, each in value.items() if key not in NEW_EACH_TIME}
        return {key: lasting(each) for key, each in kept.items() if each is not None}
    return [lasting(each) for each in value] if isinstance(value, list) else value


@pytest.mark.parametrize("request_", REQUESTS)
async def test_a_stream_and_a_message_are_the_same(
    client: AsyncAnthropic, request_: dict[str, Any]
) -> None:
    if "cache_control" in request_:
        await client.messages.create(**ASK, **request_)  # so that both of the others read
    created = await client.messages.create(**ASK, **request_)
    async with client.messages.stream(**ASK, **request_) as stream:
        streamed = await stream.get_final_message()
    assert lasting(created.to_dict()) == lasting(streamed.to_dict())
    assert created.content or created.stop_reason == "refusal"


async def test_every_event_is_understood(client: AsyncAnthropic) -> None:
    asked: dict[str, Any] = {"thinking": {"type": "adaptive"}, "tools": [SEARCH]}
    seen = set()
    async with client.messages.stream(**ASK, model=OPUS, **asked) as stream:
        async for event in stream:
            seen.add(event.type)
    assert seen >= {
        "message_start",
        "content_block_start",
        "content_block_delta",
        "content_block_stop",
        "message_delta",
        "message_stop",
        "thinking",
        "signature",
        "citation",
        "text",
    }


async def test_an_unknown_event_does_not_change_the_message(client: AsyncAnthropic) -> None:
    async with client.messages.stream(**ASK, model="sim-unknown_event-1") as stream:
        message = await stream.get_final_message()
    assert message.usage.output_tokens < 100


async def test_a_tool_goes_round(client: AsyncAnthropic) -> None:
    first = await client.messages.create(**ASK, model=OPUS, tools=[LOOK])
    assert first.stop_reason == "tool_use"
    use = first.content[-1]
    assert use.type == "tool_use"
    assert use.input == {"at": 'the "tide" é'}
    messages: list[Any] = [
        *ASK["messages"],
        {"role": "assistant", "content": first.content},
        {
            "role": "user",
            "content": [{"type": "tool_result", "tool_use_id": use.id, "content": "high"}],
        },
    ]
    last = await client.messages.create(**ASK | {"messages": messages}, model=OPUS, tools=[LOOK])
    assert last.stop_reason == "end_turn"
    assert last.content[0].type == "text"
    assert last.content[0].text == "The tool returned: high"


async def test_beta_answers_are_understood(client: AsyncAnthropic) -> None:
    for answer, kind in (("compaction", "compaction"), ("fallback", "fallback")):
        controls = simulate(f"answer={answer}")
        made = await client.beta.messages.create(**ASK, model=OPUS, **controls)
        async with client.beta.messages.stream(**ASK, model=OPUS, **controls) as stream:
            streamed = await stream.get_final_message()
        assert made.content[0].type == streamed.content[0].type == kind
        assert made.usage.iterations == streamed.usage.iterations
        assert made.usage.iterations
    advisor: Any = {"type": "advisor_20260301", "name": "advisor", "model": "claude-fable-5-2"}
    advised = await client.beta.messages.create(**ASK, model=OPUS, tools=[advisor])
    assert [each.type for each in advised.usage.iterations or []] == [
        "message",
        "advisor_message",
        "message",
    ]


async def test_counting(client: AsyncAnthropic) -> None:
    counted = await client.messages.count_tokens(model=OPUS, messages=ASK["messages"])
    made = await client.messages.create(**ASK, model=OPUS)
    assert counted.input_tokens == made.usage.input_tokens


async def test_models(client: AsyncAnthropic) -> None:
    listed = [model.id async for model in client.models.list(limit=5)]
    assert len(listed) == len(set(listed)) > 15
    found = await client.models.retrieve("claude-haiku-4-5")
    assert found.id == "claude-haiku-4-5-20251001"
    assert found.capabilities is not None
    assert found.capabilities.thinking.types.enabled.supported
    assert (await client.models.retrieve("sim-error-529")).line is None


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        ("sim-error-400", anthropic.BadRequestError),
        ("sim-error-401", anthropic.AuthenticationError),
        ("sim-error-403", anthropic.PermissionDeniedError),
        ("claude-what", anthropic.NotFoundError),
        ("sim-error-413", anthropic.RequestTooLargeError),
        ("sim-error-429", anthropic.RateLimitError),
        ("sim-error-502", anthropic.InternalServerError),
        ("sim-error-529", anthropic.OverloadedError),
        ("sim-error-disconnect", anthropic.APIConnectionError),
    ],
)
async def test_errors(
    client: AsyncAnthropic, model: str, expected: type[anthropic.APIError]
) -> None:
    with pytest.raises(expected):
        await client.messages.create(**ASK, model=model)


async def test_retries_succeed_in_the_end(client: AsyncAnthropic) -> None:
    patient = client.with_options(max_retries=1)
    controls = simulate("error=429, retry_after=0, times=1")
    assert (await patient.messages.create(**ASK, model=OPUS, **controls)).stop_reason


async def test_an_error_in_the_stream(client: AsyncAnthropic) -> None:
    with pytest.raises(anthropic.APIStatusError) as caught:
        async with client.messages.stream(**ASK, model="sim-error_event-3") as stream:
            await stream.get_final_message()
    assert caught.value.type == "overloaded_error"


async def test_a_cut_stream(client: AsyncAnthropic) -> None:
    with pytest.raises(httpx2.RemoteProtocolError):
        async with client.messages.stream(**ASK, model="sim-cut-3") as stream:
            await stream.get_final_message()


async def test_an_end_without_an_end(client: AsyncAnthropic) -> None:
    async with client.messages.stream(**ASK, model="sim-eof-4") as stream:
        message = await stream.get_final_message()
    assert message.stop_reason is None
