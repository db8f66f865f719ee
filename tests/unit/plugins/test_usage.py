"""Local usage: each exchange is counted once, whatever dies when; sums are the records' own."""

import asyncio
import csv
import io
import json
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from observed import SONNET, exchange, intent, refusal
from tidegate.cli import main
from tidegate.errors import PluginError, Unavailable
from tidegate.record import (
    DecisionRecord,
    EditRecord,
    ExchangeRecord,
    ModelRecord,
    PrincipalRecord,
    Timing,
    Usage,
)
from tidegate.testing import FakeClock, make_host
from tidegate_plugins import prices
from tidegate_plugins.usage import queries
from tidegate_plugins.usage.command import moment
from tidegate_plugins.usage.config import UsageConfig, database_path
from tidegate_plugins.usage.database import VERSION
from tidegate_plugins.usage.facts import bucket_of, clean, lower_bound_ms, model_of
from tidegate_plugins.usage.observer import UsageObserver
from tidegate_plugins.usage.queries import Span, percentile_ms
from tidegate_plugins.usage.view import RANGES, view

HOUR = 3600
NOW = 1_800_000_000.0 + 600
WHOLE = Span(0, NOW + HOUR)


@contextmanager
def opened(
    directory: Path, state: bytes = b"", *, clock: FakeClock | None = None, **config: Any
) -> Iterator[UsageObserver]:
    host = make_host(directory, name="usage", clock=clock or FakeClock(NOW), state=state)
    observer = UsageObserver(UsageConfig(**config), host)
    try:
        yield observer
    finally:
        observer.close()


def feed(observer: UsageObserver, *records: ExchangeRecord) -> bytes:
    async def run() -> bytes:
        for record in records:
            await observer.on_record(record)
        return await observer.flush()

    return asyncio.run(run())


def sums(directory: Path, *by: str, span: Span = WHOLE) -> list[dict[str, Any]]:
    with queries.reading(database_path(directory, "usage")) as db:
        return queries.sums(db, span, by)


def requests(directory: Path) -> int:
    return int(sums(directory)[0]["requests"])


# what is counted


def test_sums_are_those_of_the_records(tmp_path: Path) -> None:
    web = PrincipalRecord("ana", "web")
    records = [
        exchange(1),
        exchange(2, principal=web, usage=Usage(1, 2, 3, 4, 5), usage_source="partial"),
        exchange(3, principal=web, outcome="upstream_cut", usage=None, usage_source="none"),
        refusal(4),
    ]
    with opened(tmp_path) as observer:
        feed(observer, *records)
    cost = dict.fromkeys(("web", "search"), 0)
    for record in records:
        cost[record.principal.team or ""] += prices.load().cost(record).nano_usd
    found = {row["team"]: row for row in sums(tmp_path, "team")}
    shown = ("requests", "refused", "errors", "input", "cache_read", "cache_write_5m",
             "cache_write_1h", "output", "thinking", "partial", "redactions")  # fmt: skip
    assert {team: [row[name] for name in shown] for team, row in found.items()} == {
        # observed.exchange: Usage(10, 20, 30, 40, 51, thinking=7), one mask and one finding
        "search": [2, 1, 0, 10, 20, 30, 40, 51, 7, 0, 2],
        "web": [2, 0, 1, 1, 2, 3, 4, 5, 0, 1, 4],
    }
    assert {team: row["nano_usd"] for team, row in found.items()} == cost
    assert cost["search"] > 0


def test_minutes_and_hours_agree(tmp_path: Path) -> None:
    with opened(tmp_path) as observer:
        feed(observer, *(exchange(number) for number in range(0, 500, 7)))
    by_hour = sums(tmp_path, "team")
    assert sums(tmp_path, "team", span=Span(0, NOW + HOUR, 60)) == by_hour
    assert by_hour[0]["requests"] == 72


def test_an_exchange_belongs_to_the_moment_when_it_was_over(tmp_path: Path) -> None:
    start = NOW // HOUR * HOUR - 10
    with opened(tmp_path) as observer:
        feed(observer, exchange(1, at=start, timing_ms=Timing(total=30_000.0)))
    assert sums(tmp_path, span=Span(start + 10, NOW))[0]["requests"] == 1


def test_other_records_are_of_no_interest(tmp_path: Path) -> None:
    with opened(tmp_path) as observer:
        asyncio.run(observer.on_record(intent(1)))
        assert asyncio.run(observer.flush()) == b""
    assert not (tmp_path / "usage").exists()


