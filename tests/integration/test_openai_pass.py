"""`chat_completions = "pass"`: the upstream converts, and everything but that is as for Messages."""

import asyncio
import gzip
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from openai import AsyncOpenAI

from redacting import github, rules_dir
from support.gateway import Gateway, gateway
from support.raw import ask, post
from tidegate.simulator import serve_simulator
from tidegate.testing.upstream import Call, scripted_upstream

KEY = "-".join(("sk", "t" * 24))
PASS = '[openai]\nchat_completions = "pass"\n'
OPUS = "claude-opus-4-7"
CHAT = "/v1/chat/completions"
AUTH = b"authorization: Bearer " + KEY.encode() + b"\r\n"
SECRET = github("pass")

USAGE = {
    "prompt_tokens": 120,
    "completion_tokens": 17,
    "total_tokens": 137,
    "prompt_tokens_details": {"cached_tokens": 100},
    "completion_tokens_details": {"reasoning_tokens": 5},
}
CLASSES = {"input": 20, "cache_read": 100, "cache_write_5m": 0, "output": 17, "thinking": 5}


def chunk(*choices: Any, **more: Any) -> bytes:
    document = {"id": "c1", "object": "chat.completion.chunk", "model": OPUS, **more}
    return b"data: %s\n\n" % json.dumps({**document, "choices": list(choices)}).encode()


def delta(reason: str | None = None, **fields: Any) -> dict[str, Any]:
    return {"index": 0, "delta": fields, "finish_reason": reason}


CALL = {"index": 0, "id": "t1", "type": "function", "function": {"name": "run", "arguments": ""}}
STREAM = [
    b": PROCESSING\n\n",
    chunk(delta(role="assistant", content="")),
    chunk(delta(content=f"It is {SECRET[:9]}")),
    chunk(delta(content=f"{SECRET[9:]}, \u00e9")),
    chunk(delta(tool_calls=[CALL])),
    chunk(delta(tool_calls=[{"index": 0, "function": {"arguments": '{"x":1}'}}])),
    chunk(delta("tool_calls")),
    chunk(usage=USAGE),
    b"data: [DONE]\n\n",
]
COMPLETION = {
    "id": "c1",
    "object": "chat.completion",
    "model": OPUS,
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "hi"}, "finish_reason": "length"}],
    "usage": USAGE,
}  # fmt: skip


def scripted(body: bytes, *lines: str, size: int = 7) -> Any:
    """An upstream's script: the body in pieces of so many bytes."""

    async def script(call: Call) -> None:
        head = "\r\n".join(("HTTP/1.1 200 OK", *lines, "transfer-encoding: chunked", "", ""))
        await call.say(head.encode())
        for at in range(0, len(body), size):
            await call.chunk(body[at : at + size])
        await call.say(b"0\r\n\r\n")

    return script


SSE = "content-type: text/event-stream"


def body(**fields: Any) -> bytes:
    asked = {"model": OPUS, "messages": [{"role": "user", "content": "hi"}], **fields}
    return json.dumps(asked, indent=1).encode()


async def send(gate: Gateway, raw: bytes) -> tuple[int, dict[str, str], bytes]:
    status, headers, answer = await ask(gate.port, post(raw, target=f"{CHAT}?x=1", headers=AUTH))
    return status, {name.lower(): value for name, value in headers}, answer


@pytest.mark.parametrize("coding", ["", "gzip"])
async def test_bytes_pass_as_they_are(tmp_path: Path, coding: str) -> None:
    asked = body(stream=True, max_tokens=9, stream_options={"include_usage": True}, seed=3)
    said = gzip.compress(b"".join(STREAM)) if coding else b"".join(STREAM)
    lines = [SSE] + [f"content-encoding: {coding}"] * bool(coding)
    async with (
        scripted_upstream(scripted(said, *lines)) as upstream,
        gateway(tmp_path, upstream.url, PASS) as gate,
    ):
        assert (await send(gate, asked))[::2] == (200, said)
        record = await gate.exchange()
        (heard,) = upstream.heard
    assert (heard.line, heard.body) == (f"POST {CHAT}?x=1 HTTP/1.1", asked)
    assert heard.header("anthropic-version") is None
    assert heard.header("authorization") == f"Bearer {KEY}"
    assert (record["route"], record["chat"], record["outcome"]) == ("messages", "pass", "complete")
    assert record["edits"] == []
    assert {key: record["usage"][key] for key in CLASSES} == CLASSES
    assert (record["usage_source"], record["stop_reason"]) == ("final", "tool_use")
    assert record["model"] == {"asked": OPUS, "sent": OPUS, "answered": OPUS}
    assert record["shape"]["max_tokens"] == 9
    assert record["shape"]["outline"]["seed"] == "?"


