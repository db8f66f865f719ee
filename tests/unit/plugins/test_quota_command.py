"""`tidegate quota show`, and what `tidegate check` warns of."""

import asyncio
import json
from datetime import UTC
from pathlib import Path
from typing import Any

import pytest

from tidegate.check import check
from tidegate.cli import main
from tidegate.clock import SystemClock
from tidegate.record import GaugeRecord, PolicyVitals, encode
from tidegate.testing import make_vitals
from tidegate_plugins.quota.stores import Charge, Take
from tidegate_plugins.quota.stores.sqlite import SqliteStore
from tidegate_plugins.quota.windows import Always, Calendar

TOML = """
[journal]
dir = "{folder}"
[[plugins]]
use = "quota"
[plugins.config]
store = "{store}"
limits = [
  {{ name = "team-day", scope = "team", per = "day", usd = 2.5 }},
  {{ name = "streams", scope = ["team", "key"], concurrent = 3 }},
]
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    return written(tmp_path, "sqlite")


def written(folder: Path, store: str, more: str = "") -> Path:
    path = folder / "tidegate.toml"
    path.write_text(more + TOML.format(folder=folder, store=store))
    return path


def use(folder: Path) -> None:
    """Let two teams use something; of one a request still runs."""

    async def run() -> None:
        store = SqliteStore(folder / "quota.sqlite", SystemClock(), 5)
        day, always = Calendar("day", UTC), Always()
        for team, ends in (("search", True), ("web", True), ("web", False)):
            takes = [
                Take(f"quota/team-day/usd/day/team={team}", day, 10**9, 10**10),
                Take(f"quota/streams/concurrent/always/team={team},key=a%2Fb%20c", always, 1, 3),
            ]
            reply = await store.reserve(f"{team}-{ends}", takes, 1000)
            if ends:
                charge = Charge(takes[0].counter, reply.slots[0].dies, 1_500_000_000)
                await store.settle(f"{team}-{ends}", [charge])
        await store.close()

    asyncio.run(run())


def shown(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert main(["quota", "show", *arguments]) == 0
    return capsys.readouterr().out


def test_a_table(config: Path, capsys: pytest.CaptureFixture[str]):
    assert shown(capsys, "--config", str(config)) == "Nothing is used or reserved.\n"
    use(config.parent)
    lines = [line.split() for line in shown(capsys, "--config", str(config)).splitlines()]

    assert [line[:-1] for line in lines[2:]] == [
        ["team-day", "(USD)", "team", "search", "1.50", "0.00", "1.00", "2.50"],
        ["team-day", "(USD)", "team", "web", "1.50", "1.00", "0.00", "2.50"],
    ]
    assert lines[1] == [
        "streams",
        "(concurrent)",
        "team",
        "web,",
        "key",
        "a/b",
        "c",
        "0",
        "1",
        "2",
        "3",
    ]
    assert lines[2][-1].endswith("T00:00:00Z")


def test_one_team(config: Path, capsys: pytest.CaptureFixture[str]):
    use(config.parent)
    rows = json.loads(shown(capsys, "--config", str(config), "--team", "web", "--json"))

    assert [(row["limit"], row["used"], row["reserved"], row["left"]) for row in rows] == [
        ("streams", 0, 1, 2),
        ("team-day", 1_500_000_000, 10**9, 0),
    ]


def told(folder: Path, worker: int, used: float) -> bytes:
    labels = {"limit": "team-day", "measure": "usd", "subject": "team=search"}
    values = {
        "quota_limit": 2.5,
        "quota_used": used,
        "quota_reserved": 0.25,
        "quota_reset_timestamp_seconds": 1_795_046_400.0,
    }
    gauges = tuple(GaugeRecord(name, labels, value) for name, value in values.items())
    policy = PolicyVitals("quota", True, "", gauges)
    return encode(make_vitals(worker=worker, at=1000.0 + used, policies=(policy,)))


def test_memory_is_what_the_workers_have_told_last(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    config = written(tmp_path, "memory")
    lines = [
        told(tmp_path, 0, 1.0),
        told(tmp_path, 0, 1.5),
        told(tmp_path, 1, 0.5),
        b'{"torn "vitals',
    ]
    (tmp_path / "w0-1.000000.jsonl").write_bytes(b"".join(lines))

    rows: list[dict[str, Any]] = json.loads(shown(capsys, "--config", str(config), "--json"))

    found = [(row["worker"], row["used"], row["left"], row["resets"]) for row in rows]
    assert sorted(found) == [
        (0, 1_500_000_000, 750_000_000, "2026-11-19T00:00:00Z"),
        (1, 500_000_000, 1_750_000_000, "2026-11-19T00:00:00Z"),
    ]
    table = shown(capsys, "--config", str(config)).splitlines()
    assert table[0].split() == ["LIMIT", "WHO", "USED", "RESERVED", "LEFT", "OF", "RESETS"]
    assert table[1].split()[-5:] == ["1.50", "0.25", "0.75", "2.50", "2026-11-19T00:00:00Z"]
    assert "team search (worker 0)" in table[1]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", 'has no [[plugins]] use = "quota"'),
        ("x = ", "Invalid value"),
        ('[[plugins]]\nuse = "quota"\nconfig.limits = []', "limits"),
    ],
)
def test_what_is_wrong_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, said: str
):
    path = tmp_path / "t.toml"
    path.write_text(text)

    assert main(["quota", "show", "--config", str(path)]) == 2
    assert said in capsys.readouterr().err


def test_check_warns_of_memory_in_many_workers(tmp_path: Path):
    text = written(tmp_path, "memory", "[listen]\nworkers = 4\n").read_text()
    _, warnings = check(text)
    assert [w.path for w in warnings] == ["plugins.quota"]
    assert "4 workers alone" in warnings[0].message

    assert check(written(tmp_path, "memory").read_text())[1] == []


def test_check_warns_of_a_store_that_does_not_answer(tmp_path: Path):
    text = written(tmp_path, "redis://127.0.0.1:1/0").read_text()

    _, warnings = check(text)

    assert "no connection" in warnings[0].message
