"""Ways around the policies in the OpenAI format, each tried in both modes.

Whatever the upstream hears is held to the rules by an independent look at its bytes.
"""

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from redacting import github, rules_dir
from support.gateway import gateway
from support.raw import ask
from tidegate.testing.upstream import Call, Heard, scripted_upstream

MODES = ("convert", "pass")
CHAT = "/v1/chat/completions"
CHAIN = """
[openai]
chat_completions = "%s"
default_max_tokens = 50
[[plugins]]
use = "models"
[plugins.config]
allow = ["claude-ok-1"]
[[plugins]]
use = "limits"
[plugins.config]
max_tokens = 100
effort = "high"
budget_tokens = 50
[[plugins]]
use = "features"
[plugins.config]
endpoints.allow = ["messages", "models"]
betas.deny = ["unknown"]
tools.deny = ["server", "unknown"]
fields.deny = ["mcp_servers", "container", "thread", "unknown"]
sources.deny = ["file"]
url_hosts.allow = ["good.example"]
url_schemes.allow = ["https"]
service_tiers.deny = ["standard_only"]
"""

USER = {"role": "user", "content": "hi"}
OK: dict[str, Any] = {"model": "claude-ok-1", "max_tokens": 5, "messages": [USER]}


def dumps(**changes: Any) -> bytes:
    return json.dumps(OK | changes).encode()


def http(
    body: bytes = b"",
    *,
    line: str = f"POST {CHAT} HTTP/1.1",
    headers: str = "",
    type_: str = "Content-Type: application/json\r\n",
) -> bytes:
    head = f"{line}\r\nHost: gateway\r\nauthorization: Bearer k\r\n{type_}{headers}Content-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


def said(*parts: Any, **more: Any) -> bytes:
    return dumps(messages=[{"role": "user", "content": list(parts), **more}])


def image(url: Any, **more: Any) -> bytes:
    return said({"type": "image_url", "image_url": {"url": url, **more}})


def called(arguments: Any, **more: Any) -> bytes:
    call = {
        "id": "t1",
        "type": "function",
        "function": {"name": "f", "arguments": arguments},
        **more,
    }
    turns = [USER, {"role": "assistant", "content": None, "tool_calls": [call]}]
    return dumps(messages=[*turns, {"role": "tool", "tool_call_id": "t1", "content": "x"}])


def number(text: str, key: str = "max_tokens") -> bytes:
    raw = dumps().replace(b'"max_tokens": 5', b'"%s": %s' % (key.encode(), text.encode()))
    assert text.encode() in raw
    return raw


