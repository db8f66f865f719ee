"""Several upstreams behind one gateway: who goes where, with which credential, and what never leaves."""

import json
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from support.gateway import Gateway, gateway
from support.raw import ask, post
from tidegate.keys import digest, new_key
from tidegate.testing.upstream import Call, ScriptedUpstream, scripted_upstream

KEYS = {team: new_key() for team in ("search", "web", "translation")}
OWN = "sk-" + "ant-" + "own-credential"


@pytest.fixture(autouse=True)
def secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("COMMON", "SEARCH", "ONEDIM"):
        monkeypatch.setenv(f"{name}_KEY", f"upstream-{name.lower()}")


async def answer(call: Call) -> None:
    await call.answer(b'{"type":"message","usage":{"input_tokens":1,"output_tokens":1}}')


def identify(*, forward: bool = False) -> str:
    entries = ", ".join(
        f'{{ id = "{team}-1", team = "{team}", sha256 = "{digest(key)}" }}'
        for team, key in KEYS.items()
    )
    rest = f"keys = [{entries}]\nforward = {str(forward).lower()}\n"
    return f'[[plugins]]\nuse = "identify"\n[plugins.config]\n{rest}'


@asynccontextmanager
async def two(
    directory: Path, first: str, last: str = "", *, forward: bool = False
) -> AsyncGenerator[tuple[Gateway, ScriptedUpstream, ScriptedUpstream], None]:
    """A gateway with an upstream for some, and one for everybody else."""
    async with AsyncExitStack() as stack:
        one = await stack.enter_async_context(scripted_upstream(answer))
        rest = await stack.enter_async_context(scripted_upstream(answer))
        toml = (
            f'[[upstreams]]\nname = "first"\nurl = "{one.url}/prefix"\n{first}\n'
            f"[upstream]\n{last}\n{identify(forward=forward)}"
        )
        gate = await stack.enter_async_context(gateway(directory, rest.url, toml))
        yield gate, one, rest


def body(model: str = "claude-haiku-4-5", **changes: Any) -> bytes:
    return json.dumps({"model": model, "max_tokens": 5, "messages": []} | changes).encode()


def with_key(value: str) -> bytes:
    return f"x-api-key: {value}\r\n".encode()


async def test_each_goes_where_its_team_and_model_lead(tmp_path: Path) -> None:
    first = 'teams = ["search"]\nmodels = ["claude-opus-*"]\ncredential = { env = "SEARCH_KEY" }'
    last = 'credential = { env = "COMMON_KEY" }'
    async with two(tmp_path, first, last) as (gate, one, rest):
        for team, model in (
            ("search", "claude-opus-5"),
            ("search", "claude-haiku-4-5"),
            ("web", "claude-opus-5"),
        ):
            status, _, _ = await ask(gate.port, post(body(model), headers=with_key(KEYS[team])))
            assert status == 200
        records = await gate.exchanges(3)
    assert [heard.line for heard in one.heard] == ["POST /prefix/v1/messages HTTP/1.1"]
    assert one.heard[0].header("x-api-key") == "upstream-search"
    assert [heard.header("x-api-key") for heard in rest.heard] == ["upstream-common"] * 2
    assert [record["upstream"] for record in records] == ["first", "default", "default"]
    intents = gate.records("intent")
    assert [intent["upstream"] for intent in intents] == ["first", "default", "default"]
    assert not any(key in str(one.heard + rest.heard) for key in KEYS.values())


async def test_a_team_may_have_a_credential_of_its_own(tmp_path: Path) -> None:
    toml = (
        '[upstream]\ncredential = { env = "COMMON_KEY" }\n'
        'credentials.search = { env = "SEARCH_KEY" }\n' + identify()
    )
    async with scripted_upstream(answer) as upstream, gateway(tmp_path, upstream.url, toml) as gate:
        for team in ("web", "search"):
            await ask(gate.port, post(body(), headers=with_key(KEYS[team])))
        heard = [call.header("x-api-key") for call in upstream.heard]
        journal = b"".join(path.read_bytes() for path in tmp_path.glob("*.jsonl"))
    assert heard == ["upstream-common", "upstream-search"]
    assert b"upstream-common" not in journal
    assert b"upstream-search" not in journal


