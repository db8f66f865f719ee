"""The benchmark works: every case runs through everybody, and ratios come out. No speed."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from bench.needed import needs_programs
from bench.side_by_side.candidates import CANDIDATES
from bench.side_by_side.cases import CASES, INSIDE, Case
from bench.side_by_side.native import SOURCES

BENCH = Path(__file__).with_name("bench.py")
ONE_OF_A_KIND = {
    *("unary_1k", "resent_100k", "rate_200", "first_byte", "paced_40"),
    *("neighbour", "workers_1k", "mixed", "start", "held"),
}
TAKEN = [case for case in CASES if case.name in ONE_OF_A_KIND]
WITHIN_S = 280

pytestmark = [
    pytest.mark.process,
    pytest.mark.timeout(WITHIN_S + 20),
    needs_programs,
]


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the report of a quick run."""
    folder = tmp_path_factory.mktemp("bench")
    cases = [case.name for case in TAKEN]
    command = [sys.executable, BENCH, "--quick", "--out", folder, "--cases", *cases]
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


@pytest.mark.parametrize("case", TAKEN, ids=lambda case: case.name)
def test_everybody_is_measured(report: dict[str, Any], case: Case) -> None:
    found = report["summaries"][case.name]
    assert set(found) >= {each.name for each in CANDIDATES if each.takes(case)} - {"prototype"}
    for name, figures in found.items():
        if name != "direct":
            assert set(case.shown) - set(INSIDE) <= set(figures)


@pytest.mark.parametrize(
    ("case", "figure"),
    [("unary_1k", "worker_us"), ("unary_1k", "tree_us"), ("paced_40", "tree_us")],
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


def test_both_workers_are_counted(report: dict[str, Any]) -> None:
    (sample,) = report["samples"]["workers_1k"]
    assert set(sample) == {"tidegate-1w", "tidegate-2w"}
    ratio = report["summaries"]["workers_1k"]["tidegate-2w"]["per_second"]["to"]["tidegate-1w"]
    assert ratio["median"] > 0


def test_the_gateway_says_what_it_took_itself(report: dict[str, Any]) -> None:
    (sample,) = report["samples"]["rate_200"]
    assert 0 < sample["tidegate"]["inside_us"] < sample["tidegate"]["mean_us"]


def test_the_other_client_sends_meanwhile(report: dict[str, Any]) -> None:
    (sample,) = report["samples"]["neighbour"]
    assert all(figures["other_per_s"] > 0 for figures in sample.values())


def test_it_is_plotted(out: Path) -> None:
    pytest.importorskip("matplotlib", reason="a development extra")
    drawn = {path.name.rpartition("-")[2]: path.read_text() for path in out.glob("*.svg")}
    assert set(drawn) == {"cpu.svg", "latency.svg"}
    assert all("</svg>" in text for text in drawn.values())


def test_what_was_measured_is_kept_when_it_is_stopped(tmp_path: Path) -> None:
    command = [sys.executable, BENCH, "--quick", "--rounds", "50", "--out", tmp_path]
    command += ["--cases", "unary_1k", "--candidates", "direct", "nginx"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    assert process.stderr is not None
    for line in process.stderr:
        if b"round 2 of" in line:
            process.terminate()
            break
    process.communicate(timeout=30)
    assert process.returncode == 1
    found = json.loads(next(tmp_path.glob("*.json")).read_text())
    assert found["rounds"] == 1
    assert "stopped in round 2" in found["failures"][0]
    assert found["summaries"]["unary_1k"]["nginx"]["worker_us"]["value"]["median"] > 0


def test_the_tables_say_that_it_was_quick(out: Path) -> None:
    text = next(out.glob("*.md")).read_text()
    assert "A quick run" in text
    assert "| met" not in text
    assert "| not met" not in text


@pytest.mark.parametrize("source", sorted(SOURCES.glob("*.c")), ids=lambda source: source.name)
def test_c_compiles_without_warnings(source: Path, tmp_path: Path) -> None:
    command = ["gcc", "-O2", "-Wall", "-Werror", "-o", tmp_path / "program", source]
    subprocess.run(command, check=True)
