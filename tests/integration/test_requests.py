"""What clients can send wrong, or oddly, and what they are told. Nothing of it leaves."""

import asyncio
import gzip
import json
from pathlib import Path

import pytest

from support.gateway import gateway
from support.raw import ask, post, read_answer, read_head
from tidegate.testing.upstream import Call, scripted_upstream

GOOD = b'{"model":"claude-x","max_tokens":5,"messages":[]}'


async def answer(call: Call) -> None:
    await call.answer(b"{}")


async def never(call: Call) -> None:
    raise AssertionError("this must not leave")


def bodies() -> list[object]:
    return [
        pytest.param(b"", id="nothing"),
        pytest.param(b"{", id="cut short"),
        pytest.param(b"[]", id="no object"),
        pytest.param(b"null", id="null"),
        pytest.param(GOOD + b"x", id="trailing"),
        pytest.param(b"\xef\xbb\xbf" + GOOD, id="byte order mark"),
        pytest.param(GOOD.decode().encode("utf-16"), id="utf-16"),
        pytest.param(GOOD.replace(b"claude-x", b"claude-\xff"), id="not utf-8"),
        pytest.param(GOOD.replace(b"5", b"NaN"), id="nan"),
        pytest.param(GOOD.replace(b"5", b"5.0"), id="float"),
        pytest.param(GOOD.replace(b"5", b"1e3"), id="exponent"),
        pytest.param(GOOD.replace(b"5", b'"5"'), id="string for number"),
        pytest.param(GOOD.replace(b"5", b"true"), id="bool for number"),
        pytest.param(GOOD.replace(b"5", b"-1"), id="negative"),
        pytest.param(GOOD.replace(b"5", b"9" * 5000), id="huge"),
        pytest.param(GOOD.replace(b'"claude-x"', b"7"), id="model is no string"),
        pytest.param(GOOD.replace(b'"claude-x"', b"null"), id="model is null"),
        pytest.param(GOOD.replace(b"}", b',"stream":"true"}'), id="stream is a string"),
        pytest.param(GOOD.replace(b"[]", b"{}"), id="messages is no array"),
        pytest.param(b'{"max_tokens":5,"messages":[]}', id="no model"),
        pytest.param(b'{"model":"m","messages":[]}', id="no max_tokens"),
        pytest.param(GOOD.replace(b"}", b',"model":"b"}'), id="model twice"),
        pytest.param(GOOD.replace(b"}", b',"mod\\u0065l":"b"}'), id="model twice, escaped"),
        pytest.param(GOOD.replace(b"[]", b'[{"a":1,"a" :2}]'), id="twice, deep down"),
        pytest.param(GOOD.replace(b"[]", b'["\\": ", ":x", {"a":1,"a":2}]'), id="twice, disguised"),
        pytest.param(GOOD.replace(b"[]", b"[" * 300 + b"]" * 300), id="deep"),
        pytest.param(GOOD.replace(b"[]", b"[" * 100_000 + b"]" * 100_000), id="very deep"),
    ]  # fmt: skip


@pytest.mark.parametrize("body", bodies())
async def test_bad_bodies_are_refused_by_name(tmp_path: Path, body: bytes) -> None:
    async with scripted_upstream(never) as upstream, gateway(tmp_path, upstream.url) as gate:
        status, headers, said = await ask(gate.port, post(body))
        record = await gate.exchange()
        assert not upstream.heard
    assert status == 400
    assert json.loads(said)["error"]["type"] == "invalid_request_error"
    assert dict(headers)["x-should-retry"] == "false"
    assert dict(headers)["x-tidegate-id"] == record["id"]
    assert record["outcome"] == "refused"
    assert record["refused_by"]["plugin"] == "gateway"


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        (b"content-encoding: gzip\r\n", 400),
        (b"content-encoding: foo\r\n", 400),
        (b"x-api-key: a\r\nauthorization: Bearer b\r\n", 401),
        (b"x-api-key: a\r\nx-api-key: b\r\n", 401),
        (b"expect: the-spanish-inquisition\r\n", 400),
        (b"content-type: application/json; charset=utf-16\r\n", 400),
        (b"content-type: text/plain\r\n", 400),
    ],
)
async def test_headers_that_would_hide_something_are_refused(
    tmp_path: Path, headers: bytes, status: int
) -> None:
    body = gzip.compress(GOOD) if b"gzip" in headers else GOOD
    async with scripted_upstream(never) as upstream, gateway(tmp_path, upstream.url) as gate:
        code, _, said = await ask(gate.port, post(body, headers=headers))
        assert not upstream.heard
    assert code == status
    assert b"Bearer" not in said


