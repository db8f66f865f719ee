"""Answers are inspected when they are over: what is found is recorded, and nothing is held."""

import asyncio
import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from redacting import github, rules_dir
from support.gateway import Gateway, gateway
from support.raw import ask, post, read_head
from tidegate.journal.show import records_of
from tidegate.testing.upstream import Call, scripted_upstream

SECRET = github("answer")
ASKED = b'{"model":"claude-x","max_tokens":5,"messages":[]}'
SSE = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n"


def chain(config: str = "", plugin: str = "") -> str:
    return f'''
[[plugins]]
use = "redact"
{plugin}
[plugins.config]
cache_dir = "{rules_dir()}"
{config}
'''


def event(name: str, **fields: Any) -> bytes:
    return f"event: {name}\ndata: {json.dumps({'type': name, **fields})}\n\n".encode()


def delta(index: int, **fields: str) -> bytes:
    return event("content_block_delta", index=index, delta=fields)


def events() -> list[bytes]:
    """A stream whose text and tool input each hold the secret, split over deltas."""
    text = f"It is {SECRET}."
    tool = json.dumps({"command": f"echo {SECRET}"})
    use = {"type": "tool_use", "id": "toolu_1", "name": "bash", "input": {}}
    return [
        event("message_start", message={"model": "claude-x", "role": "assistant", "content": []}),
        event("content_block_start", index=0, content_block={"type": "text", "text": ""}),
        event("ping"),
        *(delta(0, type="text_delta", text=text[i : i + 5]) for i in range(0, len(text), 5)),
        event("content_block_stop", index=0),
        event("content_block_start", index=1, content_block=use),
        *(delta(1, type="input_json_delta", partial_json=tool[i : i + 7]) for i in range(0, len(tool), 7)),
        event("content_block_stop", index=1),
        event("message_delta", delta={"stop_reason": "tool_use"}, usage={"output_tokens": 9}),
        event("message_stop"),
    ]  # fmt: skip


async def inspection(gate: Gateway) -> dict[str, Any]:
    """Wait for the only inspection."""
    async with asyncio.timeout(10):
        while not (found := gate.records("inspection")):
            await asyncio.sleep(0.005)
    (record,) = found
    return record


def said(record: dict[str, Any]) -> list[tuple[str, str, str]]:
    return [(one["rule"], one["verdict"], one["pointer"]) for one in record["decisions"]]


async def stream(call: Call) -> None:
    await call.say(SSE + b"\r\n")
    for one in events():
        await call.chunk(one)
    await call.say(b"0\r\n\r\n")


FOUND = [
    ("", "inspect", ""),
    ("github-token", "found", "/content/0/text"),
    ("github-token", "found", "/content/1/input/command"),
]


async def test_a_secret_split_over_deltas_is_found_and_passed_on_as_it_is(tmp_path: Path) -> None:
    async with (
        scripted_upstream(stream) as upstream,
        gateway(tmp_path, upstream.url, chain()) as gate,
    ):
        _, _, body = await ask(gate.port, post(ASKED))
        exchange, record = await gate.exchange(), await inspection(gate)
    assert body == b"".join(events())
    assert said(record) == FOUND
    assert record["id"] == exchange["id"]
    assert record["principal"] == exchange["principal"]
    assert (record["route"], record["bytes"]) == ("messages", len(body))
    assert record["at"] >= exchange["at"]
    assert "found" not in [one["verdict"] for one in exchange["decisions"]]
    kinds = [one["kind"] for one in records_of(tmp_path, record["id"])]
    assert kinds == ["intent", "exchange", "inspection"]
    journal = b"".join(path.read_bytes() for path in tmp_path.glob("*.jsonl"))
    assert SECRET.encode() not in journal


@pytest.mark.parametrize("pieces", [1, 40])
async def test_compressed_streams_are_looked_into(tmp_path: Path, pieces: int) -> None:
    data = gzip.compress(b"".join(events()))
    step = len(data) // pieces + 1

    async def script(call: Call) -> None:
        await call.say(SSE + b"content-encoding: gzip\r\n\r\n")
        for at in range(0, len(data), step):
            await call.chunk(data[at : at + step])
        await call.say(b"0\r\n\r\n")

    async with (
        scripted_upstream(script) as upstream,
        gateway(tmp_path, upstream.url, chain()) as gate,
    ):
        _, _, body = await ask(gate.port, post(ASKED))
        record = await inspection(gate)
    assert body == data
    assert said(record) == FOUND


