"""Converted streams: at once, no faster than the client, no longer than it stays, and faithful to recordings."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from openai import AsyncOpenAI
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from support.gateway import Gateway, gateway
from support.raw import ask, post, read_head
from support.recordings import NUMBER, Recording, Replay, load, replaying
from tidegate.testing.upstream import Call, scripted_upstream

CONVERT = '[openai]\nchat_completions = "convert"\n'
CHAT = "/v1/chat/completions"
AUTH = b"authorization: Bearer k\r\n"
HEAD = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n"


def request(*, stream: bool = True, headers: bytes = AUTH, **fields: Any) -> bytes:
    asked = {
        "model": "m",
        "messages": [{"role": "user", "content": "hi"}],
        "stream": stream,
        **fields,
    }
    return post(json.dumps(asked).encode(), target=CHAT, headers=headers)


def event(name: str, **fields: Any) -> bytes:
    return f"event: {name}\ndata: {json.dumps({'type': name, **fields})}\n\n".encode()


def text(said: str) -> bytes:
    return event("content_block_delta", index=0, delta={"type": "text_delta", "text": said})


START = event("message_start", message={"id": "msg_1", "model": "m", "usage": {"input_tokens": 3}})
BLOCK = event("content_block_start", index=0, content_block={"type": "text", "text": ""})
END = event("message_delta", delta={"stop_reason": "end_turn"}, usage={"output_tokens": 2}) + event("message_stop")  # fmt: skip


async def chunk(reader: asyncio.StreamReader) -> Any:
    size = int(await reader.readuntil(b"\r\n"), 16)
    payload = (await reader.readexactly(size + 2))[:-2]
    return [line.removeprefix(b"data: ") for line in payload.split(b"\n\n") if line]


async def test_every_event_goes_out_before_the_next_one_comes(tmp_path: Path) -> None:
    seen: asyncio.Queue[str] = asyncio.Queue()

    async def script(call: Call) -> None:
        await call.say(f"{HEAD}\r\n".encode())
        assert await seen.get() == "head"
        for piece in (START, event("ping"), BLOCK + text("a"), text("b"), END):
            await call.chunk(piece)
            await seen.get()
        await call.say(b"0\r\n\r\n")

    async with (
        scripted_upstream(script) as upstream,
        gateway(tmp_path, upstream.url, CONVERT) as gate,
    ):
        reader, writer = await asyncio.open_connection("127.0.0.1", gate.port)
        writer.write(request())
        status, headers = await read_head(reader)
        assert (status, dict(headers)["Content-Type"]) == (200, "text/event-stream")
        found = []
        seen.put_nowait("head")
        for _ in range(5):
            found.append(await chunk(reader))
            seen.put_nowait("chunk")
        assert await reader.readuntil(b"0\r\n\r\n") == b"0\r\n\r\n"
        writer.close()
    assert json.loads(found[0][0])["choices"][0]["delta"]["role"] == "assistant"
    assert found[1] == [b": ping"]
    assert [json.loads(f[-1])["choices"][0]["delta"] for f in found[2:4]] == [{"content": "a"}, {"content": "b"}]  # fmt: skip
    assert found[4][-1] == b"[DONE]"


async def test_a_client_that_leaves_frees_the_upstream(tmp_path: Path) -> None:
    gone = asyncio.Event()

    async def script(call: Call) -> None:
        await call.say(f"{HEAD}\r\n".encode())
        await call.chunk(START + BLOCK + text("a"))
        await call.gone()
        gone.set()

    async with (
        scripted_upstream(script) as upstream,
        gateway(tmp_path, upstream.url, CONVERT) as gate,
    ):
        reader, writer = await asyncio.open_connection("127.0.0.1", gate.port)
        writer.write(request())
        await read_head(reader)
        writer.close()
        async with asyncio.timeout(10):
            await gone.wait()
        assert (await gate.exchange())["outcome"] == "client_gone"


async def test_a_slow_client_makes_the_upstream_wait(tmp_path: Path) -> None:
    sent = 0
    piece = text("x" * 60_000)
    enough = 64 * 1024 * 1024

    async def script(call: Call) -> None:
        nonlocal sent
        await call.say(f"{HEAD}\r\n".encode())
        await call.chunk(START + BLOCK)
        while sent < enough:
            await call.chunk(piece)
            sent += len(piece)

    async with (
        scripted_upstream(script) as upstream,
        gateway(tmp_path, upstream.url, CONVERT, send_buffer_bytes=65536) as gate,
    ):
        _, writer = await asyncio.open_connection("127.0.0.1", gate.port, limit=1024)
        writer.write(request())
        before = -1
        while before != sent or not sent:  # until nothing more is taken
            before = sent
            await asyncio.sleep(0.2)
        assert sent < enough
        assert gate.held() < 2 * 1024 * 1024
        writer.transport.abort()


@pytest.mark.parametrize("stream", [False, True])
async def test_old_clients_get_no_chunks(tmp_path: Path, stream: bool) -> None:
    async def script(call: Call) -> None:
        if stream:
            await call.say(f"{HEAD}\r\n".encode())
            await call.chunk(START + BLOCK + text("a") + END)
            await call.say(b"0\r\n\r\n")
        else:
            await call.answer(b'{"id":"msg_1","model":"m","content":[],"stop_reason":"end_turn"}')

    async with (
        scripted_upstream(script) as upstream,
        gateway(tmp_path, upstream.url, CONVERT) as gate,
    ):
        old = request(stream=stream).replace(b"HTTP/1.1", b"HTTP/1.0", 1)
        status, headers, said = await ask(gate.port, old)
    assert status == 200
    assert "transfer-encoding" not in {name.lower() for name, _ in headers}
    assert said.endswith(b"data: [DONE]\n\n" if stream else b"}")


@pytest.mark.parametrize(
    ("body", "coding"),
    [(b"<html>", ""), (b'{"id":"x"}', ""), (b"[]", ""), (b"junk", "gzip"), (b"{}", "br")],
)
async def test_an_answer_that_cannot_be_converted(tmp_path: Path, body: bytes, coding: str) -> None:
    async def script(call: Call) -> None:
        lines = (
            f"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-encoding: {coding}\r\n"
        )
        await call.say(f"{lines}content-length: {len(body)}\r\n\r\n".encode() + body)

    async with (
        scripted_upstream(script) as upstream,
        gateway(tmp_path, upstream.url, CONVERT) as gate,
    ):
        status, _, said = await ask(gate.port, request(stream=False))
        record = await gate.exchange()
    assert status == 502
    assert "its answer" in json.loads(said)["error"]["message"]
    assert (record["status"], record["outcome"], record["chat"]) == (502, "upstream_cut", "convert")


async def test_what_leaves_for_the_upstream(tmp_path: Path) -> None:
    async def script(call: Call) -> None:
        await call.answer(
            b'{"error":{"type":"invalid_request_error","message":"no"},"type":"error"}', "400 No"
        )

    extra = b"OpenAI-Organization: o\r\nAccept-Encoding: gzip, br\r\nX-Other: kept\r\n"
    async with (
        scripted_upstream(script) as upstream,
        gateway(tmp_path, upstream.url, CONVERT) as gate,
    ):
        status, headers, said = await ask(gate.port, request(headers=AUTH + extra, temperature=0.5))
        record = await gate.exchange()
        (heard,) = upstream.heard
    assert heard.line == "POST /v1/messages HTTP/1.1"
    assert json.loads(heard.body) == {
        "model": "m",
        "max_tokens": 4096,
        "messages": [{"role": "user", "content": "hi"}],
        "stream": True,
        "temperature": 0.5,
    }
    wanted = {"anthropic-version": "2023-06-01", "accept-encoding": "identity", "x-other": "kept"}
    assert {name: heard.header(name) for name in wanted} == wanted
    assert heard.header("openai-organization") is None
    assert (status, json.loads(said)["error"]) == (
        400,
        {"message": "no", "type": "invalid_request_error", "param": None, "code": None},
    )
    assert dict(headers)["x-request-id"] == record["id"]
    assert record["bytes"]["response"] == len(said)


# recordings of the real API


def taken() -> list[Recording]:
    return [
        each for each in load() if each.target.startswith("/v1/messages") and each.status == 200
    ]


@pytest.fixture
async def replayed(tmp_path: Path) -> AsyncIterator[tuple[Gateway, AsyncOpenAI, list[Recording]]]:
    recordings = taken()
    async with (
        replaying(recordings, Replay("recorded", "113")) as upstream,
        gateway(tmp_path, upstream.url, CONVERT) as gate,
        AsyncOpenAI(api_key="k", base_url=f"{gate.url}/v1", max_retries=0) as client,
    ):
        yield gate, client, recordings


def told(recording: Recording) -> tuple[str, int]:
    """Text and output tokens, read in the plainest way."""
    if not recording.is_stream:
        message = json.loads(recording.plain)
        blocks = message["content"]
        return "".join(b["text"] for b in blocks if b["type"] == "text"), message["usage"][
            "output_tokens"
        ]
    events = [
        json.loads(line[6:]) for line in recording.plain.split(b"\n") if line.startswith(b"data: ")
    ]
    said = [e["delta"]["text"] for e in events if e.get("delta", {}).get("type") == "text_delta"]
    return "".join(said), [
        e["usage"]["output_tokens"] for e in events if e["type"] == "message_delta"
    ][-1]


async def test_recordings_keep_text_and_usage(
    replayed: tuple[Gateway, AsyncOpenAI, list[Recording]],
) -> None:
    _, client, recordings = replayed
    compared = 0
    for number, recording in enumerate(recordings):
        if b'"usage"' not in recording.plain or b"output_tokens" not in recording.plain:
            continue  # a count, or a list
        asked: dict[str, Any] = {
            "model": "m",
            "messages": [],
            "extra_headers": {NUMBER: str(number)},
        }
        if recording.is_stream:
            options = {"include_usage": True}
            stream = await client.chat.completions.create(**asked, stream=True, stream_options=options)  # fmt: skip
            chunks = [
                ChatCompletionChunk.model_validate(c.to_dict(), strict=True) async for c in stream
            ]
            said = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
            usage = chunks[-1].usage
        else:
            whole = await client.chat.completions.create(**asked)
            ChatCompletion.model_validate(whole.to_dict(), strict=True)
            said, usage = whole.choices[0].message.content or "", whole.usage
        assert usage is not None
        assert (said, usage.completion_tokens) == told(recording), recording.name
        compared += 1
    assert compared > 50