@pytest.mark.parametrize("size", [1, 7, 65536])
@pytest.mark.parametrize("options", [None, {}, {"include_usage": False}])
async def test_usage_is_asked_for_and_not_shown(
    tmp_path: Path, size: int, options: dict[str, Any] | None
) -> None:
    asked = body(
        stream=True, max_tokens=9, **({} if options is None else {"stream_options": options})
    )
    async with (
        scripted_upstream(scripted(b"".join(STREAM), SSE, size=size)) as upstream,
        gateway(tmp_path, upstream.url, PASS) as gate,
    ):
        status, _, said = await send(gate, asked)
        record = await gate.exchange()
        (heard,) = upstream.heard
    assert (status, said) == (200, b"".join(STREAM[:-2] + STREAM[-1:]))
    assert json.loads(heard.body) == json.loads(asked) | {"stream_options": {"include_usage": True}}
    assert heard.header("accept-encoding") == "identity"
    assert [(e["plugin"], e["rule"]) for e in record["edits"]] == [("gateway", "include_usage")]
    assert record["usage"]["output"] == 17


async def test_a_whole_completion(tmp_path: Path) -> None:
    said = json.dumps(COMPLETION).encode()
    async with (
        scripted_upstream(scripted(said, "content-type: application/json")) as upstream,
        gateway(tmp_path, upstream.url, PASS) as gate,
    ):
        assert (await send(gate, body()))[::2] == (200, said)
        record = await gate.exchange()
        (heard,) = upstream.heard
    assert json.loads(heard.body) == json.loads(body()) | {"max_completion_tokens": 4096}
    assert [(e["plugin"], e["rule"]) for e in record["edits"]] == [
        ("gateway", "default_max_tokens")
    ]
    assert {key: record["usage"][key] for key in CLASSES} == CLASSES
    assert (record["stop_reason"], record["shape"]["max_tokens"]) == ("max_tokens", 4096)


async def test_an_error_passes_as_it_is(tmp_path: Path) -> None:
    said = b'{ "error": {"message":"no","type":"overloaded_error","code":null}}'

    async def script(call: Call) -> None:
        await call.answer(said, "503 Busy")

    async with (
        scripted_upstream(script) as upstream,
        gateway(tmp_path, upstream.url, PASS) as gate,
    ):
        status, headers, answer = await send(gate, body(stream=True))
        record = await gate.exchange()
    assert (status, headers["content-type"], answer) == (503, "application/json", said)
    assert (record["outcome"], record["error_type"]) == ("upstream_error", "overloaded_error")


async def test_an_error_to_a_stream_passes_too(tmp_path: Path) -> None:
    """Also where the stream would have been short of its usage."""

    async def script(call: Call) -> None:
        await call.answer(b"<html>busy</html>", "502 Bad", "text/html; x=1")

    async with (
        scripted_upstream(script) as upstream,
        gateway(tmp_path, upstream.url, PASS) as gate,
    ):
        status, headers, answer = await send(gate, body(stream=True, max_tokens=3))
    assert (status, answer) == (502, b"<html>busy</html>")
    assert headers["content-type"] == "text/html; x=1"
    assert "x-request-id" not in headers


async def test_a_stream_without_its_end_is_a_cut(tmp_path: Path) -> None:
    async with (
        scripted_upstream(scripted(b"".join(STREAM[:-2]), SSE)) as upstream,
        gateway(tmp_path, upstream.url, PASS) as gate,
    ):
        await send(gate, body(stream=True))
        assert (await gate.exchange())["outcome"] == "upstream_cut"


POLICIES = f"""{PASS}
[[plugins]]
use = "models"
[plugins.config]
allow = ["{OPUS}"]
aliases = {{ fast = "{OPUS}" }}
[[plugins]]
use = "limits"
[plugins.config]
max_tokens = 100
over = "clamp"
[[plugins]]
use = "redact"
[plugins.config]
action = "mask"
cache_dir = "{rules_dir()}"
"""


async def test_policies_decide_and_edit_the_chat(tmp_path: Path) -> None:
    text = f"my token is {SECRET}"
    asked = body(
        model="fast", max_tokens=500, max_completion_tokens=500, messages=[{"role": "user", "content": text}]
    )  # fmt: skip
    async with (
        scripted_upstream(scripted(json.dumps(COMPLETION).encode(), "content-type: application/json")) as upstream,
        gateway(tmp_path, upstream.url, POLICIES) as gate,
    ):  # fmt: skip
        status, headers, said = await send(gate, asked)
        assert status == 200, said
        record = await gate.exchange()
        (heard,) = upstream.heard
    found = json.loads(heard.body)
    assert SECRET.encode() not in heard.body
    assert (found["model"], found["max_tokens"], found["max_completion_tokens"]) == (OPUS, 100, 100)
    expected = asked.replace(b'"fast"', f'"{OPUS}"'.encode()).replace(b"500", b"100")
    masked = found["messages"][0]["content"].encode()
    assert heard.body == expected.replace(text.encode(), masked)
    assert headers["x-tidegate-max-tokens"] == "100"
    assert [(e["pointer"], e["plugin"]) for e in record["edits"]] == [
        ("/model", "models"),
        ("/max_completion_tokens", "limits"),
        ("/max_tokens", "limits"),
        ("/messages/0/content", "redact"),
    ]
    assert record["usage"]["output"] == 17


