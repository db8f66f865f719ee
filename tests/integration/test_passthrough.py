"""Bytes leave as they came, in both directions; only what belongs to one connection does not travel."""

from pathlib import Path

from support.gateway import gateway
from support.raw import ask, post
from tidegate.testing.upstream import Call, scripted_upstream

BODY = b'{ "model":"claude-x",\n "max_tokens" : 1e0, "max_tokens_":1,"messages":[] }'
REQUEST = b'{"max_tokens":5,  "model":"claude-x","messages":[{"role":"user","content":"h\\u00e9 \xc3\xa9"}],"x":1e3}'
ANSWER = b'{"id":"msg_1","model":"claude-x","usage":{"input_tokens":3,"output_tokens":2},"stop_reason":"end_turn"}'


async def answer(call: Call) -> None:
    await call.answer(ANSWER)


async def test_body_arrives_byte_for_byte(tmp_path: Path) -> None:
    async with scripted_upstream(answer) as upstream, gateway(tmp_path, upstream.url) as gate:
        status, _, body = await ask(gate.port, post(REQUEST))
        assert (status, body) == (200, ANSWER)
        assert upstream.heard[0].body == REQUEST
        record = await gate.exchange()
    assert record["outcome"] == "complete"
    assert record["usage"]["input"] == 3
    assert record["bytes"] == {
        "request_in": len(REQUEST),
        "request_out": len(REQUEST),
        "response": len(ANSWER),
    }


async def test_end_to_end_headers_travel_in_order_and_repeated(tmp_path: Path) -> None:
    sent = (
        b"X-Api-Key: k\r\nanthropic-beta: a\r\nX-Foo: 1\r\nanthropic-beta: b\r\n"
        b"Connection: x-private\r\nX-Private: no\r\nTE: trailers\r\nx-foo:  2 \r\n"
        b"Anthropic-New-Thing: yes\r\nAccept-Encoding: gzip, br, zstd;q=0.5, deflate\r\n"
    )
    async with scripted_upstream(answer) as upstream, gateway(tmp_path, upstream.url) as gate:
        await ask(gate.port, post(REQUEST, headers=sent))
        heard = upstream.heard[0].headers
    assert heard == [
        ("Host", f"127.0.0.1:{upstream.port}"),
        ("X-Api-Key", "k"),
        ("anthropic-beta", "a"),
        ("X-Foo", "1"),
        ("anthropic-beta", "b"),
        ("x-foo", "2"),
        ("Anthropic-New-Thing", "yes"),
        ("Accept-Encoding", "gzip, deflate"),
        ("Content-Type", "application/json"),
        ("Content-Length", str(len(REQUEST))),
    ]


async def test_answer_headers_travel_in_order_and_repeated(tmp_path: Path) -> None:
    async def script(call: Call) -> None:
        await call.say(
            b"HTTP/1.1 200 Very Fine\r\nX-B: 1\r\nset-cookie: a\r\nX-a: 2\r\nSet-Cookie: b\r\n"
            b"Connection: keep-alive, x-hop\r\nX-Hop: 1\r\nKeep-Alive: timeout=5\r\n"
            b"Content-Length: 2\r\n\r\n{}"
        )

    async with scripted_upstream(script) as upstream, gateway(tmp_path, upstream.url) as gate:
        _, headers, body = await ask(gate.port, post(REQUEST))
        record = await gate.exchange()
    assert body == b"{}"
    assert headers == [
        ("X-B", "1"),
        ("set-cookie", "a"),
        ("X-a", "2"),
        ("Set-Cookie", "b"),
        ("Content-Length", "2"),
        ("x-tidegate-id", record["id"]),
    ]


async def test_query_travels_verbatim_and_decides_nothing(tmp_path: Path) -> None:
    toml = '[[plugins]]\nuse="models"\n[plugins.config]\nallow=["claude-x"]'
    async with scripted_upstream(answer) as upstream, gateway(tmp_path, upstream.url, toml) as gate:
        target = "/v1/messages?beta=true&model=other&a=%2F%zz"
        status, _, _ = await ask(gate.port, post(REQUEST, target=target))
        assert status == 200
        assert upstream.heard[0].line == f"POST {target} HTTP/1.1"