@pytest.mark.parametrize("form", ["x-api-key: {}", "authorization: Bearer {}"])
async def test_an_upstream_of_bearers_gets_one_from_either_form(tmp_path: Path, form: str) -> None:
    toml = '[upstream]\nprofile = "onedim"'
    async with scripted_upstream(answer) as upstream, gateway(tmp_path, upstream.url, toml) as gate:
        header = form.format(OWN).encode() + b"\r\n"
        status, _, _ = await ask(gate.port, post(body(), headers=header))
    assert status == 200
    (heard,) = upstream.heard
    credentials = [
        (n.lower(), v) for n, v in heard.headers if n.lower() in ("x-api-key", "authorization")
    ]
    assert credentials == [("authorization", f"Bearer {OWN}")]


@pytest.mark.parametrize(
    ("policy", "sent", "status", "arrives"),
    [
        ("left", None, 200, []),
        ("left", "2026-10-21", 200, ["2026-10-21"]),
        ("required", None, 400, None),
        ("required", "2026-10-21", 200, ["2026-10-21"]),
        ("added", None, 200, ["2023-06-01"]),
        ("added", "2026-10-21", 200, ["2026-10-21"]),
        ("forced", None, 200, ["2023-06-01"]),
        ("forced", "2026-10-21", 200, ["2023-06-01"]),
    ],
)
async def test_the_version_is_as_the_upstream_wants_it(
    tmp_path: Path, policy: str, sent: str | None, status: int, arrives: list[str] | None
) -> None:
    toml = f'[upstream]\nversion_policy = "{policy}"\napi_version = "2023-06-01"'
    async with scripted_upstream(answer) as upstream, gateway(tmp_path, upstream.url, toml) as gate:
        header = b"" if sent is None else f"anthropic-version: {sent}\r\n".encode()
        code, _, said = await ask(gate.port, post(body(), headers=header))
        record = await gate.exchange()
    assert code == status
    if arrives is None:
        assert not upstream.heard
        assert json.loads(said)["error"]["type"] == "invalid_request_error"
        assert record["refused_by"]["rule"] == "version"
    else:
        (heard,) = upstream.heard
        assert [v for n, v in heard.headers if n.lower() == "anthropic-version"] == arrives


async def test_an_endpoint_that_it_lacks_is_a_404_and_goes_nowhere_else(tmp_path: Path) -> None:
    first = 'teams = ["translation"]\nprofile = "onedim"\ncredential = { env = "ONEDIM_KEY" }'
    async with two(tmp_path, first, 'credential = { env = "COMMON_KEY" }') as (gate, one, rest):
        request = post(
            body(), target="/v1/messages/count_tokens", headers=with_key(KEYS["translation"])
        )
        status, fields, said = await ask(gate.port, request)
        record = await gate.exchange()
        assert not one.heard
        assert not rest.heard
    assert status == 404
    assert json.loads(said)["error"]["type"] == "not_found_error"
    assert dict(fields)["x-should-retry"] == "false"
    assert record["refused_by"] == {"plugin": "gateway", "rule": "endpoint", "pointer": ""}
    assert (record["dispatched"], record["upstream"]) == (False, None)


async def test_a_model_that_no_upstream_takes_is_a_404(tmp_path: Path) -> None:
    async with scripted_upstream(answer) as upstream:
        toml = f'[[upstreams]]\nname = "a"\nurl = "{upstream.url}"\nmodels = ["claude-opus-*"]'
        async with gateway(tmp_path, None, toml) as gate:
            status, _, said = await ask(gate.port, post(body("claude-haiku-4-5")))
            assert (await ask(gate.port, post(body("claude-opus-5"))))[0] == 200
            record, _ = await gate.exchanges(2)
    assert status == 404
    assert json.loads(said)["error"]["message"].startswith("model: claude-haiku-4-5")
    assert record["refused_by"]["rule"] == "no_upstream"
    assert len(upstream.heard) == 1


