"""The comparison over TLS works: every candidate serves both ways. No speed."""

import subprocess
import sys
from pathlib import Path

import pytest

from bench.needed import needs_programs

TLS = Path(__file__).with_name("tls.py")


@pytest.mark.process
@pytest.mark.timeout(200)
@needs_programs
def test_every_candidate_serves_over_http_and_over_tls(tmp_path: Path) -> None:
    given = ["--rounds", "1", "--seconds", "0.3", "--out", tmp_path]
    ran = subprocess.run(
        [sys.executable, TLS, *given], capture_output=True, text=True, timeout=180, check=False
    )

    assert ran.returncode == 0, ran.stderr[-3000:]
    report = (tmp_path / "tls.md").read_text()
    rows = [line.split("|") for line in report.splitlines() if line.startswith("| ")]
    measured = [row for row in rows if row[1].strip(" -")]
    assert len(measured) == 8
    assert all(cell.strip() for row in measured for cell in row[2:-1])
