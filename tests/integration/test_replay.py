"""`tidegate policy replay`: what another configuration would have decided about real records."""

import asyncio
import json
import os
from pathlib import Path
from typing import Any

import pytest

from redacting import rules_dir
from support.gateway import gateway
from support.raw import ask, post
from tidegate import cli
from tidegate.journal.writer import Writer
from tidegate.keys import digest, new_key
from tidegate.record import Bytes, PrincipalRecord, RefusedBy, Shape
from tidegate.testing import FakeClock, make_record
from tidegate.testing.upstream import Call, scripted_upstream

KEY = new_key()
NOW = f"""
[[plugins]]
use = "identify"
[plugins.config]
keys = [{{ id = "ci", team = "search", sha256 = "{digest(KEY)}" }}]
[[plugins]]
use = "models"
[plugins.config]
allow = ["claude-haiku-*"]
[[plugins]]
use = "limits"
[plugins.config]
max_tokens = 1000
teams.search.over = "clamp"
effort = "high"
[[plugins]]
use = "redact"
[plugins.config]
action = "block"
cache_dir = "{rules_dir()}"
"""
SECRET = "AKIA" + "QYLPMN5HFIQR7XYA"


def body(model: str = "claude-haiku-5-5", **fields: Any) -> bytes:
    said = [{"role": "user", "content": fields.pop("content", "the plan")}]
    return json.dumps({"model": model, "max_tokens": 64, "messages": said, **fields}).encode()


BODIES = (
    body(),
    body(max_tokens=5000),
    body("claude-opus-5-5"),
    body(output_config={"effort": "max"}),
    body(fallbacks=[{"model": "claude-sonnet-4-6"}]),
    body(content=SECRET),
    b'{"model": 5}',
)


async def answer(call: Call) -> None:
    await call.answer(b"{}")


async def traffic(directory: Path) -> None:
    async with scripted_upstream(answer) as upstream, gateway(directory, upstream.url, NOW) as gate:
        headers = f"x-api-key: {KEY}\r\n".encode()
        for raw in BODIES:
            await ask(gate.port, post(raw, headers=headers))
        await ask(gate.port, post(body(), headers=b"x-api-key: nobody\r\n"))
        target = b"GET /v1/models/claude-opus-5-5 HTTP/1.1\r\nHost: x\r\n"
        await ask(gate.port, target + headers + b"\r\n")
        await gate.exchanges(len(BODIES) + 2)