async def test_who_is_not_judged_here_never_uses_a_credential_of_ours(tmp_path: Path) -> None:
    """`forward` lets anybody in for the upstream to judge; then it must be the upstream that does."""
    first = 'models = ["claude-opus-*"]\ncredential = { env = "COMMON_KEY" }'
    async with two(tmp_path, first, forward=True) as (gate, one, rest):
        refused, _, said = await ask(
            gate.port, post(body("claude-opus-5"), headers=with_key("made-up"))
        )
        forwarded, _, _ = await ask(gate.port, post(body(), headers=with_key(OWN)))
        with_ours, _, _ = await ask(
            gate.port, post(body("claude-opus-5"), headers=with_key(KEYS["web"]))
        )
        record = (await gate.exchanges(3))[0]
    assert (refused, forwarded, with_ours) == (401, 200, 200)
    assert json.loads(said)["error"]["type"] == "authentication_error"
    assert record["refused_by"]["rule"] == "credential_not_forwarded"
    assert [heard.header("x-api-key") for heard in one.heard] == ["upstream-common"]
    assert [heard.header("x-api-key") for heard in rest.heard] == [OWN]


STREAM = (
    b'event: message_start\ndata: {"type":"message_start","message":{"model":"m","usage":%s}}\n\n'
    b'event: message_delta\ndata: {"type":"message_delta","delta":{},"usage":{"output_tokens":3}}\n\n'
    b'event: message_delta\ndata: {"type":"message_delta","delta":{"stop_reason":"end_turn"}%s}\n\n'
    b'event: message_stop\ndata: {"type":"message_stop"}\n\n'
)


@pytest.mark.parametrize(
    ("usage", "start", "end", "source", "counted"),
    [
        ("cumulative", b'{"input_tokens":7,"output_tokens":1}', b',"usage":{"output_tokens":9}', "final", (7, 9)),
        ("increments", b'{"input_tokens":7,"output_tokens":1}', b',"usage":{"output_tokens":9}', "final", (7, 13)),
        ("cumulative", b'{"input_tokens":0,"output_tokens":0}', b',"usage":{"input_tokens":7,"output_tokens":9}', "final", (7, 9)),
        ("cumulative", b'{"input_tokens":0,"output_tokens":0}', b',"usage":{"output_tokens":0}', "none", (0, 0)),
    ],
    ids=["cumulative", "increments", "zero at first", "nothing but zeros"],
)  # fmt: skip
async def test_usage_is_read_as_the_provider_means_it(
    tmp_path: Path, usage: str, start: bytes, end: bytes, source: str, counted: tuple[int, int]
) -> None:
    async def stream(call: Call) -> None:
        await call.answer(STREAM % (start, end), content_type="text/event-stream")

    toml = f'[upstream]\nusage = "{usage}"'
    async with scripted_upstream(stream) as upstream, gateway(tmp_path, upstream.url, toml) as gate:
        await ask(gate.port, post(body(stream=True)))
        record = await gate.exchange()
    assert record["usage_source"] == source
    assert (record["usage"]["input"], record["usage"]["output"]) == counted


async def test_an_error_with_200_is_not_booked_as_a_success(tmp_path: Path) -> None:
    said = b'{"error":{"message":"no balance","type":"new_api_error","code":"x"}}'

    async def fail(call: Call) -> None:
        await call.answer(said)

    async with scripted_upstream(fail) as upstream, gateway(tmp_path, upstream.url) as gate:
        status, _, got = await ask(gate.port, post(body()))
        record = await gate.exchange()
    assert (status, got) == (200, said)
    assert (record["outcome"], record["error_type"]) == ("upstream_error", "new_api_error")