async def test_answers_are_inspected(tmp_path: Path) -> None:
    async with (
        scripted_upstream(scripted(b"".join(STREAM), SSE)) as upstream,
        gateway(tmp_path, upstream.url, POLICIES) as gate,
    ):
        await send(gate, body(stream=True))
        await gate.exchange()
        await gate.plane.handler.settled()
        (found,) = gate.records("inspection")
    assert [d["pointer"] for d in found["decisions"] if d["verdict"] == "found"] == [
        "/content/0/text"
    ]
    assert found["route"] == "messages"


KEPT = """
[journal]
content = "redacted"
[[plugins]]
use = "limits"
[plugins.config]
max_tokens = 100
[[plugins]]
use = "redact"
[plugins.config]
cache_dir = "%s"
[shadow]
config = "%s"
"""
NEXT = """
[[plugins]]
use = "limits"
[plugins.config]
max_tokens = 8
"""
MESSAGE = {
    "type": "message",
    "model": OPUS,
    "content": [{"type": "text", "text": f"It is {SECRET}"}],
}


@pytest.mark.parametrize("mode", ["convert", "pass"])
async def test_one_request_to_whoever_looks_later(tmp_path: Path, mode: str) -> None:
    """What is kept, inspected and decided by a second configuration has one shape."""
    (tmp_path / "next.toml").write_text(NEXT)
    toml = f'[openai]\nchat_completions = "{mode}"\n' + KEPT % (rules_dir(), tmp_path / "next.toml")
    said = {**COMPLETION, "choices": [{"message": {"content": f"It is {SECRET}"}}]}
    answer = json.dumps(said if mode == "pass" else MESSAGE).encode()
    picture = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
    content = [picture, {"type": "text", "text": f"my token is {SECRET}"}]
    asked = body(max_completion_tokens=9, messages=[{"role": "user", "content": content}])
    async with (
        scripted_upstream(scripted(answer, "content-type: application/json")) as upstream,
        gateway(tmp_path / "journal", upstream.url, toml) as gate,
    ):
        assert (await send(gate, asked))[0] == 200
        await gate.exchange()
        await gate.plane.handler.settled()
        async with asyncio.timeout(10):
            while not gate.records("shadow"):
                await asyncio.sleep(0.005)
    ((kept,), (inspected,), (differs,)) = map(gate.records, ("content", "inspection", "shadow"))
    image, text = kept["request"]["messages"][0]["content"]
    assert image["source"]["data"] == "[4 characters]"
    assert text["text"].startswith("my token is [REDACTED:")
    assert kept["request"]["max_tokens"] == 9
    assert kept["response"]["content"][0]["text"].startswith("It is [REDACTED:")
    found = [d["pointer"] for d in inspected["decisions"] if d["verdict"] == "found"]
    assert found == ["/content/0/text"]
    assert (differs["what"], differs["route"]) == ("refused", "messages")
    assert differs["candidate"] == "limits:max_tokens"
    assert SECRET not in json.dumps([kept, inspected, differs])


@pytest.fixture
async def client(tmp_path: Path) -> AsyncIterator[AsyncOpenAI]:
    toml = f'{PASS}[upstream]\nprofile = "onedim"\n'
    async with (
        serve_simulator(profile="onedim") as api,
        gateway(tmp_path, api.url, toml) as gate,
        AsyncOpenAI(api_key=KEY, base_url=f"{gate.url}/v1", max_retries=0) as made,
    ):
        yield made


async def test_the_reselling_provider(client: AsyncOpenAI) -> None:
    asked: dict[str, Any] = {"model": OPUS, "messages": [{"role": "user", "content": "grüße"}]}
    whole = await client.chat.completions.create(**asked)
    assert whole.choices[0].message.content == "You said: grüße"
    stream = await client.chat.completions.create(**asked, stream=True)
    chunks = [chunk async for chunk in stream]
    assert "".join(c.choices[0].delta.content or "" for c in chunks) == "You said: grüße"


async def test_an_upstream_without_the_endpoint(tmp_path: Path) -> None:
    toml = f'{PASS}[upstream]\nendpoints = ["messages"]\n'
    async with serve_simulator() as api, gateway(tmp_path, api.url, toml) as gate:
        status, _, said = await send(gate, body())
        assert not api.requests
    assert status == 404
    assert json.loads(said)["error"]["message"].startswith("/v1/chat/completions does not exist")
