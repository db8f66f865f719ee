"""The shipped policies in the path: who may, what may, and what the caller is told."""

import json
from pathlib import Path
from typing import Any

import pytest

from redacting import rules_dir
from support.gateway import gateway
from support.raw import ask, post
from tidegate.keys import digest, new_key
from tidegate.testing.upstream import Call, scripted_upstream

KEY = new_key()
CHAIN = f"""
[upstream]
credential = {{ env = "UPSTREAM_KEY" }}
[[plugins]]
use = "identify"
[plugins.config]
keys = [{{ id = "ci", team = "search", sha256 = "{digest(KEY)}" }}]
[[plugins]]
use = "models"
[plugins.config]
allow = ["claude-a"]
teams.search.allow = ["claude-a", "claude-b-*"]
[[plugins]]
use = "limits"
[plugins.config]
max_tokens = 100
"""


def body(**changes: Any) -> bytes:
    document = {"model": "claude-a", "max_tokens": 5, "messages": []} | changes
    return json.dumps(document).encode()


def with_key(key: str) -> bytes:
    return f"x-api-key: {key}\r\n".encode()


@pytest.fixture(autouse=True)
def upstream_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UPSTREAM_KEY", "upstream-" + "secret")


async def answer(call: Call) -> None:
    await call.answer(b"{}")


async def test_a_known_key_passes_and_stays_here(tmp_path: Path) -> None:
    async with (
        scripted_upstream(answer) as upstream,
        gateway(tmp_path, upstream.url, CHAIN) as gate,
    ):
        for form in (with_key(KEY), f"authorization: Bearer {KEY}\r\n".encode()):
            status, _, _ = await ask(gate.port, post(body(), headers=form))
            assert status == 200
        heard = str(upstream.heard)
        record, _ = await gate.exchanges(2)
        journal = b"".join(path.read_bytes() for path in tmp_path.glob("*.jsonl")).decode()
    assert KEY not in heard
    assert heard.count("upstream-secret") == 2
    assert KEY not in journal
    assert "upstream-secret" not in journal
    assert record["principal"] == {"id": "ci", "team": "search"}
    assert [decision["plugin"] for decision in record["decisions"]] == [
        "identify", "models", "limits",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("headers", "request_body", "status", "error_type", "plugin", "origin"),
    [
        (b"", body(), 401, "authentication_error", "identify", "policy"),
        (with_key("tgk_wrong"), body(), 401, "authentication_error", "identify", "policy"),
        (None, body(model="claude-c"), 404, "not_found_error", "models", "policy"),
        (None, body(model="claude-a "), 404, "not_found_error", "models", "policy"),
        (None, body(max_tokens=101), 400, "invalid_request_error", "limits", "policy"),
    ],
)
async def test_what_is_not_allowed_does_not_leave(
    tmp_path: Path,
    headers: bytes | None,
    request_body: bytes,
    status: int,
    error_type: str,
    plugin: str,
    origin: str,
) -> None:
    async with (
        scripted_upstream(answer) as upstream,
        gateway(tmp_path, upstream.url, CHAIN) as gate,
    ):
        request = post(request_body, headers=with_key(KEY) if headers is None else headers)
        code, fields, said = await ask(gate.port, request)
        record = await gate.exchange()
        assert not upstream.heard
    found = dict(fields)
    assert (code, json.loads(said)["error"]["type"]) == (status, error_type)
    assert found["x-tidegate-origin"] == origin
    assert found["x-should-retry"] == "false"
    assert found["x-tidegate-id"] == found["request-id"] == record["id"]
    assert (record["outcome"], record["refused_by"]["plugin"]) == ("refused", plugin)
    assert record["dispatched"] is False
    assert "wrong" not in json.dumps(record)


async def test_a_clamp_changes_one_number_and_is_announced(tmp_path: Path) -> None:
    toml = '[[plugins]]\nuse="limits"\n[plugins.config]\nmax_tokens = 100\nover = "clamp"'
    sent = b'{"model":"claude-a",  "max_tokens" : 5000 ,"messages":[]}'
    async with scripted_upstream(answer) as upstream, gateway(tmp_path, upstream.url, toml) as gate:
        _, headers, _ = await ask(gate.port, post(sent))
        record = await gate.exchange()
        assert upstream.heard[0].body == sent.replace(b"5000", b"100")
        assert upstream.heard[0].header("content-length") == str(len(sent) - 1)
    assert dict(headers)["x-tidegate-max-tokens"] == "100"
    (edit,) = record["edits"]
    assert (edit["pointer"], edit["bytes_before"], edit["bytes_after"]) == ("/max_tokens", 4, 3)


