"""Streams: each piece at once, cuts as cuts, leavers noticed, slow readers waited for."""

import asyncio
import gc
import gzip
import socket
import zlib
from pathlib import Path

import pytest

from support.gateway import gateway
from support.raw import ask, post, read_answer, read_body, read_head
from tidegate.testing.upstream import Call, scripted_upstream

REQUEST = b'{"model":"claude-x","max_tokens":5,"stream":true,"messages":[]}'
SSE = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\ntransfer-encoding: chunked\r\n\r\n"
START = (
    b'event: message_start\ndata: {"type":"message_start","message":{"model":"claude-x-1",'
    b'"usage":{"input_tokens":7,"output_tokens":1}}   }\n\n'
)
DELTA = (
    b'event: content_block_delta\ndata: {"type":"content_block_delta","index":0,'
    b'"delta":{"type":"text_delta","text":"h\xc3\xa9"}}\n\n'
)
CLOSE = (
    b'event: message_delta\ndata: {"type":"message_delta","delta":{"stop_reason":"end_turn"},'
    b'"usage":{"output_tokens":9}}\n\n'
    b'event: message_stop\ndata: {"type":"message_stop"}\n\n'
)
WHOLE = START + DELTA * 3 + CLOSE


async def whole(call: Call) -> None:
    await call.say(SSE)
    for event in (START, DELTA, DELTA, DELTA, CLOSE):
        await call.chunk(event)
    await call.say(b"0\r\n\r\n")


async def test_a_stream_comes_through_and_is_metered(tmp_path: Path) -> None:
    async with scripted_upstream(whole) as upstream, gateway(tmp_path, upstream.url) as gate:
        status, _, body = await ask(gate.port, post(REQUEST))
        record = await gate.exchange()
    assert (status, body) == (200, WHOLE)
    assert record["outcome"] == "complete"
    assert (record["usage"]["input"], record["usage"]["output"]) == (7, 9)
    assert record["usage_source"] == "final"
    assert record["stop_reason"] == "end_turn"
    assert record["model"] == {"asked": "claude-x", "sent": "claude-x", "answered": "claude-x-1"}
    assert record["events"] == 6
    assert record["timing_ms"]["first_token"] is not None


async def test_a_conversation_is_not_kept_while_it_is_answered(tmp_path: Path) -> None:
    """A thousand open streams are a thousand conversations, each up to some MB."""
    finish = asyncio.Event()

    async def script(call: Call) -> None:
        await call.say(SSE)
        await call.chunk(START)
        await finish.wait()
        await call.chunk(CLOSE)
        await call.say(b"0\r\n\r\n")

    asked = REQUEST.replace(b"[]", b'[{"role":"user","content":["canary"]}]')
    async with scripted_upstream(script) as upstream, gateway(tmp_path, upstream.url) as gate:
        reader, writer = await asyncio.open_connection("127.0.0.1", gate.port)
        writer.write(post(asked))
        await read_head(reader)
        gc.collect()
        kept = [one for one in gc.get_objects() if type(one) is list and one[:1] == ["canary"]]
        finish.set()
        await gate.exchange()
        writer.close()
    assert kept == []


async def test_the_longest_gap_is_between_pieces_from_the_first_token_on(tmp_path: Path) -> None:
    async def script(call: Call) -> None:
        await call.say(SSE)
        for event, pause_s in (
            (START, 0.3),
            (DELTA, 0.01),
            (DELTA, 0.1),
            (DELTA, 0.01),
            (CLOSE, 0),
        ):
            await call.chunk(event)
            await asyncio.sleep(pause_s)  # it is what is measured
        await call.say(b"0\r\n\r\n")

    async with scripted_upstream(script) as upstream, gateway(tmp_path, upstream.url) as gate:
        await ask(gate.port, post(REQUEST))
        timing = (await gate.exchange())["timing_ms"]
    assert timing["first_token"] >= 300
    assert timing["longest_gap"] >= 90  # timers may be early by a tick
    assert timing["first_token"] + timing["longest_gap"] <= timing["last_byte"]


