"""What `tidegate journal` shows: in the order of time, through rotations, packed or not."""

import itertools
import json
import os
import threading
from pathlib import Path

import pytest

from support.journals import StandingClock, exchange, intent, writer
from tidegate.cli import main
from tidegate.journal import show
from tidegate.journal.keeper import Keeper
from tidegate.journal.reader import lines, segments
from tidegate.journal.retention import Limits
from tidegate.journal.stats import count
from tidegate.record import Content, PrincipalRecord, decode


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    """Two workers that took turns, one of them with many segments; half of it packed."""
    workers = [writer(tmp_path, "w0-1", max_segment_bytes=4000), writer(tmp_path, "w1-1")]
    for number in range(1, 41):
        made = workers[number % 2]
        made.append(intent(number))
        made.append(exchange(number, principal=PrincipalRecord("k", f"team-{number % 3}")))
        if number == 20:
            Keeper(tmp_path, StandingClock(), Limits()).tidy()
    for made in workers:
        made.close()
    for segment in segments(tmp_path):
        at = max(decode(line).at for line in lines(segment.path)) + 2
        os.utime(segment.path, (at, at))
    assert {segment.packed for segment in segments(tmp_path)} == {True, False}
    return tmp_path


def shown(lines) -> list[str]:
    found = [decode(line) for line in lines]
    return [record.id for record in found if record.__struct_config__.tag == "exchange"]


def names(first: int, last: int) -> list[str]:
    return [exchange(number).id for number in range(first, last + 1)]


@pytest.mark.parametrize("last", [1, 5, 17, 40, 1000])
def test_the_last_exchanges_come_in_the_order_in_which_they_ended(journal: Path, last: int) -> None:
    assert shown(show.tail(journal, last=last)) == names(max(1, 41 - last), 40)


def test_all_of_it_is_each_workers_in_order(journal: Path) -> None:
    found = shown(show.tail(journal))
    assert sorted(found) == names(1, 40)
    for worker in (0, 1):
        mine = [name for name in found if int(name.partition("_")[2]) % 2 == worker]
        assert mine == sorted(mine)


def test_following_goes_on_through_rotations_and_packing(journal: Path, monkeypatch) -> None:
    monkeypatch.setattr(show, "FOLLOW_S", 0.005)
    made = writer(journal, "w2-1", max_segment_bytes=3000)
    keeper = Keeper(journal, StandingClock(), Limits())

    def write() -> None:
        for number in range(41, 61):
            made.append(exchange(number))
            keeper.tidy()
        made.close()

    following = show.tail(journal, last=3, follow=True)
    first = list(itertools.islice((x for x in following if b'"exchange"' in x[:20]), 3))
    assert shown(first) == names(38, 40)
    thread = threading.Thread(target=write)
    thread.start()
    rest = list(itertools.islice((x for x in following if b'"exchange"' in x[:20]), 20))
    thread.join()
    assert shown(rest) == names(41, 60)


def test_content_is_shown_by_id_only(journal: Path) -> None:
    made = writer(journal, "content-w0-1")
    made.append(Content(id=exchange(3).id, at=1.0, worker=0, config="c", request={"model": "m"}))
    made.close()
    assert not any(b"content" in line[:20] for line in show.tail(journal, last=1000))
    assert not any(b"content" in line[:20] for line in show.tail(journal))
    kinds = [record["kind"] for record in show.records_of(journal, exchange(3).id)]
    assert kinds == ["intent", "exchange", "content"]


def test_stats_count_what_there_is(journal: Path) -> None:
    open_one = writer(journal, "w3-1")
    open_one.append(intent(99))
    open_one.close()
    stats = count(journal)
    assert (stats.outcomes, stats.open_intents) == ({"complete": 40}, 1)
    assert stats.teams == {"team-0": 13, "team-1": 14, "team-2": 13}
    assert stats.kinds["intent"] == 41
    assert (stats.first_at, stats.last_at) == (exchange(1).at, exchange(40).at)
    assert stats.segments == len(segments(journal))
    assert 0 < stats.packed_segments < stats.segments
    assert stats.bytes < stats.plain_bytes
    usage = exchange(1).usage
    assert usage is not None
    assert stats.tokens["output"] == 40 * usage.output


def test_the_commands_speak_json(journal: Path, capsys: pytest.CaptureFixture[str]) -> None:
    place = ["--dir", str(journal)]
    assert main(["journal", "stats", "--json", *place]) == 0
    assert json.loads(capsys.readouterr().out)["outcomes"] == {"complete": 40}
    assert main(["journal", "verify", "--json", *place]) == 0
    assert json.loads(capsys.readouterr().out)["sound"] is True
    damaged = next(segment.path for segment in segments(journal) if not segment.packed)
    damaged.write_bytes(damaged.read_bytes().replace(b"claude", b"clauda", 1))
    assert main(["journal", "verify", "--json", *place]) == 1
    found = json.loads(capsys.readouterr().out)
    assert [fault["file"] for fault in found["audit"]["faults"]] == [damaged.name]
    assert main(["journal", "verify", *place]) == 1
    said = capsys.readouterr().out
    assert f"{damaged.name}:" in said
    assert "NOT as it was written" in said


@pytest.mark.parametrize(("terminal", "environment", "coloured"), [
    (True, {}, True), (True, {"NO_COLOR": "1"}, False), (False, {}, False),
])  # fmt: skip
def test_colours_are_for_terminals_that_want_them(
    journal: Path, capsys, monkeypatch, terminal: bool, environment: dict, coloured: bool
) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("sys.stdout.isatty", lambda: terminal)
    assert main(["journal", "tail", "--last", "2", "--dir", str(journal)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2
    assert all(("\x1b[32m" in line) == coloured for line in lines)
    assert all("team-" in line for line in lines)
