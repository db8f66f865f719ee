"""A second configuration beside the live one: it tells differences, and changes nothing."""

import asyncio
import json
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from support.gateway import Gateway, gateway
from support.raw import ask, post
from tidegate import cli
from tidegate.config import Config
from tidegate.errors import ConfigError
from tidegate.keys import digest, new_key
from tidegate.pipeline.host import Link
from tidegate.pipeline.shadow import MAX_PENDING, Course, Job, Shadow
from tidegate.pipeline.timeout import Timeout
from tidegate.plugin import ADMIT, Refuse, Stage
from tidegate.record import ShadowDifference
from tidegate.testing import FakeClock, make_exchange, make_request
from tidegate.testing.upstream import Call, scripted_upstream

KEY, OTHER = new_key(), new_key()


def chain(*, allow: str = "claude-haiku-*", max_tokens: int = 1000, team: str = "search") -> str:
    return f"""
[[plugins]]
use = "identify"
[plugins.config]
keys = [{{ id = "ci", team = "{team}", sha256 = "{digest(KEY)}" }}]
[[plugins]]
use = "models"
[plugins.config]
allow = ["{allow}"]
[[plugins]]
use = "limits"
[plugins.config]
max_tokens = {max_tokens}
over = "clamp"
effort = "high"
"""


def body(model: str = "claude-haiku-5-5", **fields: Any) -> bytes:
    return json.dumps({"model": model, "max_tokens": 500, "messages": [], **fields}).encode()


async def answer(call: Call) -> None:
    await call.answer(b'{"it":"is"}')


async def shadows(gate: Gateway, count: int) -> list[dict[str, Any]]:
    async with asyncio.timeout(10):
        while len(found := gate.records("shadow")) < count:
            await asyncio.sleep(0.005)
    return found


def shadowed(tmp_path: Path, candidate: str, live: str = "") -> str:
    (tmp_path / "next.toml").write_text(candidate)
    return f'{live or chain()}\n[shadow]\nconfig = "{tmp_path / "next.toml"}"\n'


DIFFERENCES = {
    "refused": (chain(allow="claude-opus-*"), body(), "leaves", "models:not_allowed"),
    "admitted": (chain(allow="*"), body("claude-opus-5-5"), "models:not_allowed", "leaves"),
    "other_rule": (
        chain(allow="claude-opus-*"), body(output_config={"effort": "max"}), "limits:effort", "models:not_allowed",
    ),
    "identity": (chain(team="web"), body(), "ci of search", "ci of web"),
    "changed": (chain(max_tokens=100), body(), "claude-haiku-5-5 500", "claude-haiku-5-5 100"),
}  # fmt: skip


@pytest.mark.parametrize("what", DIFFERENCES)
async def test_a_difference_is_recorded_and_changes_nothing(tmp_path: Path, what: str) -> None:
    candidate, raw, live, other = DIFFERENCES[what]
    headers = f"x-api-key: {KEY}\r\n".encode()
    async with scripted_upstream(answer) as upstream:
        async with gateway(tmp_path / "a", upstream.url, chain()) as gate:
            status, _, plain = await ask(gate.port, post(raw, headers=headers))
        toml = shadowed(tmp_path, candidate)
        async with gateway(tmp_path / "b", upstream.url, toml) as gate:
            again, _, shadow = await ask(gate.port, post(raw, headers=headers))
            (record,) = await shadows(gate, 1)
            exchange = await gate.exchange()
        bodies = {call.body for call in upstream.heard}
    assert (status, plain.partition(b"tg_")[0]) == (again, shadow.partition(b"tg_")[0])
    assert bodies <= {raw}
    assert (record["what"], record["live"], record["candidate"]) == (what, live, other)
    assert record["id"] == exchange["id"]
    assert record["principal"] == {"id": "ci", "team": "search"}
    assert {decision["mode"] for decision in record["decisions"]} == {"shadow_config"}
    assert {decision["mode"] for decision in exchange["decisions"]} == {"enforce"}


async def test_what_is_the_same_is_not_recorded(tmp_path: Path) -> None:
    toml = shadowed(tmp_path, chain())
    headers = f"x-api-key: {KEY}\r\n".encode()
    async with scripted_upstream(answer) as upstream, gateway(tmp_path, upstream.url, toml) as gate:
        for raw in (body(), body("claude-opus-5-5"), body(max_tokens=9000)):
            await ask(gate.port, post(raw, headers=headers))
        await ask(gate.port, post(body(), headers=f"x-api-key: {OTHER}\r\n".encode()))
        await gate.exchanges(4)
    assert gate.records("shadow") == []


async def test_where_it_runs_is_another_thread(tmp_path: Path) -> None:
    toml = shadowed(tmp_path, chain())
    before = {thread.name for thread in threading.enumerate()}
    async with scripted_upstream(answer) as upstream, gateway(tmp_path, upstream.url, toml):
        assert "shadow" in {thread.name for thread in threading.enumerate()} - before
    for thread in threading.enumerate():
        if thread.name == "shadow":
            thread.join(5)
    assert "shadow" not in {thread.name for thread in threading.enumerate()}


# files that are no good

