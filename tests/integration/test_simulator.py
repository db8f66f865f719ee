"""The simulator's API over real sockets, byte by byte."""

import base64
import gzip
import hashlib
import json
import zlib
from collections.abc import AsyncIterator
from typing import Any

import pytest

from simulating import HELLO, SECRET, ask, connection, events, head, parsed
from tidegate.simulator import Simulator, serve_simulator
from tidegate.simulator.api import REFUSED_KEY

STREAM = HELLO | {"stream": True}


@pytest.fixture
async def simulator() -> AsyncIterator[Simulator]:
    async with serve_simulator() as running:
        yield running


async def test_a_message(simulator: Simulator) -> None:
    answer = await ask(simulator.url, HELLO)
    said = answer.json()
    assert answer.status == 200
    assert said["content"] == [{"type": "text", "text": "You said: hello"}]
    assert answer.values("content-type") == ["application/json"]
    assert answer.whole


async def test_a_stream_says_the_same(simulator: Simulator) -> None:
    said = (await ask(simulator.url, HELLO)).json()
    answer = await ask(simulator.url, STREAM)
    found = events(answer.body)
    assert answer.values("content-type") == ["text/event-stream; charset=utf-8"]
    assert answer.values("cache-control") == ["no-cache"]
    text = "".join(event["delta"].get("text", "") for event in found if "delta" in event)
    assert text == said["content"][0]["text"]
    assert found[-2]["usage"]["output_tokens"] == said["usage"]["output_tokens"]
    assert found[-1] == {"type": "message_stop"}


async def test_what_is_counted_is_what_is_charged(simulator: Simulator) -> None:
    asked = HELLO | {"system": "You are a tide table.", "tools": []}
    count = {key: value for key, value in asked.items() if key != "max_tokens"}
    counted = await ask(simulator.url, count, target="/v1/messages/count_tokens")
    said = (await ask(simulator.url, asked)).json()
    assert counted.json() == {"input_tokens": said["usage"]["input_tokens"]}


async def test_a_prefix_is_cached_for_the_next_request(simulator: Simulator) -> None:
    system = [{"type": "text", "text": "x" * 400, "cache_control": {"type": "ephemeral"}}]
    asked = HELLO | {"system": system}
    first, second = [(await ask(simulator.url, asked)).json()["usage"] for _ in range(2)]
    assert first["cache_creation_input_tokens"] == second["cache_read_input_tokens"] > 0
    assert first["cache_creation"]["ephemeral_5m_input_tokens"] > 0


async def test_the_headers_are_the_apis(simulator: Simulator) -> None:
    answer = await ask(simulator.url, HELLO)
    names = [name.lower() for name, _ in answer.headers]
    assert answer.values("request-id")[0].startswith("req_011C")
    assert sum(name.startswith("anthropic-ratelimit-") for name in names) == 12
    assert answer.values("via") == ["1.1 google", "1.1 simulator"]
    assert names.count("set-cookie") == 2
    assert answer.values("server") == ["cloudflare"]


async def test_ids_differ_and_yet_are_the_same_in_each_run(simulator: Simulator) -> None:
    here = [(await ask(simulator.url, HELLO)).json()["id"] for _ in range(2)]
    async with serve_simulator() as other:
        there = [(await ask(other.url, HELLO)).json()["id"] for _ in range(2)]
    assert here == there
    assert len(set(here)) == 2


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"x_api_key": "", "authorization": f"Bearer {SECRET}"}, 200),
        ({"x_api_key": "", "authorization": f"bearer {SECRET}"}, 200),
        ({"x_api_key": ""}, 401),
        ({"x_api_key": "", "authorization": "Bearer "}, 401),
        ({"x_api_key": "", "authorization": f"Basic {SECRET}"}, 401),
        ({"x_api_key": REFUSED_KEY}, 401),
        ({"anthropic_version": ""}, 400),
        ({"anthropic_version": "2025-01-01"}, 400),
        ({"anthropic_beta": "context-1m-2025-08-07, oauth-2025-04-20"}, 200),
        ({"anthropic_beta": "tide"}, 400),
        ({"x_simulate": "tide=1"}, 400),
    ],
)
async def test_who_may_ask(simulator: Simulator, headers: dict[str, str], status: int) -> None:
    answer = await ask(simulator.url, HELLO, **headers)
    assert answer.status == status