@pytest.fixture(scope="module")
def journal(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("journal")
    asyncio.run(traffic(directory))
    return directory


@pytest.fixture
def replay(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    def run(directory: Path, config: str, *more: str) -> dict[str, Any]:
        (tmp_path / "next.toml").write_text(config)
        arguments = ["--config", str(tmp_path / "next.toml"), "--dir", str(directory)]
        assert cli.main(["policy", "replay", *arguments, "--json", *more]) == 0
        found: dict[str, Any] = json.loads(capsys.readouterr().out)
        return found

    return run


def told(report: dict[str, Any]) -> set[tuple[str, str, str, str]]:
    return {(d["what"], d["model"], d["before"], d["after"]) for d in report["differences"]}


KEPT = {
    "refused by the gateway itself (body)": 1,
    "refused by identify: who it was is not known": 1,
    "refused by redact: what it would say is not known": 1,
}


def test_the_same_configuration_decides_the_same(journal: Path, replay) -> None:
    report = replay(journal, NOW)

    assert report["differences"] == []
    assert report["undecided"] == KEPT
    assert (report["exchanges"], report["same"]) == (9, 6)
    assert report["not_asked"] == {"redact": 3}


def test_differences_are_told_by_rule(journal: Path, replay) -> None:
    changed = NOW.replace('"claude-haiku-*"', '"claude-opus-*"').replace("1000", "500")

    report = replay(journal, changed)

    haiku, opus = "claude-haiku-5-5", "claude-opus-5-5"
    assert told(report) == {
        ("refused", haiku, "leaves", "models:not_allowed"),
        ("admitted", opus, "models:not_allowed", "leaves"),
        ("admitted", "model", "models:not_allowed", "leaves"),
        ("other_rule", haiku, "limits:effort", "models:not_allowed"),
        ("other_rule", haiku, "redact:aws-access-key-id", "models:not_allowed"),
    }
    refused = next(d for d in report["differences"] if d["what"] == "refused")
    ids = [
        json.loads(line)["id"]
        for p in journal.glob("w0*")
        for line in p.read_text().splitlines()
        if "exchange" in line[:20]
    ]
    assert refused["count"] == 2
    assert refused["team"] == "search"
    assert set(refused["examples"]) <= set(ids)


def test_what_would_leave_otherwise_and_what_shadows_say(journal: Path, replay) -> None:
    changed = NOW.replace("1000", "500") + (
        '[[plugins]]\nuse = "limits"\nname = "strict"\nmode = "shadow"\nconfig.max_tokens = 1\n'
    )
    order = changed.index('[[plugins]]\nuse = "redact"')
    changed = (
        changed[:order]
        + changed[changed.rindex("[[plugins]]") :]
        + changed[order : changed.rindex("[[plugins]]")]
    )

    report = replay(journal, changed)

    assert ("changed", "claude-haiku-5-5", "max_tokens 1000", "max_tokens 500") in told(report)
    assert ("shadow", "claude-haiku-5-5", "leaves", "strict:max_tokens") in told(report)


def test_only_what_is_recent_enough_is_read(journal: Path, replay) -> None:
    assert replay(journal, NOW, "--since", "2999-01-01")["exchanges"] == 0
    assert replay(journal, NOW, "--since", "1h")["exchanges"] == 9


def test_people_get_a_table(
    journal: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "next.toml").write_text(NOW.replace("claude-haiku-*", "claude-opus-*"))

    code = cli.main(
        ["policy", "replay", "--config", str(tmp_path / "next.toml"), "--dir", str(journal)]
    )

    text = capsys.readouterr().out
    assert code == 0
    assert "went through, and would be refused: 2" in text
    assert "search       claude-haiku-5-5             leaves → models:not_allowed" in text
    assert "redact cannot be asked" in text


# records as they may be


def written(directory: Path, *records: Any, tail: bytes = b"") -> Path:
    directory.mkdir()
    writer = Writer(directory, "w0-1", FakeClock())
    for record in records:
        writer.append(record)
    writer.close()
    with next(directory.glob("w0-1*")).open("ab") as file:
        file.write(tail)
    return directory


OUTLINE = {"model": "claude-haiku-5-5", "max_tokens": 64}


def old(**fields: Any) -> Any:
    defaults: dict[str, Any] = {
        "principal": PrincipalRecord("ana", "web"),
        "shape": Shape(max_tokens=64, messages=1, outline=OUTLINE),
    }
    return make_record(**{**defaults, **fields})


def test_what_is_not_known_is_counted(tmp_path: Path, replay) -> None:
    directory = written(
        tmp_path / "journal",
        old(id="tg_1", shape=Shape(max_tokens=64, messages=1)),
        old(id="tg_2", route="tomorrow"),
        old(id="tg_3", route="probe", dispatched=False),
        old(id="tg_4", dispatched=False, outcome="client_gone"),
        old(id="tg_5", dispatched=False, outcome="refused", refused_by=RefusedBy("quota", "month")),
        tail=b'{"kind":"exchange","v":1}\n',
    )
    config = NOW[NOW.index('[[plugins]]\nuse = "models"') :]

    report = replay(directory, config, "--since", "2000-01-01")

    assert report["undecided"] == {
        "too little is recorded of it (route messages)": 1,
        "too little is recorded of it (route tomorrow)": 1,
        "answered here, or broken off before it could leave": 1,
    }
    assert told(report) == {("admitted", "claude-sonnet-4-6", "quota:month", "leaves")}
    assert report["unreadable"] == 1


def test_a_body_that_would_be_too_large_is_refused(tmp_path: Path, replay) -> None:
    directory = written(tmp_path / "journal", old(id="tg_1", bytes=Bytes(request_in=5000)))
    config = "[listen]\nmax_body_bytes = 4096"

    report = replay(directory, config, "--since", "2000-01-01")

    (difference,) = report["differences"]
    assert difference["after"] == "gateway:body_too_large"


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--since", "yesterday"], "--since: 'yesterday' is no time; write 7d"),
        (["--dir", os.devnull], "is no directory"),
    ],
)
def test_mistakes_are_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], complaint: str
) -> None:
    (tmp_path / "next.toml").write_text("")

    code = cli.main(["policy", "replay", "--config", str(tmp_path / "next.toml"), *arguments])

    assert code == 2
    assert complaint in capsys.readouterr().err