@pytest.mark.parametrize(
    ("model", "shown"),
    [
        (ModelRecord("claude-a", "claude-a", "claude-a-20260101"), "claude-a-20260101"),
        (ModelRecord("claude-a", "claude-b", None), "claude-b"),
        (ModelRecord("<script>", None, None), "other"),
        (ModelRecord(), "none"),
        (ModelRecord("x", "x", "a\nb" + "c" * 500), "a\ufffdb" + "c" * 125),
    ],
)
def test_models_are_those_that_answered(model: ModelRecord, shown: str) -> None:
    assert model_of(exchange(1, model=model)) == shown


def test_redactions_are_counted_by_what_was_done(tmp_path: Path) -> None:
    record = exchange(
        1,
        edits=(EditRecord("/a", "aws", 4, 4, "redact"), EditRecord("/b", "clamp", 4, 4, "limits")),
        decisions=(
            DecisionRecord("redact", "jwt", "found", "enforce"),
            DecisionRecord("redact", "pem", "blocked", "enforce"),
            DecisionRecord("redact", "pem", "blocked", "shadow"),
            DecisionRecord("other", "jwt", "found", "enforce"),
        ),
    )
    with opened(tmp_path) as observer:
        feed(observer, record)
    with queries.reading(database_path(tmp_path, "usage")) as db:
        found = queries.reasons(db, WHOLE, HOUR, "redacted")
    assert {name: sum(counts.values()) for name, counts in found.items()} == {
        "mask: aws": 1,
        "detect: jwt": 1,
        "block: pem": 1,
    }


def test_usage_that_cannot_be_is_not_counted(tmp_path: Path) -> None:
    with opened(tmp_path) as observer:
        feed(observer, exchange(1, usage=Usage(output=2**70)), exchange(2, usage=Usage(input=-1)))
    (row,) = sums(tmp_path)
    assert (row["requests"], row["output"], row["input"], row["nano_usd"]) == (2, 0, 0, 0)


# once, and only once


def test_what_was_not_saved_comes_again_and_counts_once(tmp_path: Path) -> None:
    with opened(tmp_path) as observer:
        state = feed(observer, exchange(1), exchange(2))
        feed(observer, exchange(3))  # committed, but the core dies before it saves the state
        feed(observer, exchange(4), refusal(5))
    assert requests(tmp_path) == 5
    with opened(tmp_path, state) as observer:
        state = feed(observer, exchange(3))
        assert requests(tmp_path) == 3
        feed(observer, exchange(4), refusal(5))
    assert requests(tmp_path) == 5
    whole = tmp_path / "whole"
    whole.mkdir()
    with opened(whole) as observer:
        feed(observer, *(exchange(n) for n in (1, 2, 3, 4)), refusal(5))
    for table in ("usage", "reasons", "latency", "latest"):
        assert _rows(tmp_path, table) == _rows(whole, table)


def test_a_flush_that_fails_counts_nothing_and_is_tried_again(tmp_path: Path) -> None:
    with opened(tmp_path) as observer:
        feed(observer, exchange(1))
        held = sqlite3.connect(database_path(tmp_path, "usage"), isolation_level=None)
        held.execute("BEGIN EXCLUSIVE")
        assert observer._database is not None
        observer._database._connection.execute("PRAGMA busy_timeout = 10")
        with pytest.raises(Unavailable, match="locked"):
            feed(observer, exchange(2))
        held.execute("ROLLBACK")
        held.close()
        asyncio.run(observer.flush())
    assert requests(tmp_path) == 2


def test_nothing_new_writes_nothing(tmp_path: Path) -> None:
    with opened(tmp_path) as observer:
        state = feed(observer, exchange(1))
        assert feed(observer) == state
    with opened(tmp_path, state) as observer:
        assert feed(observer) == state


@pytest.mark.parametrize("damage", ["no state", "another", "not a database", "version"])
def test_a_database_that_does_not_fit_is_set_aside(tmp_path: Path, damage: str) -> None:
    path = database_path(tmp_path, "usage")
    with opened(tmp_path) as observer:
        state = feed(observer, exchange(1))
    if damage == "no state":
        state = b""
    elif damage == "another":
        state = state.replace(b'"database":"', b'"database":"x')
    elif damage == "version":
        connection = sqlite3.connect(path)
        connection.execute(f"PRAGMA user_version = {VERSION + 1}")
        connection.close()
    else:
        path.write_bytes(b"not a database at all" * 1000)
    with opened(tmp_path, state) as observer:
        feed(observer, exchange(2), exchange(3))
    assert requests(tmp_path) == 2
    assert path.with_suffix(".old.sqlite").exists()


def test_a_database_that_is_gone_begins_anew(tmp_path: Path) -> None:
    with opened(tmp_path) as observer:
        state = feed(observer, exchange(1))
    database_path(tmp_path, "usage").unlink()
    with opened(tmp_path, state) as observer:
        feed(observer, exchange(2))
    assert requests(tmp_path) == 1