@pytest.mark.parametrize(
    ("method", "target", "status", "kind"),
    [
        ("GET", "/v1/tides", 404, "not_found_error"),
        ("POST", "/v1/messages/batches", 404, "not_found_error"),
        ("GET", "/v1/messages", 405, "not_found_error"),
        ("GET", "/v1/models/claude-what", 404, "not_found_error"),
        ("GET", "/v1/models?limit=0", 400, "invalid_request_error"),
        ("GET", "/v1/models?after_id=claude-what", 400, "invalid_request_error"),
    ],
)
async def test_errors_have_the_envelope(
    simulator: Simulator, method: str, target: str, status: int, kind: str
) -> None:
    answer = await ask(simulator.url, method=method, target=target)
    body = answer.json()
    assert (answer.status, body["type"], body["error"]["type"]) == (status, "error", kind)
    assert body["request_id"] == answer.values("request-id")[0]


@pytest.mark.parametrize("target", ["/", "/api/hello", "/v1/tides"])
async def test_a_probe_gets_no_body(simulator: Simulator, target: str) -> None:
    answer = await ask(simulator.url, method="HEAD", target=target)
    assert answer.status == (404 if "tides" in target else 200)
    assert answer.rest == b""


async def test_models_come_in_pages(simulator: Simulator) -> None:
    seen: list[str] = []
    query = "limit=7"
    while query:
        page = (await ask(simulator.url, method="GET", target=f"/v1/models?{query}")).json()
        seen += [model["id"] for model in page["data"]]
        query = f"limit=7&after_id={page['last_id']}" if page["has_more"] else ""
    assert len(seen) == len(set(seen)) > 14
    before = await ask(
        simulator.url, method="GET", target=f"/v1/models?limit=2&before_id={seen[5]}"
    )
    assert [model["id"] for model in before.json()["data"]] == seen[3:5]
    assert before.json()["has_more"]


async def test_an_alias_is_resolved(simulator: Simulator) -> None:
    said = (await ask(simulator.url, HELLO | {"model": "claude-haiku-4-5"})).json()
    found = await ask(simulator.url, method="GET", target="/v1/models/claude-haiku-4-5")
    assert said["model"] == found.json()["id"] == "claude-haiku-4-5-20251001"


async def test_a_body_may_be_compressed(simulator: Simulator) -> None:
    body = gzip.compress(json.dumps(HELLO).encode())
    answer = await ask(simulator.url, body, content_encoding="gzip")
    assert answer.status == 200
    assert simulator.requests[0].body == body


async def test_a_body_may_be_too_large(simulator: Simulator) -> None:
    answer = await ask(simulator.url, b" " * (32 * 1024 * 1024 + 1))
    assert (answer.status, answer.json()["error"]["type"]) == (413, "request_too_large")
    assert simulator.requests[0].size == 32 * 1024 * 1024 + 1


async def test_a_caller_may_wait_for_a_100(simulator: Simulator) -> None:
    body = json.dumps(HELLO).encode()
    expecting = {"expect": "100-continue", "content-length": str(len(body))}
    async with connection(simulator.url) as (reader, writer):
        writer.write(head("POST", "/v1/messages", expecting))
        assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        writer.write(body)
        assert parsed(await reader.read()).status == 200


async def test_requests_are_shown_as_they_came(simulator: Simulator) -> None:
    body = json.dumps(HELLO).encode()
    lines = {"X-Odd-CASE": "Tïde", "content-length": str(len(body))}
    async with connection(simulator.url) as (reader, writer):
        sent = head("POST", "/v1/messages?beta=true", lines).replace(b"Host", b"hOST")
        writer.write(sent + body)
        await reader.read()
    shown = (await ask(simulator.url, method="GET", target="/_sim/requests")).json()["requests"]
    assert len(shown) == 1
    assert (shown[0]["method"], shown[0]["target"]) == ("POST", "/v1/messages?beta=true")
    pairs = [f"{name}: {value}" for name, value in shown[0]["headers"]]
    assert "\r\n".join(pairs).encode("latin-1") in sent
    assert base64.b64decode(shown[0]["body_base64"]) == body
    assert shown[0]["body_sha256"] == hashlib.sha256(body).hexdigest()
    assert (shown[0]["status"], shown[0]["done"], shown[0]["disconnected"]) == (200, True, False)


