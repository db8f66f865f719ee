"""The systemd unit gives the gateway its time, and is confined."""

import re
import shutil
from pathlib import Path

import pytest

from support.programs import run
from tidegate.config import load
from tidegate.supervisor import LINGER_S

AFTERWARDS_S = 2 * LINGER_S
UNIT = Path(__file__).resolve().parents[3] / "deploy/systemd/tidegate.service"


def test_systemd_gives_the_gateway_time_to_drain():
    (stop,) = re.findall(r"(?m)^TimeoutStopSec=(\d+)$", UNIT.read_text())
    assert int(stop) >= load(None).listen.drain_s + AFTERWARDS_S


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd is not installed")
def test_systemd_takes_the_unit_and_finds_it_confined(tmp_path: Path):
    unit = tmp_path / UNIT.name
    unit.write_text(UNIT.read_text().replace("/opt/tidegate/bin/tidegate", "/bin/true"))
    complaints = run("systemd-analyze", "verify", "--man=no", str(unit)).stderr
    assert unit.name not in complaints
    # 0.0 is confined, 10.0 is not; the threshold is in tenths.
    run("systemd-analyze", "security", "--no-pager", "--offline=true", "--threshold=20", str(unit))
