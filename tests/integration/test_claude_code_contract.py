"""Claude Code's documented gateway contract, C1 to C17 (gateways sheet, section 0), point by point.

Raw bytes on both sides, the whole chain of policies between. What is asked of any gateway is
played by `tidegate conformance` as well; here stands what ours does with policies on.
"""

import asyncio
import gzip
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from redacting import rules_dir
from support.gateway import Gateway, gateway
from support.raw import ask, post, read_answer, read_head
from tidegate.config import Config
from tidegate.keys import digest, new_key
from tidegate.testing.upstream import Call, Heard, Script, ScriptedUpstream, scripted_upstream
from tidegate_plugins.metrics.catalogue import DURATION_S

KEY = new_key()
UPSTREAM_KEY = "upstream-" + "secret"
CHAIN = f"""
[upstream]
credential = {{ env = "UPSTREAM_KEY" }}
[[plugins]]
use = "identify"
[plugins.config]
keys = [{{ id = "ana", team = "web", sha256 = "{digest(KEY)}" }}]
[[plugins]]
use = "models"
[plugins.config]
allow = ["claude-sonnet-4-6", "claude-haiku-5-5"]
[[plugins]]
use = "limits"
[plugins.config]
max_tokens = 32000
[[plugins]]
use = "features"
[plugins.config]
betas.deny = ["mcp-client-*"]
tools.deny = ["server"]
[[plugins]]
use = "redact"
[plugins.config]
cache_dir = "{rules_dir()}"
"""
X_API_KEY = f"x-api-key: {KEY}\r\n".encode()
BEARER = f"authorization: Bearer {KEY}\r\n".encode()
VERSION = b"anthropic-version: 2023-06-01\r\n"
SECRET = "AKIA" + "QYLPMN5HFIQR7XYA"
ANSWER = b'{"id":"msg_1","type":"message","usage":{"input_tokens":1,"output_tokens":2}}'


def document(**fields: Any) -> dict[str, Any]:
    said = [{"role": "user", "content": "Hello"}]
    return {"model": "claude-sonnet-4-6", "max_tokens": 64, "messages": said, **fields}


def body(**fields: Any) -> bytes:
    return json.dumps(document(**fields)).encode()


async def answer(call: Call) -> None:
    await call.answer(ANSWER)


@pytest.fixture(autouse=True)
def upstream_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UPSTREAM_KEY", UPSTREAM_KEY)


@asynccontextmanager
async def between(
    tmp_path: Path, script: Script = answer, toml: str = CHAIN
) -> AsyncIterator[tuple[Gateway, ScriptedUpstream]]:
    async with scripted_upstream(script) as upstream, gateway(tmp_path, upstream.url, toml) as gate:
        yield gate, upstream


async def arrived(tmp_path: Path, request: bytes, toml: str = CHAIN) -> Heard:
    """Send one request that must pass; return what came out on the other side."""
    async with between(tmp_path, toml=toml) as (gate, upstream):
        status, _, text = await ask(gate.port, request)
        assert (status, text) == (200, ANSWER)
        (heard,) = upstream.heard
    return heard


def values(heard: Heard, name: str) -> list[str]:
    return [value for key, value in heard.headers if key.lower() == name]


async def test_c1_the_path_decides_and_the_query_only_travels(tmp_path: Path) -> None:
    raw = post(body(), target="/v1/messages?beta=true&model=claude-opus-5-5", headers=X_API_KEY)

    heard = await arrived(tmp_path, raw)

    assert heard.line == "POST /v1/messages?beta=true&model=claude-opus-5-5 HTTP/1.1"
    assert heard.body == body()


async def test_c2_tokens_are_counted_under_the_same_rules(tmp_path: Path) -> None:
    counted = document()
    del counted["max_tokens"]
    secret = {**counted, "messages": [{"role": "user", "content": SECRET}]}
    async with between(tmp_path) as (gate, upstream):
        statuses = []
        for asked in (counted, secret, {**counted, "model": "claude-opus-5-5"}):
            raw = post(
                json.dumps(asked).encode(), target="/v1/messages/count_tokens", headers=X_API_KEY
            )
            statuses.append((await ask(gate.port, raw))[0])
        bodies = [heard.body for heard in upstream.heard]
    assert statuses == [200, 200, 404]
    assert bodies[0] == json.dumps(counted).encode()
    assert SECRET.encode() not in bodies[1]


