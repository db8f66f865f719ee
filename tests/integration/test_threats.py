"""Checks of gateway/THREAT_MODEL.md that belong to no other test."""

import gzip
import json
from collections.abc import Mapping
from pathlib import Path

import aiohttp
import pytest

from support.gateway import gateway
from support.raw import ask, post
from tidegate.http.admin import AdminPort, AdminSources, Readiness
from tidegate.keys import digest, new_key
from tidegate.plugin import Page
from tidegate.testing.upstream import Call, scripted_upstream
from tidegate.wire import meter

REQUEST = b'{"model":"claude-a","max_tokens":5,"messages":[]}'


async def answer(call: Call) -> None:
    await call.answer(b"{}")


async def test_ids_that_clients_send_are_never_ours(tmp_path: Path) -> None:
    headers = b"x-request-id: mine\r\nrequest-id: mine\r\nx-tidegate-id: tg_mine\r\n"
    async with scripted_upstream(answer) as upstream, gateway(tmp_path, upstream.url) as gate:
        _, fields, _ = await ask(gate.port, post(REQUEST, headers=headers))
        record = await gate.exchange()
    assert record["id"] == dict(fields)["x-tidegate-id"]
    assert "mine" not in record["id"]


async def test_what_is_for_us_does_not_travel(tmp_path: Path) -> None:
    headers = (
        b"cookie: a=1\r\nbaggage: team=x\r\ntracestate: v=1\r\nproxy-authorization: Basic x\r\n"
        b"traceparent: 00-" + b"1" * 32 + b"-" + b"2" * 16 + b"-01\r\n"
    )
    async with scripted_upstream(answer) as upstream, gateway(tmp_path, upstream.url) as gate:
        await ask(gate.port, post(REQUEST, headers=headers))
        heard = upstream.heard[0]
    for name in ("cookie", "baggage", "tracestate", "proxy-authorization"):
        assert heard.header(name) is None
    assert heard.header("traceparent") is not None


async def test_the_host_header_decides_nothing(tmp_path: Path) -> None:
    request = post(REQUEST).replace(b"Host: gateway", b"Host: evil.example/v1/files?x=")
    async with scripted_upstream(answer) as upstream, gateway(tmp_path, upstream.url) as gate:
        status, _, _ = await ask(gate.port, request)
        heard = upstream.heard
    assert status == 400 or heard[0].header("host") == f"127.0.0.1:{upstream.port}"
    assert all(call.line == "POST /v1/messages HTTP/1.1" for call in heard)


async def test_a_gateway_key_does_not_leave_in_place_of_a_credential(tmp_path: Path) -> None:
    key = new_key()
    entry = f'{{ id = "ci", team = "search", sha256 = "{digest(key)}" }}'
    toml = f'[[plugins]]\nuse = "identify"\n[plugins.config]\nkeys = [{entry}]'
    async with scripted_upstream(answer) as upstream, gateway(tmp_path, upstream.url, toml) as gate:
        await ask(gate.port, post(REQUEST, headers=f"x-api-key: {key}\r\n".encode()))
        assert key not in str(upstream.heard)


async def test_a_decompression_bomb_stops_the_meter_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(meter, "MAX_INFLATED_BYTES", 1024 * 1024)
    bomb = gzip.compress(b"\0" * 8 * 1024 * 1024)

    async def script(call: Call) -> None:
        head = f"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: {len(bomb)}\r\n"
        await call.say(head.encode() + b"content-type: application/json\r\n\r\n" + bomb)

    async with scripted_upstream(script) as upstream, gateway(tmp_path, upstream.url) as gate:
        _, _, body = await ask(gate.port, post(REQUEST))
        record = await gate.exchange()
    assert body == bomb
    assert record["meter"] == "answer_too_large"


async def test_nothing_on_the_admin_port_changes_anything() -> None:
    async def scrape(accept: str, name: str) -> tuple[bytes, str]:
        return b"", "text/plain"

    async def browse(path: str, query: Mapping[str, str]) -> Page | None:
        return Page(body=b"<p>hello", content_type="text/html")

    admin = AdminPort(AdminSources(lambda: Readiness(ready=True), scrape, browse))
    port = await admin.start("127.0.0.1", 0)
    try:
        async with aiohttp.ClientSession(f"http://127.0.0.1:{port}") as session:
            for path in ("/healthz", "/readyz", "/metrics", "/", "/reload", "/config", "/stop"):
                for method in ("POST", "PUT", "PATCH", "DELETE"):
                    async with session.request(method, path) as refused:
                        assert refused.status == 405
    finally:
        await admin.close()


async def test_errors_of_the_gateway_tell_nothing_of_the_content(tmp_path: Path) -> None:
    body = json.dumps({"model": 1, "max_tokens": "whisper", "messages": "whisper"}).encode()
    async with scripted_upstream(answer) as upstream, gateway(tmp_path, upstream.url) as gate:
        status, _, said = await ask(gate.port, post(body))
        record = await gate.exchange()
    assert status == 400
    assert b"whisper" not in said
    assert "whisper" not in json.dumps(record)