BROKEN = {
    "no file": (None, "nowhere.toml: No such file or directory"),
    "toml": ("[[", "toml: "),
    "unknown plugin": ('[[plugins]]\nuse = "modles"', "plugins[0].use: no plugin `modles`"),
    "a plugin refuses": ('[[plugins]]\nuse = "models"\nconfig.allow = ["a b"]', "is not a model id or glob"),
    "its own shadow": ('[shadow]\nconfig = "x"', "has a [shadow] of its own"),
}  # fmt: skip


@pytest.mark.parametrize(("text", "complaint"), BROKEN.values(), ids=BROKEN)
async def test_a_broken_file_is_told(tmp_path: Path, text: str | None, complaint: str) -> None:
    toml = shadowed(tmp_path, text or "")
    if text is None:
        toml = '[shadow]\nconfig = "nowhere.toml"'

    with pytest.raises(ConfigError) as caught:
        async with gateway(tmp_path / "journal", "http://127.0.0.1:9", toml):
            pass

    (problem,) = caught.value.problems
    assert str(problem).startswith("shadow.config")
    assert complaint in str(problem)


@pytest.mark.parametrize(("text", "complaint"), BROKEN.values(), ids=BROKEN)
def test_check_tells_it_too(
    tmp_path: Path, text: str | None, complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    toml = shadowed(tmp_path, text or "")
    if text is None:
        toml = '[shadow]\nconfig = "nowhere.toml"'
    (tmp_path / "live.toml").write_text(toml)

    assert cli.main(["check", str(tmp_path / "live.toml")]) == 2
    said = capsys.readouterr().err
    assert "error: shadow.config" in said
    assert complaint in said


def test_check_accepts_a_good_one(tmp_path: Path) -> None:
    (tmp_path / "live.toml").write_text(shadowed(tmp_path, chain(allow="*")))

    assert cli.main(["check", str(tmp_path / "live.toml")]) == 0


# chains that misbehave


class Scripted:
    def __init__(self, act: Any) -> None:
        self.act = act

    async def admit(self, exchange: Any, request: Any) -> Any:
        result = self.act()
        return await result if asyncio.iscoroutine(result) else result


def plugin(stage: Stage = Stage.AUTHORIZE) -> Any:
    return SimpleNamespace(spec=SimpleNamespace(stage=stage))


async def opened(act: Any, told: list[ShadowDifference], *stages: Stage) -> Shadow:
    async def open_policy(link: Any, config: Any, stack: Any, clock: Any) -> Link:
        timeout = Timeout(0.05)
        return Link(name="p", policy=Scripted(act), stage=link.spec.stage, timeout=timeout)

    chosen = [plugin(stage) for stage in stages or (Stage.AUTHORIZE,)]
    shadow = await Shadow.open(Config(), chosen, FakeClock(), open_policy)
    shadow.report = told.append
    return shadow


def job() -> Job:
    live = Course("leaves", "none", "anonymous", (), "claude-sonnet-4-6", 1024)
    return Job(make_exchange(), make_request(), live, "live", 0)


async def test_one_that_raises_or_waits_is_a_difference(caplog: pytest.LogCaptureFixture) -> None:
    told: list[ShadowDifference] = []
    for act in (lambda: 1 / 0, lambda: asyncio.sleep(60), lambda: None):
        shadow = await opened(act, told)
        shadow.compare(job())
        await shadow.close()
    assert [(t.what, t.candidate) for t in told] == [
        ("refused", "p:error"), ("refused", "p:timeout"), ("refused", "p:error"),
    ]  # fmt: skip


async def test_one_that_burns_does_not_hold_the_loop() -> None:
    """The live loop goes on turning while a shadow policy keeps its own thread busy."""
    told: list[ShadowDifference] = []
    go = threading.Event()
    shadow = await opened(lambda: go.wait(10) and ADMIT, told)
    shadow.compare(job())
    turns = 0
    while turns < 100:  # would stand still if the policy had this loop
        await asyncio.sleep(0)
        turns += 1
    assert not go.is_set()
    go.set()
    await shadow.close()
    assert told == []


async def test_no_more_than_some_wait_and_the_rest_is_told() -> None:
    told: list[ShadowDifference] = []
    go = threading.Event()
    shadow = await opened(lambda: go.wait(10) and ADMIT, told)
    for _ in range(MAX_PENDING + 3):
        shadow.compare(job())
    assert [t.what for t in told] == ["not_evaluated"] * 3
    go.set()
    await shadow.close()
    assert len(told) == 3


async def test_what_takes_something_is_not_opened() -> None:
    told: list[ShadowDifference] = []
    refuse = Refuse(status=429, error_type="rate_limit_error", message="no", rule="spent")
    shadow = await opened(lambda: refuse, told, Stage.RESERVE)
    shadow.compare(job())
    await shadow.close()
    assert told == []


async def test_closing_does_not_wait_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tidegate.pipeline.shadow.CLOSE_S", 0.05)
    go = threading.Event()
    shadow = await opened(lambda: go.wait(30) and ADMIT, [])
    shadow.compare(job())
    await shadow.close()
    assert not go.is_set()
    go.set()
