"""Ways around the policies, each tried: refused, or decided on the bytes that really leave.

Whatever the upstream hears is held to the same rules by an independent look at its bytes.
"""

import asyncio
import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from support.gateway import gateway
from support.raw import ask, read_answer
from tidegate.testing.upstream import Call, Heard, scripted_upstream

CHAIN = """
[[plugins]]
use = "models"
[plugins.config]
allow = ["claude-ok-1", "claude-ok-2"]
[[plugins]]
use = "limits"
[plugins.config]
max_tokens = 100
budget_tokens = 50
effort = "high"
[[plugins]]
use = "features"
[plugins.config]
endpoints.allow = ["messages", "count_tokens", "models", "batches"]
betas.deny = ["mcp-client-*", "unknown"]
tools.deny = ["server", "unknown"]
fields.deny = ["mcp_servers", "container", "thread", "unknown"]
sources.deny = ["file"]
url_hosts.allow = ["good.example", "*.good.example"]
url_schemes.allow = ["https"]
service_tiers.deny = ["standard_only"]
speeds.allow = ["standard"]
"""

OK: dict[str, Any] = {"model": "claude-ok-1", "max_tokens": 5, "messages": []}
BAD_TOOL = {"type": "web_fetch_20990101", "name": "web_fetch"}
BAD_URL = {"type": "url", "url": "https://evil.example/x?secret"}


def dumps(**changes: Any) -> bytes:
    return json.dumps(OK | changes).encode()


def said(*blocks: Any) -> bytes:
    return dumps(messages=[{"role": "user", "content": list(blocks)}])


def http(
    body: bytes = b"",
    *,
    line: str = "POST /v1/messages HTTP/1.1",
    host: str = "gateway",
    headers: str = "",
    type_: str = "Content-Type: application/json\r\n",
    length: str | None = None,
) -> bytes:
    size = f"Content-Length: {len(body)}\r\n" if length is None else length
    head = f"{line}\r\nHost: {host}\r\nx-api-key: k\r\n{type_}{headers}{size}\r\n"
    return head.encode("utf-8", "surrogateescape") + body


def number(text: str) -> bytes:
    return dumps(max_tokens=0).replace(b'"max_tokens": 0', b'"max_tokens": ' + text.encode())


def model(name: Any) -> bytes:
    return dumps(model=name)


def image(url: Any) -> bytes:
    return said({"type": "image", "source": {"type": "url", "url": url}})


def batch(*params: Any) -> bytes:
    items = [{"custom_id": f"i{n}", "params": one} for n, one in enumerate(params)]
    return http(json.dumps({"requests": items}).encode(), line="POST /v1/messages/batches HTTP/1.1")