async def test_an_answer_in_one_piece_has_no_gap(tmp_path: Path) -> None:
    async def script(call: Call) -> None:
        await call.say(SSE)
        await call.chunk(WHOLE)
        await call.say(b"0\r\n\r\n")

    async with scripted_upstream(script) as upstream, gateway(tmp_path, upstream.url) as gate:
        await ask(gate.port, post(REQUEST))
        timing = (await gate.exchange())["timing_ms"]
    assert timing["first_token"] is not None
    assert timing["longest_gap"] is None


async def test_each_piece_is_passed_on_before_the_next_comes(tmp_path: Path) -> None:
    """Head, then each event: the upstream sends the next only when the client has the last."""
    step = asyncio.Event()

    async def script(call: Call) -> None:
        await call.say(SSE)
        for event in (START, DELTA, CLOSE):
            await step.wait()
            step.clear()
            await call.chunk(event)
        await call.say(b"0\r\n\r\n")

    async with scripted_upstream(script) as upstream, gateway(tmp_path, upstream.url) as gate:
        reader, writer = await asyncio.open_connection("127.0.0.1", gate.port)
        writer.write(post(REQUEST))
        status, headers = await read_head(reader)
        assert status == 200
        assert ("Transfer-Encoding", "chunked") in headers
        for event in (START, DELTA, CLOSE):
            step.set()
            framed = b"%x\r\n%s\r\n" % (len(event), event)
            assert await reader.readexactly(len(framed)) == framed
        assert await reader.readexactly(5) == b"0\r\n\r\n"
        writer.close()


@pytest.mark.parametrize("framing", ["chunked", "length"])
async def test_a_cut_upstream_is_a_cut_for_the_client(tmp_path: Path, framing: str) -> None:
    async def script(call: Call) -> None:
        if framing == "chunked":
            await call.say(SSE)
            await call.chunk(START)
            await call.chunk(DELTA)
        else:
            await call.say(SSE.replace(b"transfer-encoding: chunked", b"content-length: 9999"))
            await call.say(START + DELTA)
        call.writer.close()

    async with scripted_upstream(script) as upstream, gateway(tmp_path, upstream.url) as gate:
        reader, writer = await asyncio.open_connection("127.0.0.1", gate.port)
        writer.write(post(REQUEST))
        _, headers = await read_head(reader)
        with pytest.raises(asyncio.IncompleteReadError):
            await read_body(reader, headers)
        writer.close()
        record = await gate.exchange()
    assert record["outcome"] == "upstream_cut"
    assert record["usage_source"] == "partial"
    assert record["usage"]["input"] == 7


async def test_what_came_before_the_cut_arrives(tmp_path: Path) -> None:
    async def script(call: Call) -> None:
        await call.say(SSE)
        await call.chunk(WHOLE)
        call.writer.close()

    async with scripted_upstream(script) as upstream, gateway(tmp_path, upstream.url) as gate:
        reader, writer = await asyncio.open_connection("127.0.0.1", gate.port)
        writer.write(post(REQUEST))
        await read_head(reader)
        assert await reader.read(-1) == b"%x\r\n%s\r\n" % (len(WHOLE), WHOLE)
        writer.close()


async def test_an_error_event_is_an_outcome_of_its_own(tmp_path: Path) -> None:
    error = b'event: error\ndata: {"type":"error","error":{"type":"overloaded_error","message":"x"}}\n\n'

    async def script(call: Call) -> None:
        await call.say(SSE)
        await call.chunk(START + DELTA + error)
        await call.say(b"0\r\n\r\n")

    async with scripted_upstream(script) as upstream, gateway(tmp_path, upstream.url) as gate:
        _, _, body = await ask(gate.port, post(REQUEST))
        record = await gate.exchange()
    assert body == START + DELTA + error
    assert (record["outcome"], record["error_type"]) == ("upstream_error_event", "overloaded_error")


async def test_a_stream_that_ends_without_its_last_event_is_recorded_as_cut(tmp_path: Path) -> None:
    async def script(call: Call) -> None:
        await call.say(SSE)
        await call.chunk(START + DELTA)
        await call.say(b"0\r\n\r\n")

    async with scripted_upstream(script) as upstream, gateway(tmp_path, upstream.url) as gate:
        _, _, body = await ask(gate.port, post(REQUEST))
        record = await gate.exchange()
    assert body == START + DELTA
    assert (record["outcome"], record["usage_source"]) == ("upstream_cut", "partial")


