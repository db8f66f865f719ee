"""The benchmark works: every case runs through everybody, and ratios come out. No speed."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from bench.side_by_side.candidates import CANDIDATES, nginx_program
from bench.side_by_side.cases import CASES, Case
from bench.side_by_side.native import SOURCES

BENCH = Path(__file__).with_name("bench.py")
NEEDED = {"gcc": shutil.which("gcc"), "nginx": nginx_program(), "taskset": shutil.which("taskset")}
MISSING = [name for name, path in NEEDED.items() if path is None]
WITHIN_S = 280

pytestmark = [
    pytest.mark.process,
    pytest.mark.timeout(WITHIN_S + 20),
    pytest.mark.skipif(
        bool(MISSING) and os.environ.get("CI") != "true",
        reason=f"not installed: {', '.join(MISSING)}",
    ),
]


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the report of a quick run."""
    folder = tmp_path_factory.mktemp("bench")
    command = [sys.executable, BENCH, "--quick", "--out", folder]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    try:
        _, said = process.communicate(timeout=WITHIN_S)
    finally:
        process.terminate()  # it ends what it started
        process.wait()
    assert process.returncode == 0, said.decode()
    return folder


@pytest.fixture(scope="module")
def report(out: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(next(out.glob("*.json")).read_text())
    return found


def test_nothing_failed(report: dict[str, Any]) -> None:
    assert report["failures"] == []
    assert report["quick"]
    assert report["machine"]["cpu"]
    assert report["versions"]["nginx"]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_everybody_is_measured(report: dict[str, Any], case: Case) -> None:
    found = report["summaries"][case.name]
    assert list(found) == [candidate.name for candidate in CANDIDATES]
    for name, figures in found.items():
        if name != "direct":
            assert set(case.shown) <= set(figures)


@pytest.mark.parametrize(
    ("case", "figure"),
    [("unary_1k", "worker_us"), ("unary_1m", "tree_us"), ("paced_40", "tree_us")],
)
def test_ratios_are_those_of_the_round(report: dict[str, Any], case: str, figure: str) -> None:
    (sample,) = report["samples"][case]
    for name in ("tidegate", "tidegate-bare", "naive"):
        ratio = report["summaries"][case][name][figure]["to"]["nginx"]
        assert ratio["rounds"] == 1
        assert ratio["median"] == pytest.approx(sample[name][figure] / sample["nginx"][figure])


def test_all_processes_are_counted(report: dict[str, Any]) -> None:
    (sample,) = report["samples"]["unary_1k"]
    assert sample["tidegate"]["tree_us"] > sample["tidegate"]["worker_us"] > 0
    assert sample["naive"]["tree_us"] == sample["naive"]["worker_us"]


def test_the_tables_say_that_it_was_quick(out: Path) -> None:
    text = next(out.glob("*.md")).read_text()
    assert "A quick run" in text
    assert "| met" not in text


@pytest.mark.parametrize("source", sorted(SOURCES.glob("*.c")), ids=lambda source: source.name)
def test_c_compiles_without_warnings(source: Path, tmp_path: Path) -> None:
    command = ["gcc", "-O2", "-Wall", "-Werror", "-o", tmp_path / "program", source]
    subprocess.run(command, check=True)