TEXT = dumps().decode()
OPEN = TEXT[:-1]
BAD_TOOL = {"type": "web_fetch_20990101", "name": "web_fetch"}
BODIES: dict[str, tuple[bytes, int, int]] = {
    "plain": (dumps(), 200, 200),
    "no limit": (json.dumps({"model": "claude-ok-1", "messages": [USER]}).encode(), 200, 200),
    "model twice": (f'{OPEN}, "model": "claude-no"}}'.encode(), 400, 400),
    "model twice, escaped": (f'{OPEN}, "mod\\u0065l": "claude-no"}}'.encode(), 400, 400),
    "bad model escaped": (TEXT.replace("claude-ok-1", "claude-n\\u006f").encode(), 404, 404),
    "MODEL beside model": (dumps(MODEL="claude-no"), 400, 403),
    "model absent": (json.dumps({"messages": [USER]}).encode(), 400, 400),
    "model of another type": (dumps(model=["claude-ok-1"]), 400, 400),
    "model of nobody": (dumps(model="gpt-5"), 404, 404),
    "models in a list": (dumps(models=["claude-no"]), 400, 403),
    "nested override": (dumps(extra_body={"model": "claude-no"}), 400, 403),
    "fallbacks of Messages": (dumps(fallbacks=[{"model": "claude-no"}]), 400, 404),
    "system of Messages": (dumps(system="x"), 400, 200),
    "system of both": (dumps(system="x", messages=[{"role": "system", "content": "y"}, USER]), 400, 400),
    "mcp_servers": (dumps(mcp_servers=[]), 400, 403),
    "container": (dumps(container="c"), 400, 403),
    "unknown field": (dumps(seed=1), 400, 403),
    "unknown field, null": (dumps(seed=None), 200, 200),
    "max_tokens twice": (f'{OPEN}, "max_tokens": 9999}}'.encode(), 400, 400),
    "both limits": (dumps(max_completion_tokens=9999), 400, 400),
    "both limits, one null": (dumps(max_completion_tokens=9999, max_tokens=None), 400, 400),
    "both limits, of two types": (dumps(max_tokens=1, max_completion_tokens=True), 400, 400),
    "both limits, the same": (dumps(max_completion_tokens=5), 200, 200),
    "many answers": (dumps(n=2), 400, 400),
    "one answer as true": (dumps(n=True), 400, 400),
    "one answer as 1.0": (dumps(n=1.0), 400, 400),
    "one answer": (dumps(n=1), 200, 200),
    "effort": (dumps(reasoning_effort="max"), 400, 400),
    "effort in capitals": (dumps(reasoning_effort="MAX"), 400, 400),
    "effort of Messages": (dumps(output_config={"effort": "max"}), 400, 400),
    "effort of both": (dumps(reasoning_effort="low", output_config={"effort": "max"}), 400, 400),
    "effort in a message": (dumps(messages=[{"role": "system", "content": "x", "output_config": {"effort": "max"}}, USER]), 400, 400),
    "thinking budget": (dumps(thinking={"type": "enabled", "budget_tokens": 51}), 400, 400),
    "stream as a string": (dumps(stream="true"), 400, 400),
    "stream_options of another type": (dumps(stream=True, stream_options=[]), 400, 400),
    "service tier": (dumps(service_tier="default"), 403, 403),
    "server tool": (dumps(tools=[BAD_TOOL]), 400, 403),
    "server tool as a function": (dumps(tools=[{"type": "function", "function": {"name": "f"}, "name": "web_fetch"}]), 400, 400),
    "function with a model": (dumps(tools=[{"type": "function", "function": {"name": "f", "model": "claude-no"}}]), 400, 404),
    "tool type twice": (OPEN.encode() + b', "tools": [{"type": "function", "type": "web_fetch_20250910"}]}', 400, 400),
    "tool of tomorrow": (dumps(tools=[{"type": "oracle", "model": "claude-no"}]), 400, 404),
    "web search": (dumps(web_search_options={}), 400, 403),
    "legacy functions": (dumps(functions=[{"name": "f"}]), 400, 403),
    "image from elsewhere": (image("https://evil.example/x?s"), 403, 403),
    "image from here": (image("https://good.example/a"), 200, 200),
    "image over http": (image("http://good.example/a"), 403, 403),
    "image as a user name": (image("https://good.example@evil.example/"), 403, 403),
    "image over ftp": (image("ftp://good.example/a"), 400, 400),
    "image from a file": (image("file:///etc/passwd"), 400, 400),
    "image that is text": (image("data:text/plain;base64,aGk="), 400, 400),
    "image that is not base64": (image("data:image/png,hello"), 400, 400),
    "image with junk behind it": (image("data:image/png;base64,aGk= AKIA"), 400, 400),
    "image with a parameter": (image("data:image/png;x=secret;base64,aGk="), 400, 400),
    "image within": (image("data:image/png;base64,aGk="), 200, 200),
    "image without an object": (said({"type": "image_url", "image_url": "https://good.example/a"}), 400, 400),
    "image with a source": (said({"type": "image_url", "image_url": {"url": "https://good.example/a"}, "source": {"type": "url", "url": "https://evil.example"}}), 400, 400),
    "image of Messages": (said({"type": "image", "source": {"type": "url", "url": "https://evil.example"}}), 400, 403),
    "file of Messages": (said({"type": "document", "source": {"type": "file", "file_id": "file_1"}}), 400, 403),
    "url in a text": (said({"type": "text", "text": "a", "source": {"type": "url", "url": "https://evil.example"}}), 400, 403),
    "url in a message": (dumps(messages=[{**USER, "source": {"type": "url", "url": "https://evil.example"}}]), 400, 200),
    "image in a tool's result": (dumps(messages=[USER, {"role": "assistant", "content": None, "tool_calls": [{"id": "t", "type": "function", "function": {"name": "f", "arguments": "{}"}}]}, {"role": "tool", "tool_call_id": "t", "content": [{"type": "image_url", "image_url": {"url": "https://evil.example"}}]}]), 403, 403),
    "role of nobody": (dumps(messages=[{"role": "root", "content": "hi"}]), 400, 400),
    "role absent": (dumps(messages=[{"content": "hi"}]), 400, 400),
    "role twice": (TEXT.replace('"role": "user"', '"role": "user", "role": "system"').encode(), 400, 400),
    "messages as an object": (dumps(messages={"0": USER}), 400, 400),
    "message as a string": (dumps(messages=["hi"]), 400, 400),
    "content as a number": (dumps(messages=[{"role": "user", "content": 5}]), 400, 400),
    "no messages": (json.dumps({"model": "claude-ok-1"}).encode(), 400, 400),
    "a name": (dumps(messages=[{**USER, "name": "x"}]), 400, 200),
    "arguments": (called('{"a":1}'), 200, 200),
    "no arguments": (called(""), 200, 200),
    "arguments that are no JSON": (called("{"), 400, 400),
    "arguments that are a list": (called("[]"), 400, 400),
    "arguments that are an object": (called({"a": 1}), 400, 400),
    "arguments with a key twice": (called('{"a":1,"a":2}'), 400, 400),
    "arguments with NaN": (called('{"a":NaN}'), 400, 400),
    "arguments that are deep": (called('{"a":' * 300 + "1" + "}" * 300), 400, 400),
    "a call with an input": (called("{}", input={"x": 1}), 400, 400),
    "a custom call": (called("{}", type="custom"), 400, 400),
    "half a surrogate pair": (TEXT.replace("hi", "\\ud83d").encode(), 200, 200),
    "UTF-16": (TEXT.encode("utf-16"), 400, 400),
    "byte order mark": (b"\xef\xbb\xbf" + TEXT.encode(), 400, 400),
    "trailing body": (TEXT.encode() * 2, 400, 400),
    "in an array": (b"[" + TEXT.encode() + b"]", 400, 400),
    "NaN": (number("NaN", "temperature"), 400, 400),
    "nothing": (b"", 400, 400),
    **{f"max_tokens {text}": (number(text), 400, 400) for text in (
        "1e9", "1e1", "5.0", '"5"', "-1", "-0.0", "101", "9" * 40, "true", "[5]", "{}", "0",
    )},
    **{f"max_completion_tokens {text}": (number(text, "max_completion_tokens"), 400, 400) for text in (
        "1e9", "5.0", '"5"', "-1", "101", "true",
    )},
    "max_completion_tokens at the cap": (number("100", "max_completion_tokens"), 200, 200),
}  # fmt: skip