async def test_a_client_that_leaves_frees_the_upstream(tmp_path: Path) -> None:
    async def script(call: Call) -> None:
        await call.say(SSE)
        await call.chunk(START)
        await call.gone()

    async with scripted_upstream(script) as upstream, gateway(tmp_path, upstream.url) as gate:
        reader, writer = await asyncio.open_connection("127.0.0.1", gate.port)
        writer.write(post(REQUEST))
        await read_head(reader)
        await reader.readuntil(b"\n\n")
        writer.close()
        async with asyncio.timeout(5):
            await upstream.left.wait()
        record = await gate.exchange()
    assert (record["outcome"], record["status"]) == ("client_gone", 200)
    assert record["usage_source"] == "partial"
    assert gate.plane.handler.inflight == 0


async def test_a_client_that_leaves_before_the_answer_frees_the_upstream(tmp_path: Path) -> None:
    asked = asyncio.Event()

    async def script(call: Call) -> None:
        asked.set()
        await call.gone()

    async with scripted_upstream(script) as upstream, gateway(tmp_path, upstream.url) as gate:
        _, writer = await asyncio.open_connection("127.0.0.1", gate.port)
        writer.write(post(REQUEST))
        await asked.wait()
        writer.close()
        async with asyncio.timeout(5):
            await upstream.left.wait()
        record = await gate.exchange()
    assert (record["outcome"], record["status"]) == ("client_gone", None)


async def test_a_slow_client_makes_its_own_upstream_wait_and_no_other(tmp_path: Path) -> None:
    piece = b"x" * 65536
    sent = 0

    async def script(call: Call) -> None:
        nonlocal sent
        if b"slow" not in call.heard.body:
            await whole(call)
            return
        await call.say(SSE)
        for _ in range(1000):
            await call.chunk(piece)
            sent += len(piece)
        await call.say(b"0\r\n\r\n")

    slow = REQUEST.replace(b"[]", b'[{"role":"user","content":"slow"}]')
    async with scripted_upstream(script) as upstream, gateway(tmp_path, upstream.url) as gate:
        reader, writer = await asyncio.open_connection("127.0.0.1", gate.port, limit=65536)
        writer.write(post(slow))
        _, headers = await read_head(reader)
        for _ in range(3):
            _, _, body = await ask(gate.port, post(REQUEST))
            assert body == WHOLE
        stalled = sent
        assert stalled < 1000 * len(piece)
        body = await read_body(reader, headers)
        writer.close()
    assert len(body) == 1000 * len(piece)


async def test_a_compressed_stream_stays_compressed_and_is_metered(tmp_path: Path) -> None:
    packer = zlib.compressobj(wbits=31)
    pieces = [
        packer.compress(event) + packer.flush(zlib.Z_SYNC_FLUSH) for event in (START, DELTA, CLOSE)
    ]
    packed = b"".join(pieces) + packer.flush()

    async def script(call: Call) -> None:
        await call.say(SSE.replace(b"\r\n\r\n", b"\r\ncontent-encoding: gzip\r\n\r\n"))
        for start in range(0, len(packed), 7):
            await call.chunk(packed[start : start + 7])
        await call.say(b"0\r\n\r\n")

    async with scripted_upstream(script) as upstream, gateway(tmp_path, upstream.url) as gate:
        _, headers, body = await ask(gate.port, post(REQUEST))
        record = await gate.exchange()
    assert body == packed
    assert gzip.decompress(body) == START + DELTA + CLOSE
    assert ("content-encoding", "gzip") in headers
    assert (record["usage"]["output"], record["outcome"]) == (9, "complete")


async def test_a_body_without_length_is_framed_anew(tmp_path: Path) -> None:
    async def script(call: Call) -> None:
        await call.say(SSE.replace(b"transfer-encoding: chunked\r\n", b""))
        await call.say(WHOLE[:50])
        await call.say(WHOLE[50:])
        call.writer.close()

    async with scripted_upstream(script) as upstream, gateway(tmp_path, upstream.url) as gate:
        _, _, body = await ask(gate.port, post(REQUEST))
        record = await gate.exchange()
    assert body == WHOLE
    assert record["outcome"] == "complete"


async def test_an_old_client_gets_no_chunks(tmp_path: Path) -> None:
    async with scripted_upstream(whole) as upstream, gateway(tmp_path, upstream.url) as gate:
        request = post(REQUEST).replace(b"HTTP/1.1", b"HTTP/1.0", 1)
        _, headers, body = await ask(gate.port, request)
    assert body == WHOLE
    assert "transfer-encoding" not in {name.lower() for name, _ in headers}