TEXT = dumps().decode()
TWICE = TEXT[:-1]
BODIES: dict[str, tuple[bytes, int]] = {
    "model twice": (f'{TWICE}, "model": "claude-no"}}'.encode(), 400),
    "model twice, the bad first": (f'{{"model":"claude-no",{TEXT[1:]}'.encode(), 400),
    "model twice, escaped": (f'{TWICE}, "mod\\u0065l": "claude-no"}}'.encode(), 400),
    "model escaped, once": (TEXT.replace('"model"', '"\\u006dodel"').encode(), 200),
    "bad model escaped": (TEXT.replace("claude-ok-1", "claude-n\\u006f").encode(), 404),
    "good model escaped": (TEXT.replace("claude-ok-1", "claude-\\u006fk-1").encode(), 200),
    "max_tokens twice": (f'{TWICE}, "max_tokens": 9999}}'.encode(), 400),
    "twice, deep": (said({"type": "text", "text": "a"}).replace(b'"text"}', b'"x","text":"b"}').replace(b'"text": "a"', b'"text":"a","text":"b"'), 400),
    "MODEL beside model": (dumps(MODEL="claude-no"), 403),
    "MODEL alone": (TEXT.replace('"model"', '"MODEL"').encode(), 400),
    "nested override": (dumps(extra_body={"model": "claude-no"}), 403),
    "nested params": (dumps(params={"model": "claude-no", "max_tokens": 9999}), 403),
    "prototype": (dumps(__proto__={"model": "claude-no"}), 403),
    "key with a dot": (dumps(**{"fallbacks.0.model": "claude-no"}), 403),
    "key with NUL": (dumps(**{"model\0": "claude-no"}), 403),
    "surrogate in key": (f'{TWICE}, "model\\ud800": "claude-no"}}'.encode(), 403),
    "denied field": (dumps(thread={"type": "create"}), 403),
    "denied field, null": (dumps(thread=None), 200),
    "fallback model": (dumps(fallbacks=[{"model": "claude-no"}]), 404),
    "fallback by the server": (dumps(fallbacks="default"), 404),
    "fallback of a fallback": (dumps(fallbacks=[{"model": "claude-ok-1", "fallbacks": [{"model": "claude-no"}]}]), 404),
    "fallbacks as an object": (dumps(fallbacks={"0": {"model": "claude-no"}}), 400),
    "fallback over the cap": (dumps(fallbacks=[{"model": "claude-ok-1", "max_tokens": 101}]), 400),
    "fallback speed": (dumps(fallbacks=[{"model": "claude-ok-1", "speed": "fast"}]), 403),
    "advisor model": (dumps(tools=[{"type": "advisor_20260301", "name": "a", "model": "claude-no"}]), 404),
    "advisor without a model": (dumps(tools=[{"type": "advisor_20260301", "name": "a"}]), 400),
    "tool of tomorrow with a model": (dumps(tools=[{"type": "oracle_1", "model": "claude-no"}]), 404),
    "inline tool": (said({"type": "tool_addition", "tool": {"type": "tool_definition", "definition": BAD_TOOL}}), 403),
    "inline advisor": (said({"type": "tool_addition", "tool": {"type": "tool_definition", "definition": {"type": "advisor_20260301", "model": "claude-no"}}}), 404),
    "inline tool in a compaction": (said({"type": "compaction", "tool_changes": [{"type": "tool_addition", "tool": {"definition": BAD_TOOL}}]}), 403),
    "server tool": (dumps(tools=[BAD_TOOL]), 403),
    "server tool in capitals": (dumps(tools=[{"type": "WEB_FETCH_20250910"}]), 403),
    "server tool with a space": (dumps(tools=[{"type": "web_fetch_20250910 "}]), 403),
    "server tool, type twice": (TWICE.encode() + b', "tools": [{"type": "custom", "type": "web_fetch_20250910"}]}', 400),
    "tool type that is no string": (dumps(tools=[{"type": ["web_fetch_20250910"]}]), 403),
    "client tool": (dumps(tools=[{"type": "bash_20250124", "name": "bash"}]), 200),
    "mcp_servers": (dumps(mcp_servers=[]), 403),
    "container": (dumps(container="container_1"), 403),
    "fast": (dumps(speed="fast"), 403),
    "Fast": (dumps(speed="FAST"), 403),
    "speed that is no string": (dumps(speed=["fast"]), 403),
    "service tier": (dumps(service_tier="standard_only"), 403),
    "image from elsewhere": (image(BAD_URL["url"]), 403),
    "image from here": (image("https://img.good.example/a.png?x=1"), 200),
    "image from here in capitals": (image("HTTPS://GOOD.EXAMPLE/a"), 200),
    "image over http": (image("http://good.example/a"), 403),
    "host as a user name": (image("https://good.example@evil.example/"), 403),
    "host with a backslash": (image("https://evil.example\\@good.example/"), 403),
    "host as a subdomain": (image("https://good.example.evil.example/"), 403),
    "host as a fragment": (image("https://evil.example#.good.example"), 403),
    "host as a prefix": (image("https://notgood.example/"), 403),
    "host with a tab": (image("https://good.exam\tple/"), 403),
    "host beyond ASCII": (image("https://g\u043eod.example/"), 403),
    "host with a percent sign": (image("https://good.example%2eevil.example/"), 403),
    "no scheme": (image("//good.example/"), 403),
    "scheme with a space": (image(" https://good.example/"), 403),
    "url that is no string": (image(["https://good.example/"]), 403),
    "url in a base64 source": (said({"type": "image", "source": {**BAD_URL, "type": "base64"}}), 403),
    "url in a tool result": (said({"type": "tool_result", "tool_use_id": "t", "content": [{"type": "image", "source": BAD_URL}]}), 403),
    "url in a document": (said({"type": "document", "source": {"type": "content", "content": [{"type": "image", "source": BAD_URL}]}}), 403),
    "url in a block of tomorrow": (said({"type": "new", "parts": {"a": [{"source": BAD_URL}]}}), 403),
    "url in the system prompt": (dumps(system=[{"type": "image", "source": BAD_URL}]), 403),
    "url in a text block": (said({"type": "text", "text": "a", "source": BAD_URL}), 403),
    "url in content that is one block": (dumps(messages=[{"role": "user", "content": {"type": "image", "source": BAD_URL}}]), 403),
    "url in what a tool was told": (said({"type": "tool_use", "id": "t", "name": "n", "input": {"source": BAD_URL}}), 200),
    "file": (said({"type": "document", "source": {"type": "file", "file_id": "file_1"}}), 403),
    "file in another source": (said({"type": "document", "source": {"type": "text", "file_id": "file_1"}}), 403),
    "file for the container": (said({"type": "container_upload", "file_id": "file_1"}), 403),
    "thinking budget": (dumps(thinking={"type": "enabled", "budget_tokens": 51}), 400),
    "thinking budget 1e1": (dumps(thinking={"type": "enabled", "budget_tokens": 0}).replace(b": 0}", b": 1e1}"), 400),
    "effort": (dumps(output_config={"effort": "max"}), 400),
    "effort in capitals": (dumps(output_config={"effort": "MAX"}), 400),
    "effort within the conversation": (dumps(messages=[{"role": "system", "content": [], "output_config": {"effort": "max"}}]), 400),
    "stream as a string": (dumps(stream="true"), 400),
    "stream as a number": (dumps(stream=1), 400),
    "stream null": (dumps(stream=None), 200),
    "UTF-16": (TEXT.encode("utf-16"), 400),
    "UTF-16 without a mark": (TEXT.encode("utf-16-le"), 400),
    "UTF-32": (TEXT.encode("utf-32"), 400),
    "byte order mark": (b"\xef\xbb\xbf" + TEXT.encode(), 400),
    "UTF-7": (TEXT.replace("claude-ok-1", "claude-+AG8-k-1").encode(), 404),
    "overlong UTF-8": (TEXT.encode().replace(b"ok-1", b"\xc1\xaf"), 400),
    "encoded surrogates": (TEXT.encode().replace(b"ok-1", b"\xed\xa0\x80"), 400),
    "trailing NUL": (TEXT.encode() + b"\0", 400),
    "trailing body": (TEXT.encode() + TEXT.encode(), 400),
    "leading junk": (b")]}'\n" + TEXT.encode(), 400),
    "a comment": (TEXT.encode().replace(b"{", b"{/*", 1).replace(b'"max', b'*/"max', 1), 400),
    "trailing comma": (TWICE.encode() + b",}", 400),
    "single quotes": (TEXT.replace('"', "'").encode(), 400),
    "in an array": (b"[" + TEXT.encode() + b"]", 400),
    "as a string": (json.dumps(TEXT).encode(), 400),
    "NaN": (number("NaN"), 400),
    "Infinity": (number("Infinity"), 400),
    **{f"max_tokens {text}": (number(text), 400) for text in (
        "1e9", "1e1", "5.0", "8192.0", '"8192"', '"5"', "-1", "-0.0", "101", "9" * 40, "05", "+5",
        "0x5", "true", "[5]", "{}", "null", "1E400", "5e0", "18446744073709551621",
    )},
    "max_tokens absent": (b'{"model":"claude-ok-1","messages":[]}', 400),
    "max_tokens at the cap": (number("100"), 200),
    "max_tokens -0": (number("-0"), 200),
    **{f"model {name!a}": (model(name), status) for name, status in (
        ("claude-no", 404), (" claude-ok-1", 404), ("claude-ok-1 ", 404), ("claude-ok-1\t", 404),
        ("claude-ok-1\n", 404), ("claude-ok-1\0", 404), ("claude-ok-1\0claude-no", 404),
        ("cl\u0430ude-ok-1", 404), ("\uff43laude-ok-1", 404), ("claude\u2010ok-1", 404),
        ("claude-ok-1\u200b", 404), ("claude-\u00adok-1", 404), ("claude-o\u212a-1", 404),
        ("CLAUDE-OK-1", 404), ("Claude-ok-1", 404), ("claude-ok-1[1m][1m]", 404),
        ("claude-ok-1[1M]", 404), ("claude-ok-1[2m]", 404), ("claude-ok-1-evil", 404),
        ("claude-ok-1/../claude-no", 404), ("claude%2dok-1", 404), ("claude-ok-1?x", 404),
        ("claude-ok-1#", 404), ("claude-ok-1,claude-no", 404), ("*", 404), ("", 404),
        ("claude-ok-1-2026", 404), ("claude-ok-1-20260101-20260101", 404), ("claude-ok-", 404),
        ("x" * 5000, 404), ("claude-ok-1\ud800", 404), (["claude-ok-1"], 400), ({"id": "claude-ok-1"}, 400), (None, 400),
        (True, 400), (1, 400),
        ("claude-ok-1[1m]", 200), ("claude-ok-1-20260101", 200), ("claude-ok-1-latest", 200),
    )},
}  # fmt: skip