async def test_shadow_records_what_it_would_have_done(tmp_path: Path) -> None:
    toml = '[[plugins]]\nuse="models"\nmode="shadow"\n[plugins.config]\nallow=["other"]'
    async with scripted_upstream(answer) as upstream, gateway(tmp_path, upstream.url, toml) as gate:
        status, _, _ = await ask(gate.port, post(body()))
        record = await gate.exchange()
    assert status == 200
    assert [(d["verdict"], d["mode"]) for d in record["decisions"]] == [("refuse", "shadow")]


async def test_count_tokens_passes_the_same_chain(tmp_path: Path) -> None:
    async with (
        scripted_upstream(answer) as upstream,
        gateway(tmp_path, upstream.url, CHAIN) as gate,
    ):
        target = "/v1/messages/count_tokens"
        good = b'{"model":"claude-b-1","messages":[]}'
        bad = good.replace(b"claude-b-1", b"claude-c")
        for sent, status in ((good, 200), (bad, 404)):
            request = post(sent, target=target, headers=with_key(KEY))
            assert (await ask(gate.port, request))[0] == status


async def test_a_secret_is_masked_and_all_else_stays(tmp_path: Path) -> None:
    toml = f'[[plugins]]\nuse="redact"\n[plugins.config]\ncache_dir = "{rules_dir()}"'
    secret = "AKIA" + "QYLPMN5HHHFPZAM2"
    sent = (
        b'{"model":"claude-a", "max_tokens":5,"messages":[{"role":"user","content":'
        b'"h\\u00e9 \\u0041%s \\/ end"}]}' % secret[1:].encode()
    )
    async with scripted_upstream(answer) as upstream, gateway(tmp_path, upstream.url, toml) as gate:
        status, _, _ = await ask(gate.port, post(sent))
        record = await gate.exchange()
        left = upstream.heard[0].body
        journal = b"".join(path.read_bytes() for path in tmp_path.glob("*.jsonl"))
    assert status == 200
    before, _, after = left.partition(b"[REDACTED:")
    assert sent.startswith(before)
    assert sent.endswith(after.partition(b"]")[2])
    assert before.endswith(b'"h\\u00e9 ')
    assert after.partition(b"]")[2] == b' \\/ end"}]}'
    assert record["edits"][0]["pointer"] == "/messages/0/content"
    assert secret.encode() not in journal
    assert secret[1:].encode() not in left


# what the record keeps of a request


CLAMPING = CHAIN.replace("max_tokens = 100", 'max_tokens = 100\nover = "clamp"')


async def test_the_record_has_the_request_as_it_came_without_its_content(tmp_path: Path) -> None:
    said = [{"role": "user", "content": "the secret plan"}]
    asked = body(max_tokens=500, stream=False, messages=said, tools=[{"name": "mine"}])
    refused = body(model="claude-c", messages=said, service_tier="standard_only")
    key = with_key(KEY)
    async with (
        scripted_upstream(answer) as upstream,
        gateway(tmp_path, upstream.url, CLAMPING) as gate,
    ):
        await ask(gate.port, post(asked, headers=key + b"anthropic-beta: a-1, b-2\r\n"))
        await ask(gate.port, post(refused, headers=key))
        await ask(gate.port, b"GET /v1/models/claude-c HTTP/1.1\r\nHost: x\r\n" + key + b"\r\n")
        records = await gate.exchanges(3)
        journal = b"".join(path.read_bytes() for path in tmp_path.glob("*.jsonl")).decode()
    shapes = [record["shape"] for record in records]
    assert shapes[0]["outline"] == {"model": "claude-a", "max_tokens": 500, "stream": False}
    assert shapes[0]["max_tokens"] == 100
    assert (shapes[0]["messages"], shapes[0]["tools"]) == (1, 1)
    assert shapes[0]["betas"] == ["a-1", "b-2"]
    assert shapes[1]["outline"] == {
        "model": "claude-c", "max_tokens": 5, "service_tier": "standard_only",
    }  # fmt: skip
    assert shapes[2]["outline"] == {"model": "claude-c"}
    assert "secret plan" not in journal