async def test_trouble_in_the_meter_never_touches_the_stream(tmp_path: Path) -> None:
    odd = b"event: message_delta\ndata: {not json}\n\nevent: x\ndata: " + b"y" * 3_000_000 + b"\n\n"

    async def script(call: Call) -> None:
        await call.say(SSE)
        await call.chunk(START)
        await call.chunk(odd)
        await call.chunk(CLOSE)
        await call.say(b"0\r\n\r\n")

    async with scripted_upstream(script) as upstream, gateway(tmp_path, upstream.url) as gate:
        _, _, body = await ask(gate.port, post(REQUEST))
        record = await gate.exchange()
    assert body == START + odd + CLOSE
    assert record["meter"] == "event_too_large"
    assert record["usage"]["output"] == 9


async def test_connections_are_kept_and_used_again(tmp_path: Path) -> None:
    async with scripted_upstream(whole) as upstream, gateway(tmp_path, upstream.url) as gate:
        reader, writer = await asyncio.open_connection("127.0.0.1", gate.port)
        for _ in range(5):
            writer.write(post(REQUEST))
            _, _, body = await read_answer(reader)
            assert body == WHOLE
        writer.close()
        assert upstream.accepted == 1


async def test_pipelined_requests_are_answered_in_order(tmp_path: Path) -> None:
    async def script(call: Call) -> None:
        await call.answer(call.heard.body)

    async with scripted_upstream(script) as upstream, gateway(tmp_path, upstream.url) as gate:
        bodies = [REQUEST.replace(b"claude-x", b"claude-%d" % n) for n in range(5)]
        reader, writer = await asyncio.open_connection("127.0.0.1", gate.port)
        writer.write(b"".join(post(body) for body in bodies))
        assert [(await read_answer(reader))[2] for _ in bodies] == bodies
        writer.close()


@pytest.mark.parametrize("size", [1_000_000, 1_100_000, 1_200_000])
async def test_a_connection_paused_by_a_slow_client_is_read_again(
    tmp_path: Path, size: int
) -> None:
    """The last piece may both pause the upstream's connection and complete its answer."""

    async def script(call: Call) -> None:
        await call.answer(b"x" * size if len(upstream.heard) == 1 else b"{}")

    async with (
        scripted_upstream(script) as upstream,
        gateway(tmp_path, upstream.url, send_buffer_bytes=4096) as gate,
    ):
        client = socket.socket()
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.setblocking(False)
        await asyncio.get_running_loop().sock_connect(client, ("127.0.0.1", gate.port))
        reader, writer = await asyncio.open_connection(sock=client, limit=1024)
        writer.write(post(REQUEST))
        while not gate.records():  # takes little, until the gateway has the last piece
            await reader.read(1000)
        async with asyncio.timeout(10):
            status, _, said = await ask(gate.port, post(REQUEST))
        assert (status, said) == (200, b"{}")
        assert upstream.accepted == 1
        writer.transport.abort()
        await asyncio.sleep(0)


async def test_a_client_that_asks_on_and_takes_nothing_fills_no_memory(tmp_path: Path) -> None:
    """Pipelined requests: an answer waits until the one before it is taken."""

    async def script(call: Call) -> None:
        await call.answer(b"x" * 1_000_000 if b"claude-x" in call.heard.body else b"{}")

    async with (
        scripted_upstream(script) as upstream,
        gateway(tmp_path, upstream.url, send_buffer_bytes=4096) as gate,
    ):
        client = socket.socket()
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.setblocking(False)
        await asyncio.get_running_loop().sock_connect(client, ("127.0.0.1", gate.port))
        reader, writer = await asyncio.open_connection(sock=client, limit=1024)
        writer.write(post(REQUEST) * 2)
        while not gate.records():
            await reader.read(1000)
        other = REQUEST.replace(b"claude-x", b"claude-y")
        for _ in range(20):
            await ask(gate.port, post(other))
        asked = [record["model"]["asked"] for record in gate.records()]
        assert asked.count("claude-x") == 1
        assert gate.held() < 500_000
        writer.transport.abort()
        await asyncio.sleep(0)