@pytest.mark.parametrize(
    "headers",
    [b"x-api-key: k\r\nauthorization: Bearer k\r\n", b"x-api-key:\r\nauthorization: bearer k\r\n"],
)
async def test_the_same_credential_twice_or_beside_nothing_is_one(
    tmp_path: Path, headers: bytes
) -> None:
    async with scripted_upstream(answer) as upstream, gateway(tmp_path, upstream.url) as gate:
        status, _, _ = await ask(gate.port, post(GOOD, headers=headers))
        heard = upstream.heard[0]
    assert status == 200
    assert heard.header("authorization").split(" ")[1] == "k"
    assert heard.header("x-api-key") in ("k", None)


@pytest.mark.parametrize("auth_header", ["x-api-key", "authorization"])
async def test_the_gateways_own_credential_replaces_the_callers(
    tmp_path: Path, auth_header: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UPSTREAM", "theirs")
    toml = f'[upstream]\ncredential = {{ env = "UPSTREAM" }}\nauth_header = "{auth_header}"'
    async with scripted_upstream(answer) as upstream, gateway(tmp_path, upstream.url, toml) as gate:
        _, headers, _ = await ask(gate.port, post(GOOD, headers=b"x-api-key: mine\r\n"))
        heard = upstream.heard[0]
    expected = "theirs" if auth_header == "x-api-key" else "Bearer theirs"
    assert [v for k, v in heard.headers if k.lower() in ("x-api-key", "authorization")] == [
        expected
    ]
    assert "mine" not in str(heard)
    assert "theirs" not in str(headers)
    assert b"mine" not in b"".join(p.read_bytes() for p in tmp_path.glob("*.jsonl"))


@pytest.mark.parametrize(
    ("method", "target", "status"),
    [
        ("POST", "/v1/complete", 404),
        ("POST", "//v1/messages", 404),
        ("POST", "/v1/messages/", 404),
        ("POST", "/v1/messages/../files", 404),
        ("POST", "/v1/%6dessages", 404),
        ("POST", "/v1/messages;x", 404),
        ("POST", "/V1/messages", 404),
        ("POST", "http://gateway/v1/messages", 404),
        ("POST", "/v1/messages%3Fx", 404),
        ("POST", "/v1/messages/batches/msgbatch_1", 405),
        ("POST", "/v1/files", 405),
        ("POST", "/v1/chat/completions", 404),
        ("GET", "/v1/models/../files", 404),
        ("GET", "/v1/models/a/b", 404),
        ("GET", "/v1/messages", 405),
        ("PUT", "/v1/messages", 405),
        ("POST", "/v1/models", 405),
    ],
)
async def test_other_paths_do_not_leave(
    tmp_path: Path, method: str, target: str, status: int
) -> None:
    request = post(GOOD, target=target).replace(b"POST", method.encode(), 1)
    async with scripted_upstream(never) as upstream, gateway(tmp_path, upstream.url) as gate:
        code, _, said = await ask(gate.port, request)
        assert not upstream.heard
    assert code == status
    assert json.loads(said)["error"]["type"] == "not_found_error"


async def test_models_and_probes(tmp_path: Path) -> None:
    async with scripted_upstream(answer) as upstream, gateway(tmp_path, upstream.url) as gate:
        for target in ("/v1/models?limit=1000", "/v1/models/claude-x"):
            status, _, body = await ask(
                gate.port, f"GET {target} HTTP/1.1\r\nHost: g\r\nx-api-key: k\r\n\r\n".encode()
            )
            assert (status, body) == (200, b"{}")
        assert [heard.line for heard in upstream.heard] == [
            "GET /v1/models?limit=1000 HTTP/1.1",
            "GET /v1/models/claude-x HTTP/1.1",
        ]
        assert upstream.heard[0].header("content-length") is None
        for method, target, status in (("HEAD", "/", 200), ("OPTIONS", "/v1/messages", 204)):
            reader, writer = await asyncio.open_connection("127.0.0.1", gate.port)
            writer.write(f"{method} {target} HTTP/1.1\r\nHost: g\r\n\r\n".encode())
            code, headers = await read_head(reader)
            writer.close()
            assert code == status
        assert dict(headers)["allow"] == "POST, OPTIONS"
        assert len(upstream.heard) == 2
        routes = [record["route"] for record in await gate.exchanges(4)]
    assert routes == ["models", "model", "probe", "options"]


@pytest.mark.parametrize(
    "garbage",
    [
        b"garbage\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"POST /v1/messages HTTP/1.1\r\nHost: g\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST /v1/messages HTTP/1.1\r\nHost: g\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nabcdef",
        b"POST /v1/messages HTTP/1.1\r\nHost: g\r\nContent-Length: x\r\n\r\n",
        b"POST /v1/messages HTTP/1.1\r\nHost : g\r\n\r\n",
        b"POST /v1/messages HTTP/1.1\r\nx-api-key: secret-in-head\x00\r\n\r\n",
        b"POST /v1/messages HTTP/1.1\r\nX: " + b"y" * 200_000 + b"\r\n\r\n",
        b"GET /" + b"a" * 200_000 + b" HTTP/1.1\r\n\r\n",
    ],
)  # fmt: skip
async def test_garbage_gets_a_clear_400_and_a_record(
    tmp_path: Path, garbage: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    async with scripted_upstream(never) as upstream, gateway(tmp_path, upstream.url) as gate:
        status, headers, said = await ask(gate.port, garbage)
        record = await gate.exchange()
    assert status == 400
    assert json.loads(said)["error"]["type"] == "invalid_request_error"
    assert dict(headers)["x-tidegate-id"] == record["id"]
    assert b"secret-in-head" not in said
    assert "secret-in-head" not in caplog.text


async def test_a_body_that_is_too_large_is_refused_before_it_is_read(tmp_path: Path) -> None:
    async with (
        scripted_upstream(never) as upstream,
        gateway(tmp_path, upstream.url, max_body_bytes=2000) as gate,
    ):
        reader, writer = await asyncio.open_connection("127.0.0.1", gate.port)
        writer.write(
            b"POST /v1/messages HTTP/1.1\r\nHost: g\r\ncontent-type: application/json\r\n"
            b"Content-Length: 20000000\r\n\r\n"
        )
        status, headers, said = await read_answer(reader)
        writer.close()
    assert status == 413
    assert json.loads(said)["error"]["type"] == "request_too_large"
    assert dict(headers)["connection"] == "close"


async def test_a_large_upload_that_is_refused_still_gets_the_reason(tmp_path: Path) -> None:
    async with (
        scripted_upstream(never) as upstream,
        gateway(tmp_path, upstream.url, max_body_bytes=2000) as gate,
    ):
        status, _, said = await ask(gate.port, post(b"x" * 20_000_000))
    assert status == 413
    assert b"larger than 2000 bytes" in said


async def test_a_chunked_body_arrives_with_a_length(tmp_path: Path) -> None:
    chunks = b"".join(b"%x\r\n%s\r\n" % (1, GOOD[i : i + 1]) for i in range(len(GOOD)))
    request = (
        b"POST /v1/messages HTTP/1.1\r\nHost: g\r\nx-api-key: k\r\n"
        b"Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
        + chunks
        + b"0\r\n\r\n"
    )
    async with scripted_upstream(answer) as upstream, gateway(tmp_path, upstream.url) as gate:
        status, _, _ = await ask(gate.port, request)
        assert status == 200
        assert upstream.heard[0].body == GOOD
        assert upstream.heard[0].header("content-length") == str(len(GOOD))
        assert upstream.heard[0].header("transfer-encoding") is None


async def test_100_continue_is_answered_here(tmp_path: Path) -> None:
    async with scripted_upstream(answer) as upstream, gateway(tmp_path, upstream.url) as gate:
        reader, writer = await asyncio.open_connection("127.0.0.1", gate.port)
        head, _, body = post(GOOD, headers=b"Expect: 100-continue\r\n").partition(b"\r\n\r\n")
        writer.write(head + b"\r\n\r\n")
        assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        writer.write(body)
        status, _, _ = await read_answer(reader)
        writer.close()
        assert status == 200
        assert upstream.heard[0].header("expect") is None


async def test_a_client_that_leaves_within_its_body_is_recorded(tmp_path: Path) -> None:
    async with scripted_upstream(never) as upstream, gateway(tmp_path, upstream.url) as gate:
        _, writer = await asyncio.open_connection("127.0.0.1", gate.port)
        writer.write(post(GOOD)[:-10])
        await writer.drain()
        async with asyncio.timeout(5):
            while not gate.plane.handler.inflight:
                await asyncio.sleep(0.001)
        writer.close()
        record = await gate.exchange()
    assert (record["outcome"], record["dispatched"]) == ("client_gone", False)