def _rows(directory: Path, table: str) -> list[Any]:
    connection = sqlite3.connect(database_path(directory, "usage"))
    try:
        return connection.execute(f"SELECT * FROM {table} ORDER BY 1, 2, 3").fetchall()
    finally:
        connection.close()


# bounds


def test_old_minutes_and_hours_go(tmp_path: Path) -> None:
    clock = FakeClock(NOW)
    with opened(tmp_path, clock=clock, keep_hours=1, keep_days=1) as observer:
        feed(observer, exchange(1, at=NOW))
        clock.advance(2 * HOUR)
        feed(observer, exchange(2, at=clock.now()))
        assert len(sums(tmp_path, "hour", span=Span(0, NOW * 2))) == 2
        (minute,) = sums(tmp_path, "hour", span=Span(0, NOW * 2, 60))
        assert minute["requests"] == 1
        clock.advance(23 * HOUR)
        feed(observer, exchange(3, at=clock.now()))
    assert requests_of(tmp_path, NOW * 2) == 2


def requests_of(directory: Path, until: float) -> int:
    return int(sums(directory, span=Span(0, until))[0]["requests"])


def test_the_database_stays_below_its_size(tmp_path: Path) -> None:
    clock = FakeClock(NOW)
    with opened(tmp_path, clock=clock, max_mib=4, keep_hours=1) as observer:
        for hour in range(60):
            clock.advance(HOUR)
            people = (PrincipalRecord(f"p{hour}-{n}" + "x" * 90, "t") for n in range(500))
            feed(
                observer,
                *(exchange(n, at=clock.now(), principal=p) for n, p in enumerate(people)),
            )
        assert observer._database is not None
        assert observer._database.size() <= 4 * 1024 * 1024
    assert requests_of(tmp_path, clock.now() + HOUR) >= 500  # the newest are there


def test_made_up_names_find_only_so_many_places(tmp_path: Path) -> None:
    with opened(tmp_path, group_limit=3) as observer:
        state = feed(
            observer, *(exchange(n, principal=PrincipalRecord(f"p{n}", "t")) for n in range(3))
        )
    with opened(tmp_path, state, group_limit=3) as observer:
        late = [exchange(n, principal=PrincipalRecord(f"p{n}", "t")) for n in range(2, 9)]
        feed(observer, *late)
    assert {r["principal"]: r["requests"] for r in sums(tmp_path, "principal")} == {
        "p0": 1,
        "p1": 1,
        "p2": 2,
        "other": 6,
    }


def test_only_the_latest_exchanges_are_listed(tmp_path: Path) -> None:
    with opened(tmp_path, latest=3) as observer:
        feed(observer, *(exchange(n) for n in range(5)))
        feed(observer, exchange(9), exchange(7))
    with queries.reading(database_path(tmp_path, "usage")) as db:
        assert [one.id[-1] for one in queries.latest(db, 10)] == ["9", "7", "4"]


# latencies


@pytest.mark.parametrize("milliseconds", [0.05, 0.4, 1.0, 37.0, 1000.0, 1_800_000.0])
def test_a_bucket_is_a_fifth_wide(milliseconds: float) -> None:
    bucket = bucket_of(milliseconds)
    assert lower_bound_ms(bucket) <= milliseconds <= lower_bound_ms(bucket + 1)
    assert lower_bound_ms(bucket + 1) / lower_bound_ms(bucket) < 1.19


def test_percentiles_come_close() -> None:
    counts: dict[int, int] = {}
    for number in range(1, 1001):
        bucket = bucket_of(number)
        counts[bucket] = counts.get(bucket, 0) + 1
    histogram = sorted(counts.items())
    for share in (0.5, 0.95, 0.99):
        assert percentile_ms(histogram, share) == pytest.approx(share * 1000, rel=0.1)
    assert percentile_ms([], 0.5) is None


# the page's document


@pytest.mark.parametrize("name", [*RANGES, "nonsense"])
def test_every_range_has_its_series(tmp_path: Path, name: str) -> None:
    odd = "<img src=x onerror=alert(1)>"
    with opened(tmp_path) as observer:
        feed(
            observer,
            exchange(1, at=NOW - 5, principal=PrincipalRecord(odd, odd)),
            refusal(2, at=NOW - 5),
        )
    with queries.reading(database_path(tmp_path, "usage")) as db:
        found = view(db, name, NOW)
    steps = len(found["t"])
    assert found["t"][-1] <= NOW < found["t"][-1] + found["width_s"]
    assert sum(found["tokens"]["output"]) == found["totals"]["output"] == 51
    assert sum(found["requests"]["refused"]) == 1
    assert {k: sum(v) for k, v in found["refusals"].items()} == {"models: not_allowed": 1}
    assert [p for p in found["latency"]["first_token"]["p50"] if p] == [pytest.approx(500, rel=0.1)]
    assert all(len(line) == steps for line in found["tokens"].values())
    assert {row["team"] for row in found["teams"]} == {odd, "search"}
    assert len(found["latest"]) == 2