GOOD = dumps()
REQUESTS: dict[str, tuple[bytes, int]] = {
    **{f"query {query}": (http(GOOD, line=f"POST {CHAT}{query} HTTP/1.1"), 200) for query in (
        "?model=claude-no", "?", "?api-version=2025-01-01",
    )},
    **{f"path {path}": (http(GOOD, line=f"POST {path} HTTP/1.1"), 404) for path in (
        f"{CHAT}/", f"/{CHAT}", "/v1/chat//completions", "/v1/chat/Completions", "/chat/completions",
        "/v1/chat/completions/x", "/v1/chat/%63ompletions", "/v1/completions", "/v1/responses",
        "/v1/embeddings", "/openai/v1/chat/completions", f"http://gateway{CHAT}",
    )},
    **{f"method {method}": (http(GOOD, line=f"{method} {CHAT} HTTP/1.1"), 405) for method in (
        "GET", "PUT", "DELETE",
    )},
    "gzip": (http(gzip.compress(GOOD), headers="Content-Encoding: gzip\r\n"), 400),
    "another media type": (http(GOOD, type_="Content-Type: text/plain\r\n"), 400),
    "another charset": (http(GOOD, type_="Content-Type: application/json; charset=utf-16\r\n"), 400),
    "media type twice": (http(GOOD, headers="Content-Type: application/json\r\n"), 400),
    "override": (http(GOOD, headers="X-HTTP-Method-Override: DELETE\r\n"), 400),
    "beta of tomorrow": (http(GOOD, headers="anthropic-beta: new-2099-01-01\r\n"), 403),
    "two credentials": (http(GOOD, headers="x-api-key: other\r\n"), 401),
}  # fmt: skip