CHUNKED = "Transfer-Encoding: chunked\r\n"


def chunks(body: bytes, extension: bytes = b"") -> bytes:
    return b"%x%s\r\n%s\r\n0\r\n\r\n" % (len(body), extension, body)


GOOD = dumps()
NO = dumps(model="claude-no")
REQUESTS: dict[str, tuple[bytes, int]] = {
    **{f"query {query}": (http(GOOD, line=f"POST /v1/messages{query} HTTP/1.1"), 200) for query in (
        "?model=claude-no", "?beta=true&max_tokens=9999", "?", "?/../../v1/files", "?%00",
    )},
    "query with a bad body": (http(NO, line="POST /v1/messages?model=claude-ok-1 HTTP/1.1"), 404),
    **{f"path {path}": (http(GOOD, line=f"POST {path} HTTP/1.1"), 404) for path in (
        "//v1/messages", "/v1//messages", "/v1/messages/", "/v1/messages//", "/v1/./messages",
        "/v1/messages/../files", "/v1/messages/..", "/../v1/messages", "/v1/%6dessages",
        "/v1/messages%2f", "/v1%2fmessages", "/v1/messages%00", "/%2e/v1/messages",
        "/v1/%2e%2e/v1/messages", "/v1/messages;a=b", "/v1/messages%3fx=1", "/v1/messages.json",
        "/V1/messages", "/v1/Messages", "/v1/messages%20", "/v1\\messages", "/v1/complete",
        "/v1/chat/completions", "/v1/skills", "/v1/organizations/me", "/v1/agents", "/v1/sessions",
        "/v1/oauth/token", "/v1/user_profiles", "/anthropic/v1/messages", "/v1/files/upload",
        "http://gateway/v1/messages", "http://api.anthropic.com/v1/messages", "/v2/messages",
        "/v1/messages/count_tokens/", "/v1/messages/batches/", "/v1/messages/batches/x",
        "/v1/messages/batches/msgbatch_1/../cancel", "/v1/messages/batches/msgbatch_1%2fcancel",
    )},
    "fragment": (http(GOOD, line="POST /v1/messages#x HTTP/1.1"), 404),
    "asterisk": (http(GOOD, line="POST * HTTP/1.1"), 400),
    "authority form": (http(GOOD, line="CONNECT api.anthropic.com:443 HTTP/1.1"), 404),
    "other method": (http(GOOD, line="PUT /v1/messages HTTP/1.1"), 405),
    "method in lower case": (http(GOOD, line="post /v1/messages HTTP/1.1"), 400),
    "TRACE": (http(line="TRACE /v1/messages HTTP/1.1"), 405),
    "upload": (http(GOOD, line="POST /v1/files HTTP/1.1"), 405),
    "files that nobody opened": (http(line="GET /v1/files HTTP/1.1"), 403),
    "a file that nobody opened": (http(line="GET /v1/files/file_1/content HTTP/1.1"), 403),
    "batches that somebody opened": (http(line="GET /v1/messages/batches HTTP/1.1"), 200),
    **{f"Host {host!a}": (http(GOOD, host=host), status) for host, status in (
        ("api.anthropic.com", 200), ("evil.example", 200), ("127.0.0.1:1@evil", 200), ("", 200),
    )},
    "Host twice": (http(GOOD, headers="Host: evil.example\r\n"), 400),
    **{f"{name} {value}": (http(GOOD, headers=f"{name}: {value}\r\n"), 400) for name, value in (
        ("Content-Encoding", "gzip"), ("Content-Encoding", "identity, gzip"),
        ("Content-Encoding", "x"), ("Expect", "200-ok"), ("X-HTTP-Method-Override", "DELETE"),
        ("X-HTTP-Method", "DELETE"), ("X-Method-Override", "PUT"), ("X-Original-URL", "/v1/files"),
        ("X-Rewrite-URL", "/v1/files"), ("Content-Type", "text/plain"),
    )},
    "gzip": (http(gzip.compress(GOOD), headers="Content-Encoding: gzip\r\n"), 400),
    "gzip that says nothing": (http(gzip.compress(GOOD)), 400),
    "identity": (http(GOOD, headers="Content-Encoding: identity\r\n"), 200),
    **{f"Content-Type {value}": (http(GOOD, type_=f"Content-Type: {value}\r\n"), status) for value, status in (
        ("text/plain", 400), ("application/x-www-form-urlencoded", 400),
        ("multipart/form-data; boundary=x", 400), ("application/json; charset=utf-16", 400),
        ("application/json; charset=utf-16; charset=utf-8", 400),
        ("application/json; charset*=utf-16''x", 400), ("application/json; charset=utf-7", 400),
        ("application/json, text/plain", 400), ("application/json; Charset=\"UTF-8\"", 200),
        ("application/jsonx", 400), ("APPLICATION/JSON", 200),
    )},
    "no Content-Type": (http(GOOD, type_=""), 200),
    "length and chunks": (http(chunks(GOOD), headers=CHUNKED), 400),
    "chunks and another coding": (http(chunks(GOOD), length="", headers="Transfer-Encoding: gzip, chunked\r\n"), 400),
    "chunks, not last": (http(chunks(GOOD), length="", headers="Transfer-Encoding: chunked, identity\r\n"), 400),
    "chunks misspelt": (http(chunks(GOOD), length="", headers="Transfer-Encoding: xchunked\r\n"), 400),
    "chunks twice": (http(chunks(GOOD), length="", headers=CHUNKED * 2), 400),
    "chunk extension": (http(chunks(GOOD, b";a=b"), length="", headers=CHUNKED), 200),
    "chunk extension, bad body": (http(chunks(NO, b';a="\\"x"'), length="", headers=CHUNKED), 404),
    "chunk size with a sign": (http(b"+" + chunks(GOOD), length="", headers=CHUNKED), 400),
    "chunk size with 0x": (http(b"0x" + chunks(GOOD), length="", headers=CHUNKED), 400),
    "chunk with bare LF": (http(chunks(GOOD).replace(b"\r\n", b"\n"), length="", headers=CHUNKED), 400),
    "lengths that differ": (http(GOOD, headers="Content-Length: 1\r\n"), 400),
    "length with a sign": (http(GOOD, length=f"Content-Length: +{len(GOOD)}\r\n"), 400),
    "lengths in a list": (http(GOOD, length=f"Content-Length: {len(GOOD)}, {len(GOOD)}\r\n"), 400),
    "space before the colon": (http(GOOD, headers="anthropic-beta : x\r\n"), 400),
    "folded header": (http(GOOD, headers="anthropic-beta: a\r\n mcp-client-2026-09-15\r\n"), 400),
    "bare CR in a header": (http(GOOD, headers="x-a: b\rmodel: c\r\n"), 400),
    "NUL in a header": (http(GOOD, headers="x-a: b\0\r\n"), 400),
    "huge header": (http(GOOD, headers=f"x-a: {'y' * 200_000}\r\n"), 400),
    "beta": (http(GOOD, headers="anthropic-beta: mcp-client-2026-09-15\r\n"), 403),
    "beta in a list": (http(GOOD, headers="anthropic-beta: effort-2025-11-24,mcp-client-2026-09-15\r\n"), 403),
    "beta on a second line": (http(GOOD, headers="anthropic-beta: effort-2025-11-24\r\nAnthropic-Beta: mcp-client-2026-09-15\r\n"), 403),
    "beta in capitals": (http(GOOD, headers="anthropic-beta: MCP-Client-2026-09-15\r\n"), 403),
    "beta with spaces": (http(GOOD, headers="anthropic-beta:  , mcp-client-2026-09-15 ,\r\n"), 403),
    "beta of tomorrow": (http(GOOD, headers="anthropic-beta: new-2099-01-01\r\n"), 403),
    "known beta": (http(GOOD, headers="anthropic-beta: effort-2025-11-24\r\n"), 200),
    "version of tomorrow": (http(GOOD, headers="anthropic-version: 2099-01-01\r\n"), 200),
    "version of tomorrow, bad body": (http(NO, headers="anthropic-version: 2099-01-01\r\n"), 404),
    "batch": (batch(OK, OK), 200),
    "batch with a bad model": (batch(OK, OK | {"model": "claude-no"}), 404),
    "batch over the cap": (batch(OK, OK, OK | {"max_tokens": 101}), 400),
    "batch with a server tool": (batch(OK | {"tools": [BAD_TOOL]}), 403),
    "batch in a batch": (batch({"requests": []}), 400),
    "batch with more": (http(b'{"requests":[],"model":"claude-no"}', line="POST /v1/messages/batches HTTP/1.1"), 400),
    "batch item with more": (http(b'{"requests":[{"custom_id":"a","params":%s,"model":"claude-no"}]}' % GOOD, line="POST /v1/messages/batches HTTP/1.1"), 400),
    "batch item twice": (http(b'{"requests":[{"custom_id":"a","params":%s,"params":%s}]}' % (GOOD, NO), line="POST /v1/messages/batches HTTP/1.1"), 400),
    "batch at the wrong place": (http(b'{"requests":[{"custom_id":"a","params":%s}]}' % NO), 400),
    "count_tokens": (http(NO, line="POST /v1/messages/count_tokens HTTP/1.1"), 404),
}  # fmt: skip


