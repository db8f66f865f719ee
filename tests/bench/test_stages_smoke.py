"""The table of stages has its rows, and no path of this machine gets into a drawing."""

import subprocess
import sys
from pathlib import Path

import pytest

from bench.side_by_side.native import BENCH
from bench.staging.flame import scrub

ROWS = (
    *("parse, view", "policy identify", "policy quota", "policy redact"),
    *("journal: encode, link, write", "head: to the upstream", "relay: write to the client"),
)


@pytest.mark.process
@pytest.mark.timeout(180)
def test_every_stage_is_timed(tmp_path: Path) -> None:
    command = [sys.executable, BENCH / "stages.py", "--seconds", "0.3", "--out", tmp_path]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=170, check=False)
    assert ran.returncode == 0, ran.stderr
    table = (tmp_path / "stages.md").read_text()
    cells = {
        line.split("|")[1].strip(): line.split("|")[2] for line in table.splitlines() if "|" in line
    }
    assert all(float(cells[row].replace(",", "")) >= 0 for row in ROWS)
    drawn = tmp_path / "flame.svg"
    if drawn.exists():
        assert "tidegate/http/handler.py" in drawn.read_text()
        assert str(BENCH) not in drawn.read_text()


def test_paths_are_taken_out() -> None:
    drawn = "a (/srv/x/site-packages/aiohttp/web.py:1) b (/y/z/gateway/tidegate/worker.py:2)"
    assert scrub(drawn) == "a (aiohttp/web.py:1) b (tidegate/worker.py:2)"
    assert scrub("c (/home/me/lib/python3.11/asyncio/run.py:3)") == "c (asyncio/run.py:3)"
    assert scrub("py-spy (/tmp/t/flame.svg)") == "py-spy (flame.svg)"
