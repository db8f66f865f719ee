"""The simulated provider that resells: what it has, what it lacks, and its chat completions."""

import json
from typing import Any

import pytest

from tidegate.simulator.ledger import Received
from tidegate.simulator.provider import Provider

TOKEN = {"authorization": "Bearer sk-1"}
HELLO = [{"role": "user", "content": "Hello"}]


def ask(
    document: dict[str, Any], path: str = "/v1/messages", headers: dict[str, str] = TOKEN
) -> tuple[int, bytes]:
    body = json.dumps(document).encode()
    received = Received(
        id=1, method="POST", target=path, raw_headers=(), headers=headers, body=body, size=len(body)
    )
    reply = Provider().reply(received)
    return reply.status, b"".join(reply.frames)


@pytest.mark.parametrize(
    ("model", "path", "headers", "status"),
    [
        ("claude-opus-4-7", "/v1/messages", TOKEN, 200),
        ("claude-sonnet-4-6", "/v1/messages", TOKEN, 200),
        ("claude-opus-5", "/v1/messages", TOKEN, 404),
        ("claude-opus-4-7", "/v1/messages/count_tokens", TOKEN, 404),
        ("claude-opus-4-7", "/v1/messages", {"x-api-key": "sk-1"}, 401),
        ("claude-opus-4-7", "/v1/messages", {}, 401),
    ],
)
def test_it_has_what_its_page_lists(
    model: str, path: str, headers: dict[str, str], status: int
) -> None:
    document = {"model": model, "max_tokens": 50, "messages": HELLO}
    assert ask(document, path, headers)[0] == status


def test_its_usage_is_flat() -> None:
    _, said = ask({"model": "claude-opus-4-7", "max_tokens": 50, "messages": HELLO})
    assert set(json.loads(said)["usage"]) == {
        "input_tokens", "output_tokens", "cache_creation_input_tokens", "cache_read_input_tokens",
    }  # fmt: skip


def chat(**changes: Any) -> dict[str, Any]:
    turns = [{"role": "system", "content": "Be brief."}, *HELLO]
    return {"model": "claude-opus-4-7", "messages": turns} | changes


def test_a_chat_completion() -> None:
    status, said = ask(chat(), "/v1/chat/completions")
    answer = json.loads(said)
    (choice,) = answer["choices"]
    usage = answer["usage"]
    assert (status, answer["object"], choice["finish_reason"]) == (200, "chat.completion", "stop")
    assert choice["message"]["content"]
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]


def test_a_chat_with_tools() -> None:
    function = {"name": "look", "parameters": {"type": "object", "properties": {}}}
    tools = [{"type": "function", "function": function}]
    headers = TOKEN | {"x-simulate": "answer=tool_use"}
    _, said = ask(chat(tools=tools), "/v1/chat/completions", headers)
    (choice,) = json.loads(said)["choices"]
    call = choice["message"]["tool_calls"][0]
    assert (choice["finish_reason"], call["function"]["name"]) == ("tool_calls", "look")
    turns = [
        *HELLO,
        choice["message"],
        {"role": "tool", "tool_call_id": call["id"], "content": "a tide"},
    ]
    assert ask(chat(tools=tools, messages=turns), "/v1/chat/completions")[0] == 200


@pytest.mark.parametrize("usage", [True, False])
def test_a_streamed_chat(usage: bool) -> None:
    options = {"include_usage": usage}
    _, said = ask(chat(stream=True, stream_options=options), "/v1/chat/completions")
    _, whole = ask(chat(), "/v1/chat/completions")
    events = said.decode().split("\n\n")
    assert events[-2:] == ["data: [DONE]", ""]
    chunks = [json.loads(event.removeprefix("data: ")) for event in events[:-2]]
    text = "".join(
        choice["delta"].get("content") or "" for chunk in chunks for choice in chunk["choices"]
    )
    assert text == json.loads(whole)["choices"][0]["message"]["content"]
    assert [chunk["usage"] for chunk in chunks if "usage" in chunk] == (
        [json.loads(whole)["usage"]] if usage else []
    )
