"""What the upstream can do wrong, and what the client is told."""

import asyncio
import json
from pathlib import Path

import pytest

from support.gateway import gateway
from support.ports import free_port
from support.raw import Answer, ask, post, read_head
from tidegate.testing.upstream import Call, scripted_upstream

REQUEST = b'{"model":"claude-x","max_tokens":5,"messages":[]}'


def told(answer: Answer) -> tuple[int, str, str | None]:
    """Status, error type and origin of an answer made by the gateway."""
    status, headers, body = answer
    found = json.loads(body)
    assert found["type"] == "error"
    assert found["request_id"] == dict(headers)["request-id"]
    return status, found["error"]["type"], dict(headers).get("x-tidegate-origin")


async def test_nobody_there(tmp_path: Path) -> None:
    async with gateway(tmp_path, f"http://127.0.0.1:{free_port()}") as gate:
        answer = await ask(gate.port, post(REQUEST))
        record = await gate.exchange()
    assert told(answer) == (502, "api_error", "gateway")
    assert dict(answer[1])["retry-after"] == "1"
    assert (record["outcome"], record["dispatched"]) == ("unreachable", True)


async def test_no_answer_in_time(tmp_path: Path) -> None:
    toml = "[upstream]\nfirst_byte_timeout_s = 0.05"

    async def script(call: Call) -> None:
        await call.gone()

    async with scripted_upstream(script) as upstream, gateway(tmp_path, upstream.url, toml) as gate:
        answer = await ask(gate.port, post(REQUEST))
        record = await gate.exchange()
        await upstream.left.wait()
    assert told(answer) == (504, "timeout_error", "gateway")
    assert record["outcome"] == "upstream_timeout"


async def test_silence_within_the_answer_is_a_cut(tmp_path: Path) -> None:
    toml = "[upstream]\nidle_timeout_s = 0.05"

    async def script(call: Call) -> None:
        await call.say(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\nx\r\n")
        await call.gone()

    async with scripted_upstream(script) as upstream, gateway(tmp_path, upstream.url, toml) as gate:
        with pytest.raises(asyncio.IncompleteReadError):
            await ask(gate.port, post(REQUEST))
        record = await gate.exchange()
    assert (record["outcome"], record["status"]) == ("upstream_timeout", 200)


async def test_closed_before_an_answer(tmp_path: Path) -> None:
    async def script(call: Call) -> None:
        call.writer.close()

    async with scripted_upstream(script) as upstream, gateway(tmp_path, upstream.url) as gate:
        answer = await ask(gate.port, post(REQUEST))
        record = await gate.exchange()
    assert told(answer) == (502, "api_error", "gateway")
    assert record["outcome"] == "upstream_cut"


@pytest.mark.parametrize(
    "said",
    [
        b"garbage\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ncontent-length: 3\r\n\r\nabc",
        b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\ncontent-length: 4\r\n\r\nabc",
        b"HTTP/1.1 200 OK\r\ncontent-length: -3\r\n\r\nabc",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nx: " + b"y" * 100_000,
    ],
)
async def test_an_answer_that_is_not_http(tmp_path: Path, said: bytes) -> None:
    async def script(call: Call) -> None:
        await call.say(said)
        await call.gone()

    async with scripted_upstream(script) as upstream, gateway(tmp_path, upstream.url) as gate:
        answer = await ask(gate.port, post(REQUEST))
    assert told(answer) == (502, "api_error", "gateway")


async def test_bad_chunks_are_a_cut(tmp_path: Path) -> None:
    seen = asyncio.Event()

    async def script(call: Call) -> None:
        await call.say(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\nx\r\n")
        await seen.wait()
        await call.say(b"zz\r\n")
        await call.gone()

    async with scripted_upstream(script) as upstream, gateway(tmp_path, upstream.url) as gate:
        reader, writer = await asyncio.open_connection("127.0.0.1", gate.port)
        writer.write(post(REQUEST))
        await read_head(reader)
        assert await reader.readexactly(6) == b"1\r\nx\r\n"
        seen.set()
        assert await reader.read() == b""
        writer.close()
        record = await gate.exchange()
    assert record["outcome"] == "upstream_cut"


async def test_interim_answers_are_not_the_answer(tmp_path: Path) -> None:
    async def script(call: Call) -> None:
        await call.say(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n")
        await call.answer(b"{}")

    async with scripted_upstream(script) as upstream, gateway(tmp_path, upstream.url) as gate:
        status, _, body = await ask(gate.port, post(REQUEST))
    assert (status, body) == (200, b"{}")


async def test_more_than_the_answer_spoils_the_connection_only(tmp_path: Path) -> None:
    async def script(call: Call) -> None:
        await call.say(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}HTTP/1.1 200 EVIL\r\n\r\n")

    async with scripted_upstream(script) as upstream, gateway(tmp_path, upstream.url) as gate:
        for _ in range(2):
            status, _, body = await ask(gate.port, post(REQUEST))
            assert (status, body) == (200, b"{}")
        assert upstream.accepted == 2


async def test_an_answer_before_the_request_is_read_is_passed_on(tmp_path: Path) -> None:
    """As a load balancer does that refuses a large body."""
    body = b'{"model":"claude-x","max_tokens":5,"messages":["' + b"x" * 5_000_000 + b'"]}'

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(
            b"HTTP/1.1 413 Content Too Large\r\ncontent-length: 2\r\nconnection: close\r\n\r\nno"
        )
        try:
            await writer.drain()
            while await reader.read(65536):
                pass
        except ConnectionError:
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with gateway(tmp_path, f"http://127.0.0.1:{port}") as gate:
        status, _, said = await ask(gate.port, post(body))
        record = await gate.exchange()
    server.close()
    assert (status, said) == (413, b"no")
    assert record["outcome"] == "upstream_error"


@pytest.mark.parametrize("status", ["400 Bad Request", "429 Too Many Requests", "529 Overloaded"])
async def test_errors_of_the_upstream_pass_untouched(tmp_path: Path, status: str) -> None:
    said = b'{"type":"error", "error":{"type":"overloaded_error","message":"prompt is too long"} }'

    async def script(call: Call) -> None:
        await call.say(
            b"HTTP/1.1 " + status.encode() + b"\r\nretry-after: 7\r\nrequest-id: req_1\r\n"
            b"x-should-retry: true\r\ncontent-type: application/json\r\n"
            b"content-length: %d\r\n\r\n%s" % (len(said), said)
        )

    async with scripted_upstream(script) as upstream, gateway(tmp_path, upstream.url) as gate:
        code, headers, body = await ask(gate.port, post(REQUEST))
        record = await gate.exchange()
    assert (code, body) == (int(status[:3]), said)
    assert headers[:3] == [
        ("retry-after", "7"),
        ("request-id", "req_1"),
        ("x-should-retry", "true"),
    ]
    assert "x-tidegate-origin" not in dict(headers)
    assert (record["outcome"], record["error_type"]) == ("upstream_error", "overloaded_error")
    assert record["upstream_request_id"] == "req_1"