async def test_requests_are_bounded_and_can_be_cleared(simulator: Simulator) -> None:
    async with connection(simulator.url) as (reader, writer):
        for index in range(205):
            writer.write(head("HEAD", f"/?{index}", {"connection": ""}))
            await reader.readuntil(b"\r\n\r\n")
    targets = [received.target for received in simulator.requests]
    assert targets == [f"/?{index}" for index in range(5, 205)]
    answer = await ask(simulator.url, method="DELETE", target="/_sim/requests")
    assert answer.json() == {"cleared": 200}
    assert simulator.requests == []
    assert simulator.stats.requests == 205


async def test_unknown_inspection_is_not_found(simulator: Simulator) -> None:
    assert (await ask(simulator.url, method="GET", target="/_sim/tides")).status == 404


@pytest.mark.parametrize("document", [HELLO, STREAM])
async def test_an_answer_is_compressed_on_demand_only(
    simulator: Simulator, document: dict[str, Any]
) -> None:
    offered = {"accept_encoding": "gzip"}
    plain = await ask(simulator.url, document, **offered)
    packed = await ask(simulator.url, document, x_simulate="gzip=1", **offered)
    assert plain.values("content-encoding") == []
    assert packed.values("content-encoding") == ["gzip"]
    kinds = [
        len(events(answer)) if document is STREAM else json.loads(answer)["type"]
        for answer in (plain.body, gzip.decompress(packed.body))
    ]
    assert kinds[0] == kinds[1]


async def test_a_compressed_event_can_be_read_at_once(simulator: Simulator) -> None:
    answer = await ask(simulator.url, STREAM, x_simulate="gzip=1")
    decoder = zlib.decompressobj(31)
    pieces = [decoder.decompress(chunk) for chunk in answer.chunks]
    read = [piece for piece in pieces if piece]
    assert all(piece.startswith(b"event: ") and piece.endswith(b"\n\n") for piece in read)
    assert decoder.eof


async def test_an_event_is_a_chunk(simulator: Simulator) -> None:
    answer = await ask(simulator.url, STREAM)
    assert all(chunk.endswith(b"\n\n") for chunk in answer.chunks if chunk)


@pytest.mark.parametrize("size", [1, 7, 64])
async def test_chunks_have_the_size_asked_for(simulator: Simulator, size: int) -> None:
    answer = await ask(simulator.url, STREAM, x_simulate=f"chunk={size}")
    sizes = [len(chunk) for chunk in answer.chunks if chunk]
    assert set(sizes[:-1]) == {size}
    assert sizes[-1] <= size
    assert events(answer.body)[-1] == {"type": "message_stop"}


async def test_everything_in_one_chunk(simulator: Simulator) -> None:
    answer = await ask(simulator.url, STREAM, x_simulate="chunk=0")
    assert len([chunk for chunk in answer.chunks if chunk]) == 1


async def test_a_length_instead_of_chunks(simulator: Simulator) -> None:
    answer = await ask(simulator.url, HELLO, x_simulate="framing=length")
    assert answer.values("content-length") == [str(len(answer.rest))]
    assert answer.json()["type"] == "message"


async def test_delays_delay(simulator: Simulator) -> None:
    answer = await ask(simulator.url, STREAM, x_simulate="delay_ms=1, pace_ms=1")
    assert answer.whole


@pytest.mark.parametrize("status", [201, 204, 304])
async def test_another_status(simulator: Simulator, status: int) -> None:
    answer = await ask(simulator.url, HELLO, x_simulate=f"status={status}")
    assert answer.status == status
    assert bool(answer.rest) is (status == 201)