OTHERS = ("media type twice",)
"""What is refused before it is known whose it is."""


async def answer(call: Call) -> None:
    message: dict[str, Any] = {"content": [], "usage": {"output_tokens": 1}}
    completion = {"choices": [], "usage": {"completion_tokens": 1}}
    said = completion if CHAT in call.heard.line else message
    await call.answer(json.dumps(said).encode())


def strictly(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    assert len(dict(pairs)) == len(pairs)
    return dict(pairs)


def assert_governed(heard: Heard, mode: str) -> None:
    """What left keeps every rule, seen with other eyes than the gateway's."""
    method, target, _ = heard.line.split(" ")
    path = target.partition("?")[0]
    assert (method, path) == ("POST", "/v1/messages" if mode == "convert" else CHAT)
    document = json.loads(heard.body.decode(), object_pairs_hook=strictly)
    assert document["model"] == "claude-ok-1"
    limits = [document[k] for k in ("max_tokens", "max_completion_tokens") if k in document]
    assert [limit for limit in limits if limit is not None]
    assert all(type(limit) is int and 0 < limit <= 100 for limit in limits if limit is not None)
    assert document.get("n") in (None, 1)
    assert b'evil.example"' not in heard.body or "source" in document["messages"][0]
    if mode == "convert":
        assert document.keys() <= {"model", "max_tokens", "messages", "stream"}
        assert heard.header("anthropic-version") == "2023-06-01"


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", [*BODIES, *REQUESTS])
async def test_no_way_around(name: str, mode: str, tmp_path: Path) -> None:
    if name in BODIES:
        body, converted, passed = BODIES[name]
        request, status = http(body), converted if mode == "convert" else passed
    else:
        request, status = REQUESTS[name]
    async with (
        scripted_upstream(answer) as upstream,
        gateway(tmp_path, upstream.url, CHAIN % mode) as gate,
    ):
        code, headers, answered = await ask(gate.port, request)
        assert code == status, answered
        for heard in upstream.heard:
            assert_governed(heard, mode)
        assert len(upstream.heard) == int(status == 200)
        if status == 200:
            return
    found = json.loads(answered)
    assert dict(headers)["x-should-retry"] == "false"
    assert found["error"]["message"]
    if name not in OTHERS and not name.startswith("path"):
        assert set(found["error"]) == {"message", "type", "param", "code"}


SECRET = github("evade")
REDACT = f"""
[[plugins]]
use = "redact"
[plugins.config]
action = "mask"
assistant = "refuse"
fixed = "refuse"
cache_dir = "{rules_dir()}"
"""
CALLS = [
    {
        "id": "t1",
        "type": "function",
        "function": {"name": "f", "arguments": json.dumps({"a": [{"token": SECRET}]})},
    }
]
RESULT = {"role": "tool", "tool_call_id": "t1"}
ASSISTANT = {
    "role": "assistant",
    "content": None,
    "tool_calls": [{"id": "t1", "type": "function", "function": {"name": "f", "arguments": "{}"}}],
}
FUNCTION: dict[str, Any] = {"name": "f", "description": "d", "parameters": {"type": "object"}}


def tool(**changes: Any) -> list[dict[str, Any]]:
    return [{"type": "function", "function": FUNCTION | changes}]


SCHEMA = {
    "type": "json_schema",
    "json_schema": {"name": "n", "schema": {"type": "object", "description": SECRET}},
}
PLACES: dict[str, dict[str, Any]] = {
    "user": {"messages": [{"role": "user", "content": f"key {SECRET}"}]},
    "user, in a part": {"messages": [{"role": "user", "content": [{"type": "text", "text": f"key {SECRET}"}]}]},
    "user, escaped": {"messages": [{"role": "user", "content": "key \\" + SECRET}]},
    "an earlier message": {"messages": [{"role": "user", "content": SECRET}, {"role": "assistant", "content": "a"}, USER]},
    "system": {"messages": [{"role": "system", "content": f"key {SECRET}"}, USER]},
    "developer, in a part": {"messages": [{"role": "developer", "content": [{"type": "text", "text": SECRET}]}, USER]},
    "system, at the end": {"messages": [USER, {"role": "system", "content": f"key {SECRET}"}]},
    "assistant": {"messages": [USER, {"role": "assistant", "content": f"key {SECRET}"}, USER]},
    "assistant, refusing": {"messages": [USER, {"role": "assistant", "refusal": f"key {SECRET}"}, USER]},
    "arguments": {"messages": [USER, {"role": "assistant", "content": "", "tool_calls": CALLS}, {**RESULT, "content": "x"}]},
    "result": {"messages": [USER, ASSISTANT, {**RESULT, "content": f"key {SECRET}"}]},
    "result, in a part": {"messages": [USER, ASSISTANT, {**RESULT, "content": [{"type": "text", "text": SECRET}]}]},
    "a tool's description": {"tools": tool(description=f"use {SECRET}")},
    "a tool's schema": {"tools": tool(parameters={"type": "object", "properties": {"a": {"default": SECRET}}})},
    "an enum": {"tools": tool(parameters={"type": "object", "properties": {"a": {"enum": ["x", SECRET]}}})},
    "the answer's schema": {"response_format": SCHEMA},
    "a stop sequence": {"stop": [SECRET]},
    "the user's id": {"user": SECRET},
    "an address": {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": f"https://good.example/?k={SECRET}"}}]}]},
    "a name": {"messages": [{"role": "user", "content": "hi", "name": SECRET}]},
    "an unknown field": {"note": {"deep": [SECRET]}},
    "an unknown field of a message": {"messages": [{**USER, "note": SECRET}]},
    "an unknown part": {"messages": [{"role": "user", "content": [{"type": "note", "note": {"a": SECRET}}]}]},
    "metadata": {"metadata": {"k": SECRET}},
    "an unknown tool": {"tools": [{"type": "custom", "custom": {"name": "c", "description": SECRET}}]},
    "a key": {"metadata": {f"key-{SECRET}": "x"}},
}  # fmt: skip


NOT_EDITED = {"assistant", "assistant, refusing", "arguments", "the user's id", "an address", "metadata", "a key"}  # fmt: skip
"""Where a secret refuses the request: it cannot be replaced."""
UNKNOWN = {name for name in PLACES if "unknown" in name} | {"a name"}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", PLACES)
async def test_no_secret_leaves(name: str, mode: str, tmp_path: Path) -> None:
    toml = f'[openai]\nchat_completions = "{mode}"\n{REDACT}'
    raw = dumps(**PLACES[name])
    escaped = "".join(f"\\u{ord(c):04x}" for c in SECRET[:6])
    escaped_too = raw.replace(SECRET[:6].encode(), escaped.encode())
    for number, sent in enumerate((raw, escaped_too)):
        async with (
            scripted_upstream(answer) as upstream,
            gateway(tmp_path / str(number), upstream.url, toml) as gate,
        ):
            status, _, answered = await ask(gate.port, http(sent))
        assert SECRET.encode() not in answered
        assert SECRET not in json.dumps(gate.records())
        refused = name in NOT_EDITED or (mode == "convert" and name in UNKNOWN)
        assert status == (400 if refused else 200), answered
        assert len(upstream.heard) == int(not refused)
        for heard in upstream.heard:
            assert SECRET not in json.dumps(json.loads(heard.body))


QUOTA = """
[openai]
chat_completions = "%s"
[[plugins]]
use = "quota"
[plugins.config]
store = "memory"
limits = [{ name = "tokens", scope = "org", per = "day", rolling = true, output_tokens = 12 }]
"""


@pytest.mark.parametrize("mode", MODES)
async def test_a_budget_is_kept_in_any_format(mode: str, tmp_path: Path) -> None:
    def messages(most: int) -> bytes:
        asked = {"model": "m", "max_tokens": most, "messages": []}
        return http(json.dumps(asked).encode(), line="POST /v1/messages HTTP/1.1")

    async with (
        scripted_upstream(answer) as upstream,
        gateway(tmp_path, upstream.url, QUOTA % mode) as gate,
    ):
        for request, status in (
            (http(dumps(max_tokens=13)), 429),
            (http(dumps(max_tokens=12)), 200),
            (http(dumps(max_tokens=12)), 429),
            (messages(12), 429),
            (messages(11), 200),
        ):
            assert (await ask(gate.port, request))[0] == status
            await gate.plane.handler.settled()
