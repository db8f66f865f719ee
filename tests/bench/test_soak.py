"""The soak notices what it is there for; a short one runs, and loses nothing."""

import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from bench.side_by_side.native import BENCH
from bench.soaking.audit import Account, Finding, journal_findings, memory_findings, slope
from bench.soaking.trouble import Sample

POLITE, HASTY = "polite", "hasty"
STARTED = Counter({POLITE: 2, HASTY: 1})
WHOLE = Account(
    exchanges=Counter("abc"),
    intents=Counter("abc"),
    by_client=Counter({POLITE: 2, HASTY: 1}),
    sent_by={"a": POLITE, "b": POLITE, "c": HASTY},
    bad=Counter(),
)


def broken(found: list[Finding]) -> list[str]:
    return [each.what for each in found if not each.holds]


@pytest.mark.parametrize("asked", [2, 3])
def test_a_whole_journal_is_as_it_must_be(asked: int) -> None:
    assert broken(journal_findings(WHOLE, STARTED, POLITE, asked)) == []


def test_what_is_missing_is_noticed() -> None:
    clients = Counter({POLITE: 1, HASTY: 1})
    without = replace(WHOLE, exchanges=Counter("ac"), by_client=clients)
    assert broken(journal_findings(without, STARTED, POLITE, 3)) == [
        "requests that left and have no end",
        "exchanges of polite clients",
    ]


def test_what_is_there_twice_is_noticed() -> None:
    twice = replace(WHOLE, exchanges=Counter("aabc"))
    assert broken(journal_findings(twice, STARTED, POLITE, 3)) == ["records that are there twice"]


@pytest.mark.parametrize("asked", [1, 4])
def test_what_the_upstream_did_not_get_or_got_twice_is_noticed(asked: int) -> None:
    found = journal_findings(WHOLE, STARTED, POLITE, asked)
    assert broken(found) == ["requests that reached the upstream"]


def memory(kb_at_minute: list[int]) -> list[Sample]:
    return [Sample(60.0 * at, "worker", 1, kb, 9) for at, kb in enumerate(kb_at_minute)]


def test_memory_that_grows_is_noticed_and_peaks_and_warming_up_are_not() -> None:
    flat = [50_000, 80_000, 99_000, *[100_000, 101_000, 130_000, 100_500] * 8]
    assert broken(memory_findings(memory(flat))) == []
    growing = [100_000 + 1_000 * minute for minute in range(30)]
    assert len(broken(memory_findings(memory(growing)))) == 1


def test_the_slope_is_that_of_most() -> None:
    assert slope([(0, 0), (1, 2), (2, 4), (3, 600), (4, 8)]) == 2


@pytest.mark.process
@pytest.mark.timeout(150)
def test_a_short_one(tmp_path: Path) -> None:
    command = [sys.executable, BENCH / "soak.py", "--out", tmp_path]
    command += ["--minutes", "0.15", "--clients", "3", "--rate", "10"]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=140, check=False)
    assert (tmp_path / "soak.md").exists(), ran.stderr
    table = (tmp_path / "soak.md").read_text()
    wrong = [line for line in table.splitlines() if "**NO**" in line]
    assert [line for line in wrong if "memory of" not in line] == []  # it has not warmed up
    assert "exchanges of polite clients" in table
    assert (tmp_path / "soak.csv").read_text().count("worker 2") > 5