# the command


@pytest.fixture
def filled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("tidegate_plugins.usage.command.SystemClock", lambda: FakeClock(NOW))
    with opened(tmp_path) as observer:
        usage = Usage(1_234_567, 2_000_000, 0, 0, 1000)
        feed(
            observer,
            exchange(1, usage=usage),
            refusal(2),
            exchange(3, principal=PrincipalRecord("ana", "web")),
        )
    return tmp_path


def test_the_table_adds_up(filled: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["usage", "--dir", str(filled), "--by", "team"]) == 0
    lines = capsys.readouterr().out.splitlines()
    cells = [line.split() for line in lines if line[:1].isalpha()]
    assert [row[0] for row in cells] == ["2027-01-08", "team", "search", "web", "total"][
        1:
    ] or cells
    search, web, total = (next(c for c in cells if c[0] == n) for n in ("search", "web", "total"))
    assert search[1:6] == ["2", "1", "0", "2", "1,234,567"]
    assert total[1:6] == ["3", "1", "0", "4", "1,234,577"]
    assert web[1] == "1"
    assert len({len(line) for line in lines[2:] if line}) == 1  # aligned


def test_programs_get_plain_numbers(filled: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["usage", "--dir", str(filled), "--by", "team,model", "--format", "csv"]) == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert {(r["team"], r["model"], r["requests"]) for r in rows} == {
        ("search", SONNET, "1"),
        ("search", "claude-opus-4-1", "1"),
        ("web", SONNET, "1"),
    }
    assert main(["usage", "--dir", str(filled), "--by", "day", "--format", "json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)["rows"]
    (whole,) = sums(filled)
    assert row["input"] == whole["input"]
    assert round(float(row["cost_usd"]) * 1e9) == whole["nano_usd"]


def test_it_can_be_narrowed(filled: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ask = ["usage", "--dir", str(filled), "--format", "json"]
    assert main([*ask, "--team", "web", "--since", "2h"]) == 0
    assert [r["team"] for r in json.loads(capsys.readouterr().out)["rows"]] == ["web"]
    assert main([*ask, "--until", "2020-01-01", "--since", "2019-01-01"]) == 0
    assert json.loads(capsys.readouterr().out)["rows"] == []
    assert (
        main(["usage", "--dir", str(filled), "--until", "2020-01-01", "--since", "2019-01-01"]) == 0
    )
    assert "nothing was recorded" in capsys.readouterr().out


def test_without_a_database_it_says_what_to_enable(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["usage", "--dir", str(tmp_path)]) == 2
    said = capsys.readouterr().err
    assert "there is no database yet" in said
    assert 'use = "usage"' in said


def test_the_configuration_says_where_it_is(
    filled: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "tidegate.toml"
    config.write_text(f'[journal]\ndir = "{filled}"\n[[plugins]]\nuse = "usage"\n')
    assert main(["usage", "--config", str(config)]) == 0
    assert "total" in capsys.readouterr().out
    config.write_text(f'[journal]\ndir = "{filled}"\n')
    assert main(["usage", "--config", str(config)]) == 2
    assert "has no plugin `usage`" in capsys.readouterr().err


@pytest.mark.parametrize(
    "flags", [["--since", "soon"], ["--until", "9y"], ["--since", "1h", "--until", "2h"]]
)
def test_times_that_are_none(
    filled: Path, flags: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["usage", "--dir", str(filled), *flags]) == 2
    assert flags[0] in capsys.readouterr().err


def test_a_column_that_is_none(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["usage", "--by", "team,colour"])
    assert "'colour' is no column; there are team," in capsys.readouterr().err


def test_moments() -> None:
    assert moment("90m", 10_000, "--since") == 10_000 - 5400
    assert moment("1970-01-02", 0, "--since") == 86_400
    assert moment("1970-01-01T02:00+01:00", 0, "--since") == 3600
    with pytest.raises(PluginError):
        moment("", 0, "--since")


def test_text_is_short_and_printable() -> None:
    assert clean("a\x1b[31m") == "a\ufffd[31m"
    assert clean("") == clean(None) == "none"
    assert len(clean("x" * 1000)) == 128
