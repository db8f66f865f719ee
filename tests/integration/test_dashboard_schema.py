"""The dashboards are what the types allow that Grafana publishes of its schema, from version 10 to 13."""

import json
import re
import subprocess
from pathlib import Path

import pytest

from support.caches import grafana_schemas
from support.dashboards import BOARDS, ROOT, load, panels

pytestmark = [pytest.mark.process, pytest.mark.timeout(240)]

VERSIONS = ["10.0", "10.4", "11.0", "11.6", "12.0", "12.4", "13.0", "13.2"]


def check(boards: Path) -> tuple[int, str]:
    """Exit code and output of the check of a folder of dashboards."""
    folder = grafana_schemas(ROOT / "dashboards/schema")
    done = subprocess.run(
        ["node", str(folder / "check.mjs"), str(boards)],
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


def test_no_version_of_grafana_disallows_anything():
    code, said = check(ROOT / "dashboards/grafana")
    assert re.findall(r"^schema-([\d.]+): 0 values", said, re.MULTILINE) == VERSIONS
    assert code == 0
    # What no version knows: of each kind of query variable and annotation the data source's own.
    newest = said.partition("schema-13.2")[2]
    assert set(re.findall(r"not known: (\S+)", newest)) == {
        "annotation.expr",
        "annotation.titleFormat",
        "annotation.useValueForTime",
        "table.options.footer",  # of tables until 12.3
        "variable.definition",
    }


def test_what_is_not_in_the_types_is_found(tmp_path: Path):
    board = load(BOARDS[0])
    panel = next(panel for panel in panels(board) if panel["type"] == "timeseries")
    panel["options"]["legend"]["displayMode"] = "tabular"
    panel["fieldConfig"]["defaults"]["unit"] = 5
    panel["fieldConfig"]["defaults"]["custom"]["lineWidht"] = 1
    (tmp_path / "1-overview.json").write_text(json.dumps(board))
    code, said = check(tmp_path)
    assert code == 1
    for each in (
        'not allowed: timeseries.options.legend.displayMode = "tabular"',
        "not allowed: panel.fieldConfig.defaults.unit = 5",
        "not known: timeseries.custom.lineWidht",
    ):
        assert said.count(each) == len(VERSIONS)
