"""Content is kept only after redaction, bounded, in files of its own; or not at all."""

import asyncio
import contextlib
import json
import os
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from redacting import github, rules_dir
from support.gateway import Gateway, gateway
from support.raw import ask, post
from tidegate.cli import main
from tidegate.clock import SystemClock
from tidegate.errors import ConfigError
from tidegate.exchange import Principal
from tidegate.journal.keeper import Keeper
from tidegate.journal.reader import segments
from tidegate.journal.recovery import recover
from tidegate.journal.retention import Limits
from tidegate.journal.show import records_of
from tidegate.journal.verify import verify
from tidegate.testing.upstream import Call, scripted_upstream

ASKED, ANSWERED, KEYED = (github(name) for name in ("asked", "answered", "keyed"))
REQUEST: dict[str, Any] = {
    "model": "claude-x",
    "max_tokens": 5,
    "system": f"The token is {ASKED}.",
    "messages": [
        {"role": "user", "content": [
            {"type": "text", "text": f"look at https://example.invalid/?t={ASKED}"},
            {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "iVBORw0K" * 40}},
        ]},
        {"role": "assistant", "content": [
            {"type": "thinking", "thinking": f"hm, {ASKED}", "signature": "c2ln" * 30},
            {"type": "tool_use", "id": "toolu_1", "name": "bash", "input": {KEYED: 1}},
        ]},
        {"role": "user", "content": "go on"},
    ],
}  # fmt: skip
ANSWER = {
    "type": "message",
    "model": "claude-x",
    "content": [{"type": "text", "text": f"It is {ANSWERED}, really"}],
    "usage": {"input_tokens": 1, "output_tokens": 2},
}


def toml(journal: str = "", redact: str = "", plugin: str = "") -> str:
    return f"""
[journal]
content = "redacted"
{journal}
[[plugins]]
use = "redact"
{plugin}
[plugins.config]
cache_dir = "{rules_dir()}"
{redact}
"""


async def answer(call: Call) -> None:
    await call.answer(json.dumps(ANSWER).encode())


async def content(gate: Gateway, count: int = 1) -> list[dict[str, Any]]:
    async with asyncio.timeout(20):
        while len(found := gate.records("content")) < count:
            await asyncio.sleep(0.005)
    return found


def written(directory: Path) -> bytes:
    return b"".join(path.read_bytes() for path in directory.glob("*.jsonl"))


async def test_what_is_kept_holds_no_secret_wherever_it_stood(tmp_path: Path) -> None:
    async with (
        scripted_upstream(answer) as upstream,
        gateway(tmp_path, upstream.url, toml()) as gate,
    ):
        status, _, body = await ask(gate.port, post(json.dumps(REQUEST).encode()))
        assert (status, json.loads(body)) == (200, ANSWER)
        (kept,) = await content(gate)
        exchange = await gate.exchange()
    for secret in (ASKED, ANSWERED, KEYED):
        assert secret.encode() not in written(tmp_path)
    assert kept["id"] == exchange["id"]
    assert kept["missing"] == []
    request, response = kept["request"], kept["response"]
    assert request["system"].startswith("The token is [REDACTED:github-token:")
    first, second, third = request["messages"]
    assert first["content"][0]["text"].startswith("look at https://example.invalid/?t=[REDACTED:")
    assert first["content"][1]["source"]["data"] == "[320 characters]"
    assert second["content"][0]["thinking"].startswith("hm, [REDACTED:")
    assert second["content"][0]["signature"] == "[120 characters]"
    assert [key.split(":")[0] for key in second["content"][1]["input"]] == ["[REDACTED"]
    assert third == REQUEST["messages"][2]
    (block,) = response["content"]
    assert block["text"].startswith("It is [REDACTED:github-token:")
    assert block["text"].endswith("], really")
    assert response["usage"] == ANSWER["usage"]
    assert {path.name.split("-")[0] for path in tmp_path.glob("*.jsonl")} == {"w0", "content"}
    kinds = [record["kind"] for record in records_of(tmp_path, exchange["id"])]
    assert kinds == ["intent", "exchange", "inspection", "content"]
    assert verify(tmp_path).sound