async def test_of_a_stream_that_a_client_leaves_what_came_is_inspected(tmp_path: Path) -> None:
    async def script(call: Call) -> None:
        await call.say(SSE + b"\r\n")
        for one in events()[:-6]:
            await call.chunk(one)
        await call.gone()

    async with (
        scripted_upstream(script) as upstream,
        gateway(tmp_path, upstream.url, chain()) as gate,
    ):
        reader, writer = await asyncio.open_connection("127.0.0.1", gate.port)
        writer.write(post(ASKED))
        await read_head(reader)
        await reader.readuntil(b"input_json_delta")
        writer.close()
        exchange, record = await gate.exchange(), await inspection(gate)
    assert exchange["outcome"] == "client_gone"
    assert said(record)[:2] == FOUND[:2]


@pytest.mark.parametrize(
    ("document", "pointer"),
    [
        ({"role": "assistant", "content": [{"type": "text", "text": SECRET}]}, "/content/0/text"),
        ({"content": [{"type": "block_of_tomorrow", "data": [SECRET]}]}, "/content/0/data/0"),
        ({"type": "error", "error": {"type": "x", "message": SECRET}}, "/error/message"),
    ],
)
async def test_unstreamed_answers_and_errors(
    tmp_path: Path, document: dict[str, Any], pointer: str
) -> None:
    async def script(call: Call) -> None:
        await call.answer(json.dumps(document).encode())

    async with (
        scripted_upstream(script) as upstream,
        gateway(tmp_path, upstream.url, chain()) as gate,
    ):
        await ask(gate.port, post(ASKED))
        record = await inspection(gate)
    assert said(record) == [("", "inspect", ""), ("github-token", "found", pointer)]


@pytest.mark.parametrize(
    ("fields", "payload", "reasons"),
    [
        (b"content-encoding: br\r\n\r\n", b"x", ["coding_unknown"]),
        (b"content-encoding: gzip\r\n\r\n", b"no gzip", ["inflate_failed"]),
        (b"\r\n", b"event: news\ndata: {\"a\": 1}\n\n", ["event_unknown"]),
    ],
)  # fmt: skip
async def test_what_cannot_be_read_is_said(
    tmp_path: Path, fields: bytes, payload: bytes, reasons: list[str]
) -> None:
    async def script(call: Call) -> None:
        await call.say(SSE + fields)
        await call.chunk(payload)
        await call.say(b"0\r\n\r\n")

    async with (
        scripted_upstream(script) as upstream,
        gateway(tmp_path, upstream.url, chain()) as gate,
    ):
        await ask(gate.port, post(ASKED))
        record = await inspection(gate)
    assert said(record) == [(reason, "not_evaluated", "") for reason in reasons]


async def test_a_search_that_takes_too_long_is_said(tmp_path: Path) -> None:
    secrets = {"content": [{"type": "text", "text": "-----BEGIN PRIVATE KEY-----\n" * 40_000}]}

    async def script(call: Call) -> None:
        await call.answer(json.dumps(secrets).encode())

    toml = chain("deadline_ms = 1\ninline_bytes = 0")
    async with (
        scripted_upstream(script) as upstream,
        gateway(tmp_path, upstream.url, toml.replace("inline_bytes = 0", 'on_timeout = "admit"')) as gate,
    ):  # fmt: skip
        await ask(gate.port, post(ASKED))
        record = await inspection(gate)
    assert ("deadline", "not_evaluated", "") in said(record)


async def test_off_means_off_and_other_routes_are_not_inspected(tmp_path: Path) -> None:
    counting = (chain(), b"/v1/messages/count_tokens")
    off = (chain('responses = "off"'), b"/v1/messages")
    for number, (toml, path) in enumerate((counting, off)):
        directory = tmp_path / str(number)
        async with (
            scripted_upstream(stream) as upstream,
            gateway(directory, upstream.url, toml) as gate,
        ):
            await ask(gate.port, post(ASKED).replace(b"/v1/messages", path, 1))
            await gate.exchange()
        assert gate.records("inspection") == []


async def test_nothing_is_lost_when_the_gateway_stops_right_after(tmp_path: Path) -> None:
    async with (
        scripted_upstream(stream) as upstream,
        gateway(tmp_path, upstream.url, chain("inline_bytes = 0", 'mode = "shadow"')) as gate,
    ):
        await ask(gate.port, post(ASKED))
    (record,) = gate.records("inspection")
    assert said(record) == FOUND
    assert {one["mode"] for one in record["decisions"]} == {"shadow"}
