"""An upstream that is down, slow or silent: the client is told, the record says so, and it passes."""

import asyncio
import json
from pathlib import Path

import pytest

from support.gateway import serve
from support.ports import free_port
from support.raw import ask
from support.traffic import (
    ANSWER,
    FIRST_HALF,
    HEAD,
    STREAM,
    id_of,
    is_ready,
    open_stream,
    reconciled,
    request,
)
from tidegate.testing.upstream import Call, scripted_upstream

pytestmark = [pytest.mark.process, pytest.mark.timeout(60)]

TOML = '[upstream]\nurl = "{url}"\n{more}\n[[plugins]]\nuse = "metrics"\n'


async def test_down_then_up(tmp_path: Path) -> None:
    port = free_port()
    config = tmp_path / "tidegate.toml"
    config.write_text(TOML.format(url=f"http://127.0.0.1:{port}", more=""))
    async with serve(tmp_path / "j", config) as running:
        status, headers, body = await ask(running.port, request())
        assert status == 502
        assert dict(headers)["x-tidegate-origin"] == "gateway"
        assert json.loads(body)["error"]["type"] == "api_error"
        assert await is_ready(running)  # another upstream, or none, is not this gateway's illness

        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"}]}")
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(ANSWER) + ANSWER)
            await writer.drain()
            writer.close()

        async with await asyncio.start_server(answer, "127.0.0.1", port):
            assert (await ask(running.port, request()))[0::2] == (200, ANSWER)
        await reconciled(running.directory, [id_of(headers)])
        outcomes = {record["id"]: record["outcome"] for record in running.records()}
        assert outcomes[id_of(headers)] == "unreachable"
        assert sorted(outcomes.values()) == ["complete", "unreachable"]


async def test_slow_then_fast(tmp_path: Path) -> None:
    config = tmp_path / "tidegate.toml"
    more = "first_byte_timeout_s = 0.3\nidle_timeout_s = 0.3"
    hurry = asyncio.Event()

    async def script(call: Call) -> None:
        stream = json.loads(call.heard.body)["stream"]
        if stream:
            await call.say(HEAD)
            await call.chunk(FIRST_HALF)
        if not hurry.is_set():
            await call.gone()
        elif stream:
            await call.chunk(STREAM.removeprefix(FIRST_HALF))
            await call.say(b"0\r\n\r\n")
        else:
            await call.answer(ANSWER)

    async with scripted_upstream(script) as upstream:
        config.write_text(TOML.format(url=upstream.url, more=more))
        async with serve(tmp_path / "j", config) as running:
            status, headers, body = await ask(running.port, request())
            assert status == 504
            assert dict(headers)["x-tidegate-origin"] == "gateway"
            assert json.loads(body)["type"] == "error"
            stalled = await open_stream(running.port)
            with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
                await stalled.rest()
            assert stalled.seen == FIRST_HALF

            hurry.set()
            assert (await ask(running.port, request()))[0::2] == (200, ANSWER)
            assert await (await open_stream(running.port)).rest() == STREAM
            await reconciled(running.directory, [id_of(headers), stalled.id])
            outcomes = [record["outcome"] for record in running.records()]
            assert outcomes == ["upstream_timeout", "upstream_timeout", "complete", "complete"]