async def answer(call: Call) -> None:
    await call.answer(b"{}")


def strictly(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    assert len(dict(pairs)) == len(pairs)
    return dict(pairs)


def assert_governed(heard: Heard, port: int) -> None:
    """What left keeps every rule, seen with other eyes than the gateway's."""
    method, target, version = heard.line.split(" ")
    names = [name.lower() for name, _ in heard.headers]
    assert version == "HTTP/1.1"
    assert heard.header("host") == f"127.0.0.1:{port}"
    assert names.count("host") == 1
    assert "transfer-encoding" not in names
    assert not [name for name in names if "override" in name or "rewrite" in name]
    assert "mcp-client" not in str(heard.headers).lower()
    if method == "GET":
        return
    assert heard.header("content-length") == str(len(heard.body))
    assert target.partition("?")[0] in ("/v1/messages", "/v1/messages/batches")
    document = json.loads(heard.body.decode(), object_pairs_hook=strictly)
    items = (
        [one["params"] for one in document["requests"]] if "requests" in document else [document]
    )
    for item in items:
        assert item["model"].startswith("claude-ok-")
        assert type(item["max_tokens"]) is int
        assert item["max_tokens"] <= 100
        assert type(item.get("stream")) in (bool, type(None))


@pytest.mark.parametrize("name", [*BODIES, *REQUESTS])
async def test_no_way_around(name: str, tmp_path: Path) -> None:
    if name in BODIES:
        body, status = BODIES[name]
        request = http(body)
    else:
        request, status = REQUESTS[name]
    async with (
        scripted_upstream(answer) as upstream,
        gateway(tmp_path, upstream.url, CHAIN) as gate,
    ):
        code, headers, answered = await ask(gate.port, request)
        assert code == status, answered
        for heard in upstream.heard:
            assert_governed(heard, upstream.port)
        if status == 200:
            (heard,) = upstream.heard
            if b"chunked" not in request:
                assert request.endswith(heard.body)
            return
        assert not upstream.heard
    found = json.loads(answered)["error"]
    assert found["type"] in ("invalid_request_error", "permission_error", "not_found_error")
    assert dict(headers)["x-should-retry"] == "false"


async def test_each_of_several_pipelined_requests_is_decided(tmp_path: Path) -> None:
    wanted = [(GOOD, 200), (NO, 404), (GOOD, 200), (number("101"), 400)]
    async with (
        scripted_upstream(answer) as upstream,
        gateway(tmp_path, upstream.url, CHAIN) as gate,
    ):
        reader, writer = await asyncio.open_connection("127.0.0.1", gate.port)
        writer.write(b"".join(http(body) for body, _ in wanted))
        found = [(await read_answer(reader))[0] for _ in wanted]
        writer.close()
        assert found == [status for _, status in wanted]
        assert [heard.body for heard in upstream.heard] == [GOOD, GOOD]


async def test_a_request_within_a_body_stays_a_body(tmp_path: Path) -> None:
    inner = http(NO).decode()
    body = dumps(messages=[{"role": "user", "content": inner}])
    async with (
        scripted_upstream(answer) as upstream,
        gateway(tmp_path, upstream.url, CHAIN) as gate,
    ):
        assert (await ask(gate.port, http(body)))[0] == 200
        assert [heard.body for heard in upstream.heard] == [body]


async def test_a_refused_request_of_a_batch_is_named(tmp_path: Path) -> None:
    request = batch(OK, OK, OK | {"model": "claude-no"}, OK)
    async with (
        scripted_upstream(answer) as upstream,
        gateway(tmp_path, upstream.url, CHAIN) as gate,
    ):
        _, _, answered = await ask(gate.port, request)
        record = await gate.exchange()
        assert not upstream.heard
    assert json.loads(answered)["error"]["message"].startswith("requests[2]: model: claude-no")
    assert record["refused_by"] == {
        "plugin": "models",
        "rule": "not_allowed",
        "pointer": "/requests/2/params/model",
    }
    verdicts = [(d["plugin"], d["verdict"]) for d in record["decisions"]]
    assert ("models", "refuse") in verdicts
    assert ("limits", "not_evaluated") in verdicts


QUOTA = """
[[plugins]]
use = "features"
[plugins.config]
endpoints.allow = ["batches"]
[[plugins]]
use = "quota"
[plugins.config]
store = "memory"
limits = [
  { name = "tokens", scope = "model", per = "day", rolling = true, output_tokens = 12 },
  { name = "at-once", scope = "org", concurrent = 1 },
]
"""


async def test_a_batch_does_not_escape_a_budget(tmp_path: Path) -> None:
    other = OK | {"model": "claude-ok-2"}
    async with (
        scripted_upstream(answer) as upstream,
        gateway(tmp_path, upstream.url, QUOTA) as gate,
    ):
        first = await ask(gate.port, batch(OK, OK, other))
        again = await ask(gate.port, batch(other, OK))
        assert len(upstream.heard) == 1
    assert (first[0], again[0]) == (200, 429)
    assert json.loads(again[2])["error"]["message"].startswith("requests[1]: ")


CLAMP = """
[[plugins]]
use = "models"
[plugins.config]
allow = ["claude-ok-1"]
aliases = { fast = "claude-ok-1" }
[[plugins]]
use = "limits"
[plugins.config]
max_tokens = 100
default_max_tokens = 7
over = "clamp"
[[plugins]]
use = "features"
[plugins.config]
endpoints.allow = ["batches"]
"""


async def test_edits_within_a_batch_change_their_values_only(tmp_path: Path) -> None:
    body = (
        b' {"requests" : [ {"custom_id":"a", "params": {"model":"fast", "max_tokens":5000,"messages":[]} } ,'
        b'{"params":{"messages":["\\ud83d \xc3\xa9"],"model":"claude-ok-1"},"custom_id":"b"}]}\n'
    )
    line = "POST /v1/messages/batches HTTP/1.1"
    async with (
        scripted_upstream(answer) as upstream,
        gateway(tmp_path, upstream.url, CLAMP) as gate,
    ):
        status, headers, said = await ask(gate.port, http(body, line=line))
        assert status == 200, said
        record = await gate.exchange()
        (heard,) = upstream.heard
    assert heard.body == (
        body.replace(b'"fast"', b'"claude-ok-1"')
        .replace(b"5000", b"100")
        .replace(b'{"messages":["', b'{"max_tokens":7,"messages":["')
    )
    assert [(edit["pointer"], edit["plugin"]) for edit in record["edits"]] == [
        ("/requests/0/params/model", "models"),
        ("/requests/0/params/max_tokens", "limits"),
        ("/requests/1/params/max_tokens", "limits"),
    ]
    assert record["shape"]["max_tokens"] == 107
    assert dict(headers)["x-tidegate-model"] == "claude-ok-1"