@pytest.mark.parametrize("credential", [X_API_KEY, BEARER], ids=["x-api-key", "bearer"])
async def test_c3_discovery_lists_what_the_caller_may_use(
    tmp_path: Path, credential: bytes
) -> None:
    request = b"GET /v1/models?limit=1000 HTTP/1.1\r\nHost: x\r\n" + VERSION + credential + b"\r\n"
    async with between(tmp_path) as (gate, upstream):
        status, _, text = await ask(gate.port, request)
        asked = len(upstream.heard)
    models = json.loads(text)["data"]
    assert status == 200
    assert asked == 0
    assert {model["id"] for model in models} == {"claude-sonnet-4-6", "claude-haiku-5-5"}
    assert all(model["display_name"] for model in models)


@pytest.mark.parametrize("target", ["/", "/api/hello"])
async def test_c4_probes_are_answered_here_without_a_key(tmp_path: Path, target: str) -> None:
    async with between(tmp_path) as (gate, upstream):
        reader, writer = await asyncio.open_connection("127.0.0.1", gate.port)
        writer.write(f"HEAD {target} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        status, _ = await read_head(reader)
        writer.close()
        asked = len(upstream.heard)
    assert (status, asked) == (200, 0)


@pytest.mark.parametrize(
    "credential", [X_API_KEY, BEARER, X_API_KEY + BEARER], ids=["x-api-key", "bearer", "both"]
)
async def test_c5_either_credential_or_both_alike(tmp_path: Path, credential: bytes) -> None:
    heard = await arrived(tmp_path, post(body(), headers=credential))

    assert values(heard, "x-api-key") == [UPSTREAM_KEY]
    assert values(heard, "authorization") == []


async def test_c5_two_that_differ_are_refused(tmp_path: Path) -> None:
    headers = X_API_KEY + b"authorization: Bearer somebody-else\r\n"
    async with between(tmp_path) as (gate, upstream):
        status, _, text = await ask(gate.port, post(body(), headers=headers))
        asked = len(upstream.heard)
    assert (status, asked) == (401, 0)
    assert json.loads(text)["error"]["type"] == "authentication_error"


async def test_c6_version_betas_and_workspace_arrive_verbatim(tmp_path: Path) -> None:
    betas = (b"claude-code-20250219,interleaved-thinking-2025-05-14", b"future-2031-12-31")
    lines = b"".join(b"anthropic-beta: %s\r\n" % beta for beta in betas)
    more = VERSION + lines + b"anthropic-workspace-id: wrkspc_1\r\n"

    heard = await arrived(tmp_path, post(body(), headers=X_API_KEY + more))

    assert values(heard, "anthropic-version") == ["2023-06-01"]
    assert values(heard, "anthropic-beta") == [beta.decode() for beta in betas]
    assert values(heard, "anthropic-workspace-id") == ["wrkspc_1"]


async def test_c6_a_denied_beta_refuses_the_request_and_is_never_stripped(tmp_path: Path) -> None:
    headers = X_API_KEY + b"anthropic-beta: claude-code-20250219,mcp-client-2025-11-20\r\n"
    async with between(tmp_path) as (gate, upstream):
        status, fields, text = await ask(gate.port, post(body(), headers=headers))
        asked = len(upstream.heard)
    assert (status, asked) == (403, 0)
    assert "mcp-client-2025-11-20" in json.loads(text)["error"]["message"]
    assert dict(fields)["x-should-retry"] == "false"


async def test_c7_what_is_unknown_passes(tmp_path: Path) -> None:
    raw = body(tomorrow={"b": 1, "a": [2.50, None]})
    more = b"anthropic-tomorrow: a; b=1\r\nx-claude-code-tomorrow: x\r\n"

    heard = await arrived(tmp_path, post(raw, headers=X_API_KEY + more))

    assert values(heard, "anthropic-tomorrow") == ["a; b=1"]
    assert values(heard, "x-claude-code-tomorrow") == ["x"]
    assert heard.body == raw


async def test_c8_session_and_agents_are_in_the_record(tmp_path: Path) -> None:
    more = (
        b"x-claude-code-session-id: s-1\r\nx-claude-code-agent-id: a-1\r\n"
        b"x-claude-code-parent-agent-id: p-1\r\nuser-agent: claude-cli/2.1.330 (external, cli)\r\n"
    )
    async with between(tmp_path) as (gate, _):
        await ask(gate.port, post(body(), headers=X_API_KEY + more))
        client = (await gate.exchange())["client"]
    assert client == {
        "session": "s-1", "agent": "a-1", "parent_agent": "p-1", "app": "claude-cli/2.1.330",
    }  # fmt: skip


async def test_c9_redaction_keeps_header_and_body_pairs_together(tmp_path: Path) -> None:
    paired = {
        "context_management": {"edits": [{"type": "clear_tool_uses_20250919"}]},
        "output_config": {"effort": "high", "task_budget": {"type": "tokens", "total": 20000}},
        "tools": [{"name": "t", "strict": True, "defer_loading": True, "input_schema": {}}],
    }
    raw = body(messages=[{"role": "user", "content": f"id {SECRET}"}], **paired)
    betas = b"anthropic-beta: context-management-2025-06-27,task-budgets-2026-03-13\r\n"

    heard = await arrived(tmp_path, post(raw, headers=X_API_KEY + betas))

    before, _, after = raw.partition(SECRET.encode())
    assert heard.body.startswith(before)
    assert heard.body.endswith(after)
    assert {key: json.loads(heard.body)[key] for key in paired} == paired
    assert values(heard, "anthropic-beta") == [betas.decode().partition(": ")[2].strip()]


async def test_c10_the_attribution_block_is_left_alone(tmp_path: Path) -> None:
    first = f"x-anthropic-billing-header: cc_version=2.1.330; cch={SECRET};"
    system = [{"type": "text", "text": first}, {"type": "text", "text": f"mind {SECRET}"}]

    heard = await arrived(tmp_path, post(body(system=system), headers=X_API_KEY))

    blocks = json.loads(heard.body)["system"]
    assert blocks[0] == system[0]
    assert SECRET not in blocks[1]["text"]
    assert len(blocks) == 2


ERRORS = {
    400: b'{"type":"error","error":{"type":"invalid_request_error","message":"prompt is too long"}}',
    429: b'{"type":"error","error":{"type":"rate_limit_error","message":"slow down"}}',
    502: b"<html>bad gateway</html>",
    529: b'{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}} ',
}


@pytest.mark.parametrize("status", ERRORS)
async def test_c11_errors_pass_byte_for_byte_with_their_headers(
    tmp_path: Path, status: int
) -> None:
    async def fail(call: Call) -> None:
        told = (
            f"HTTP/1.1 {status} X\r\ncontent-type: text/odd\r\nrequest-id: req_1\r\nretry-after: 7\r\n"
            "x-should-retry: true\r\nanthropic-ratelimit-requests-remaining: 3\r\n"
            f"content-length: {len(ERRORS[status])}\r\n\r\n"
        )
        await call.say(told.encode() + ERRORS[status])

    async with between(tmp_path, fail) as (gate, upstream):
        found, fields, text = await ask(gate.port, post(body(), headers=X_API_KEY))
        asked = len(upstream.heard)
    assert (found, text, asked) == (status, ERRORS[status], 1)
    told = {
        "content-type": "text/odd", "request-id": "req_1", "retry-after": "7",
        "x-should-retry": "true", "anthropic-ratelimit-requests-remaining": "3",
    }  # fmt: skip
    assert told.items() <= dict(fields).items()


async def test_c12_each_event_is_passed_on_before_the_next_one_comes(tmp_path: Path) -> None:
    heard = asyncio.Event()
    event = b'event: ping\ndata: {"type": "ping"}\n\n'

    async def stream(call: Call) -> None:
        head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
        await call.say(head.encode())
        await call.chunk(event)
        await heard.wait()
        await call.chunk(event)
        await call.say(b"0\r\n\r\n")

    async with between(tmp_path, stream) as (gate, _):
        reader, writer = await asyncio.open_connection("127.0.0.1", gate.port)
        writer.write(post(body(stream=True), headers=X_API_KEY))
        await read_head(reader)
        chunk = b"%x\r\n%s\r\n" % (len(event), event)
        assert await reader.readexactly(len(chunk)) == chunk  # the second one does not exist yet
        heard.set()
        assert await reader.readexactly(len(chunk) + 5) == chunk + b"0\r\n\r\n"
        writer.close()


async def test_c13_our_own_refusals_are_not_retried_and_patience_is_longer_than_theirs(
    tmp_path: Path,
) -> None:
    async with between(tmp_path) as (gate, _):
        reader, writer = await asyncio.open_connection("127.0.0.1", gate.port)
        writer.write(post(body(model="claude-opus-5-5"), headers=X_API_KEY))
        _, fields, _ = await read_answer(reader)
        (connection,) = gate.plane._server.connections
        kept_alive_s = connection._keepalive_timeout
        writer.close()
    upstream = Config().upstream
    assert dict(fields)["x-should-retry"] == "false"
    assert upstream.first_byte_timeout_s >= 600  # API_TIMEOUT_MS
    assert upstream.idle_timeout_s >= 20  # "Waiting for API response" is no end
    assert kept_alive_s > 60
    assert DURATION_S[-1] >= 900


async def test_c14_a_trace_goes_on_and_baggage_stays_here(tmp_path: Path) -> None:
    trace, parent = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
    more = f"traceparent: 00-{trace}-{parent}-01\r\nbaggage: a=b\r\ntracestate: v=1\r\n".encode()
    async with between(tmp_path) as (gate, upstream):
        await ask(gate.port, post(body(), headers=X_API_KEY + more))
        (heard,) = upstream.heard
        record = await gate.exchange()
    assert record["trace"]["trace_id"] == trace
    assert record["trace"]["parent_id"] == parent
    assert trace in values(heard, "traceparent")[0]
    assert values(heard, "baggage") == values(heard, "tracestate") == []


async def test_c15_compressed_answers_pass_as_they_are_and_are_read(tmp_path: Path) -> None:
    packed = gzip.compress(ANSWER, mtime=0)

    async def squeeze(call: Call) -> None:
        head = (
            "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-encoding: gzip\r\n"
            f"content-length: {len(packed)}\r\n\r\n"
        )
        await call.say(head.encode() + packed)

    async with between(tmp_path, squeeze) as (gate, upstream):
        more = b"accept-encoding: gzip, deflate, br, zstd\r\n"
        _, fields, text = await ask(gate.port, post(body(), headers=X_API_KEY + more))
        offered = values(upstream.heard[0], "accept-encoding")
        usage = (await gate.exchange())["usage"]
    assert text == packed
    assert dict(fields)["content-encoding"] == "gzip"
    assert offered == ["gzip, deflate"]
    assert (usage["input"], usage["output"]) == (1, 2)


async def test_c16_large_bodies_pass_and_too_large_ones_get_the_envelope(tmp_path: Path) -> None:
    padding = {"metadata": {"user_id": "u" * (20 * 1024 * 1024)}}
    heard = await arrived(tmp_path / "a", post(body(**padding), headers=X_API_KEY))
    assert heard.body == body(**padding)
    limit = Config().listen.max_body_bytes
    assert limit >= 32 * 1024 * 1024
    async with between(tmp_path / "b") as (gate, _):
        reader, writer = await asyncio.open_connection("127.0.0.1", gate.port)
        head = b"POST /v1/messages HTTP/1.1\r\nHost: x\r\ncontent-type: application/json\r\n"
        writer.write(head + X_API_KEY + b"content-length: %d\r\n\r\n" % (limit + 1))
        status, _, text = await read_answer(reader)
        writer.close()
    assert status == 413
    assert json.loads(text)["error"]["type"] == "request_too_large"


async def test_c17_a_subscription_is_forwarded_and_never_written_down(tmp_path: Path) -> None:
    token = "-".join(("sk", "ant", "oat01", "x" * 24))
    bearer = f"authorization: Bearer {token}\r\nanthropic-beta: oauth-2025-04-20\r\n".encode()
    toml = '[[plugins]]\nuse = "identify"\n[plugins.config]\nforward = true\n'
    async with between(tmp_path, toml=toml) as (gate, upstream):
        status, _, _ = await ask(gate.port, post(body(), headers=bearer))
        (heard,) = upstream.heard
        record = await gate.exchange()
        journal = b"".join(path.read_bytes() for path in tmp_path.glob("*.jsonl*")).decode()
    assert status == 200
    assert values(heard, "authorization") == [f"Bearer {token}"]
    assert values(heard, "anthropic-beta") == ["oauth-2025-04-20"]
    assert record["principal"]["id"].startswith("cred-")
    assert token not in journal
