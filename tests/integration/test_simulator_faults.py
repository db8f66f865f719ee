"""The simulator's misbehaviour: errors, cuts, stalls, and clients that leave."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from simulating import HELLO, ask, connection, events, head
from tidegate.simulator import Simulator, run, serve_simulator

STREAM = HELLO | {"stream": True}


@pytest.fixture
async def simulator() -> AsyncIterator[Simulator]:
    async with serve_simulator() as running:
        yield running


def post(document: dict[str, Any], controls: str = "") -> bytes:
    body = json.dumps(document).encode()
    headers = {"content-length": str(len(body)), "connection": "", "x-simulate": controls}
    return head("POST", "/v1/messages", headers) + body


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, "invalid_request_error"),
        (401, "authentication_error"),
        (402, "billing_error"),
        (403, "permission_error"),
        (404, "not_found_error"),
        (409, "conflict_error"),
        (413, "request_too_large"),
        (429, "rate_limit_error"),
        (500, "api_error"),
        (504, "timeout_error"),
        (529, "overloaded_error"),
    ],
)
async def test_an_error_on_demand(simulator: Simulator, status: int, kind: str) -> None:
    by_status = await ask(simulator.url, STREAM, x_simulate=f"error={status}")
    by_type = await ask(simulator.url, STREAM, x_simulate=f"error={kind}")
    by_model = await ask(simulator.url, STREAM | {"model": f"sim-error-{status}"})
    for answer in (by_status, by_type, by_model):
        assert (answer.status, answer.json()["error"]["type"]) == (status, kind)
        assert answer.values("content-length") == [str(len(answer.rest))]
        assert bool(answer.values("retry-after")) is (status == 429)


async def test_an_edge_answers_in_html(simulator: Simulator) -> None:
    answer = await ask(simulator.url, HELLO, x_simulate="error=502")
    assert (answer.status, answer.values("content-type")) == (502, ["text/html"])
    assert answer.rest.startswith(b"<html>")


async def test_an_error_says_whether_to_retry(simulator: Simulator) -> None:
    controls = "error=429, retry_after=7, should_retry=false"
    answer = await ask(simulator.url, HELLO, x_simulate=controls)
    assert answer.values("retry-after") == ["7"]
    assert answer.values("x-should-retry") == ["false"]


@pytest.mark.parametrize(("attempt", "status"), [("0", 529), ("1", 529), ("2", 200)])
async def test_a_later_attempt_succeeds(simulator: Simulator, attempt: str, status: int) -> None:
    answer = await ask(
        simulator.url,
        HELLO,
        x_simulate="error=529, times=2",
        x_stainless_retry_count=attempt,
    )
    assert answer.status == status


async def test_no_answer_at_all(simulator: Simulator) -> None:
    async with connection(simulator.url) as (reader, writer):
        writer.write(post(HELLO, "error=disconnect"))
        assert await reader.read() == b""
    received = simulator.requests[0]
    assert (received.status, received.disconnected) == (None, False)


@pytest.mark.parametrize("count", [0, 1, 3, 99])
async def test_a_cut_stream_has_no_end(simulator: Simulator, count: int) -> None:
    answer = await ask(simulator.url, STREAM, x_simulate=f"cut={count}")
    assert not answer.whole
    assert len(events(answer.body)) == min(count, 7)


async def test_a_cut_by_model_name(simulator: Simulator) -> None:
    answer = await ask(simulator.url, STREAM | {"model": "claude-haiku-4-5:sim-cut-2"})
    assert len(events(answer.body)) == 2
    assert not answer.whole


@pytest.mark.parametrize("framing", ["chunked", "length"])
async def test_a_cut_document_is_half(simulator: Simulator, framing: str) -> None:
    answer = await ask(simulator.url, HELLO, x_simulate=f"cut=1, framing={framing}")
    with pytest.raises(ValueError, match=r"Unterminated|Expecting"):
        answer.json()
    assert answer.body.startswith(b'{"model":"sim-echo"')


async def test_a_reset_is_an_error_of_the_connection(simulator: Simulator) -> None:
    async with connection(simulator.url) as (reader, writer):
        writer.write(post(STREAM, "cut=1, reset=1"))
        with pytest.raises(ConnectionResetError):
            await reader.read()


async def test_a_stall_lasts_until_the_client_leaves(simulator: Simulator) -> None:
    async with connection(simulator.url) as (reader, writer):
        writer.write(post(STREAM, "stall=2"))
        await reader.readuntil(b"content_block_start")
        assert (await simulator.until(lambda stats: stats.streams == 1)).in_flight == 1
    left = await simulator.idle()
    assert (left.streams, left.disconnects) == (0, 1)
    assert simulator.requests[0].disconnected
    assert (await simulator.until(lambda stats: not stats.connections)).connections == 0


async def test_a_client_that_leaves_stops_a_paced_stream(simulator: Simulator) -> None:
    async with connection(simulator.url) as (reader, writer):
        writer.write(post(STREAM, "pace_ms=60000"))
        await reader.readuntil(b"message_start")
    assert (await simulator.idle()).disconnects == 1


async def test_a_client_that_leaves_stops_an_endless_write(simulator: Simulator) -> None:
    async with connection(simulator.url) as (reader, writer):
        writer.write(post(STREAM | {"max_tokens": 128_000}, "tokens=128000"))
        await reader.readuntil(b"content_block_delta")
        writer.transport.abort()
    assert (await simulator.idle()).disconnects == 1


async def test_a_client_that_leaves_in_its_own_body(simulator: Simulator) -> None:
    async with connection(simulator.url) as (_, writer):
        writer.write(post(HELLO)[:-10])
        await simulator.until(lambda stats: stats.in_flight == 1)
    await simulator.idle()
    received = simulator.requests[0]
    assert (received.disconnected, received.status) == (True, None)


async def test_an_error_in_the_stream_and_an_early_end(simulator: Simulator) -> None:
    failed = await ask(simulator.url, STREAM, x_simulate="error_event=2")
    ended = await ask(simulator.url, STREAM, x_simulate="eof=2")
    assert failed.whole
    assert ended.whole
    assert [event["type"] for event in events(failed.body)][2:] == ["error"]
    assert len(events(ended.body)) == 2


async def test_stats_can_be_waited_for(simulator: Simulator) -> None:
    async with connection(simulator.url) as (reader, writer):
        writer.write(post(STREAM, "stall=1"))
        await reader.readuntil(b"message_start")
        waiting = asyncio.ensure_future(
            ask(simulator.url, method="GET", target="/_sim/stats?wait=idle")
        )
        await simulator.until(lambda stats: stats.connections == 2)
        assert not waiting.done()
    stats = (await waiting).json()
    assert (stats["in_flight"], stats["disconnects"], stats["requests"]) == (0, 1, 1)


async def test_the_end_of_the_simulator_ends_its_streams() -> None:
    async with serve_simulator() as running, connection(running.url) as (reader, writer):
        writer.write(post(STREAM, "stall=1"))
        await reader.readuntil(b"message_start")
    assert not running.requests[0].disconnected
    assert running.stats.in_flight == 0


async def test_it_runs_until_cancelled() -> None:
    announced: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    running = asyncio.ensure_future(run("127.0.0.1", 0, announce=announced.set_result))
    assert (await ask(await announced, HELLO)).status == 200
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