async def test_by_default_nothing_is_kept(tmp_path: Path) -> None:
    chain = toml().replace('content = "redacted"', "")
    async with (
        scripted_upstream(answer) as upstream,
        gateway(tmp_path, upstream.url, chain) as gate,
    ):
        await ask(gate.port, post(json.dumps(REQUEST).encode()))
        await gate.exchange()
    assert gate.records("content") == []
    assert b"go on" not in written(tmp_path)


async def test_what_does_not_fit_is_left_out_whole(tmp_path: Path) -> None:
    """Half a secret at a cut would not be recognized."""
    long = REQUEST | {"messages": [{"role": "user", "content": "x" * 900}] * 3 + [
        {"role": "user", "content": "the last"},
    ]}  # fmt: skip
    async with (
        scripted_upstream(answer) as upstream,
        gateway(tmp_path, upstream.url, toml("content_max_bytes = 1200")) as gate,
    ):
        await ask(gate.port, post(json.dumps(long).encode()))
        (kept,) = await content(gate)
    assert [m["content"][:8] for m in kept["request"]["messages"]] == ["xxxxxxxx", "the last"]
    assert kept["missing"] == ["request: 2 messages"]


@pytest.mark.parametrize(
    ("redact", "plugin"),
    [('action = "detect"', ""), ('action = "off"', ""), ("", 'mode = "shadow"'), ("", 'mode = "off"')],
)  # fmt: skip
async def test_without_a_policy_that_redacts_it_does_not_start(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], redact: str, plugin: str
) -> None:
    config = toml("", redact, plugin)
    with pytest.raises(ConfigError, match=r'journal.content: "redacted" needs a policy'):
        async with gateway(tmp_path / "j", "http://127.0.0.1:9", config):
            pass
    path = tmp_path / "tidegate.toml"
    path.write_text(config)
    assert await asyncio.to_thread(main, ["check", str(path)]) == 2
    assert "journal.content" in capsys.readouterr().err


class Fails:
    """A redactor that cannot do it."""

    redacts = True

    async def clean(self, document: Mapping[str, Any], principal: Principal) -> dict[str, Any]:
        raise ValueError(f"no: {document}")


async def test_what_cannot_be_redacted_is_not_kept(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with (
        scripted_upstream(answer) as upstream,
        gateway(tmp_path, upstream.url, toml()) as gate,
    ):
        (link,) = gate.plane.generation.redactors
        with contextlib.ExitStack() as stack:
            patched = stack.enter_context(pytest.MonkeyPatch.context())
            patched.setattr(type(link.policy), "clean", Fails.clean)
            await ask(gate.port, post(json.dumps(REQUEST).encode()))
            (kept,) = await content(gate)
    assert (kept["request"], kept["response"]) == (None, None)
    assert kept["missing"] == ["request: not_redacted", "response: not_redacted"]
    assert "go on" not in caplog.text


async def test_content_has_a_retention_of_its_own(tmp_path: Path) -> None:
    async with (
        scripted_upstream(answer) as upstream,
        gateway(tmp_path, upstream.url, toml()) as gate,
    ):
        await ask(gate.port, post(json.dumps(REQUEST).encode()))
        await content(gate)
    keeper = Keeper(tmp_path, SystemClock(), Limits(days=30))
    keeper.content_limits = Limits(days=7)
    for segment in segments(tmp_path):
        old = SystemClock().now() - 10 * 86_400
        os.utime(segment.path, (old, old))
    keeper.tidy()
    assert {segment.writer for segment in segments(tmp_path)} == {"w0-1"}
    assert verify(tmp_path).sound
    assert recover(tmp_path, SystemClock()) == 0


@pytest.fixture(autouse=True)
async def _no_task_is_left() -> AsyncIterator[None]:
    yield
    assert asyncio.all_tasks() == {asyncio.current_task()}
