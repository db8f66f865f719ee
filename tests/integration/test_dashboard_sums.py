"""What the panels work out is right: their own queries, over series whose sums are known.

promtool evaluates them: its time begins on 1 January 1970, a Thursday in a month of 31 days.
"""

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from support.dashboards import BOARDS, filled, load, panels

pytestmark = pytest.mark.skipif(not shutil.which("promtool"), reason="promtool is not installed")

DAY_H = 24
ELEVENTH = "240h"
"""Ten days have gone, twenty-one are left."""
PLACE = 'job="tidegate", instance="a:9464", environment="production"'


def growing(name: str, each_hour: float, labels: str) -> dict[str, str]:
    """A counter that has grown by this much each hour since the month began."""
    values = f"0+{each_hour}x{31 * DAY_H}"
    return {"series": f"{name}{{{PLACE}, {labels}}}", "values": values}


def asked(title: str, span: str = "10d") -> str:
    """The first query of the only panel of this name."""
    found = [p["targets"][0] for path in BOARDS for p in panels(load(path)) if p["title"] == title]
    (target,) = found
    return filled(target["expr"].replace("$__range", span).replace("$__rate_interval", span))


def evaluated(
    tmp_path: Path, expression: str, *series: dict[str, str], expected: float, labels: str = "{}"
) -> None:
    """Let promtool hold the expression to what is expected, on the eleventh."""
    check = {
        "expr": f"round({expression}, 0.0001)",
        "eval_time": ELEVENTH,
        "exp_samples": [{"labels": labels, "value": expected}],
    }
    test = {"interval": "1h", "input_series": list(series), "promql_expr_test": [check]}
    file = tmp_path / "sums.test.yml"
    file.write_text(json.dumps({"rule_files": [], "evaluation_interval": "1h", "tests": [test]}))
    command = ["promtool", "test", "rules", str(file)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_forecast_is_the_month_so_far_and_the_rest_at_the_pace_of_a_week(tmp_path: Path):
    cost = growing("tidegate_cost_usd_total", 1, 'team="a", model="m", type="input"')
    evaluated(tmp_path, asked("Forecast to month end"), cost, expected=240 + 21 * 24)


def test_a_range_is_held_against_the_one_before(tmp_path: Path):
    doubled = {
        "series": f'tidegate_cost_usd_total{{{PLACE}, team="a", model="m", type="input"}}',
        "values": "0+1x120 122+2x120",
    }
    evaluated(tmp_path, asked("Against the range before", "5d"), doubled, expected=2)


def test_the_cache_saves_what_plain_input_would_have_cost_more(tmp_path: Path):
    found = []
    for kind, tokens, dollars in (
        ("input", 1000, 0.003),
        ("cache_read", 10_000, 0.003),
        ("cache_write_5m", 1000, 0.00375),
        ("output", 500, 0.0075),
    ):
        labels = f'team="a", model="m", type="{kind}"'
        found.append(growing("tidegate_tokens_total", tokens, labels))
        found.append(growing("tidegate_cost_usd_total", dollars, labels))
    plain, paid = 11_000 * 0.003 / 1000, 0.003 + 0.00375
    evaluated(
        tmp_path, asked("Saved by the cache"), *found, expected=round((plain - paid) * 240, 4)
    )
    evaluated(tmp_path, asked("Cache hit ratio"), *found, expected=round(10 / 12, 4))


def test_who_never_caches_has_a_ratio_of_0_and_not_none(tmp_path: Path):
    tokens = growing("tidegate_tokens_total", 1000, 'team="a", model="m", type="input"')
    ratio = asked("Cache hit ratio by team")
    evaluated(tmp_path, ratio, tokens, expected=0, labels='{team="a"}')


def requests(outcome: str, status: str, each_hour: int) -> dict[str, str]:
    labels = f'route="messages", team="a", model="m", stream="true", outcome="{outcome}", status="{status}"'
    return growing("tidegate_requests_total", each_hour, labels)


def test_availability_counts_what_we_are_to_blame_for_among_what_was_valid(tmp_path: Path):
    traffic = [
        requests("complete", "200", 90),
        requests("refused", "404", 100),  # policy: neither good nor bad
        requests("refused", "503", 1),
        requests("worker_lost", "none", 2),
        requests("upstream_error", "529", 7),
    ]
    evaluated(tmp_path, asked("Availability"), *traffic, expected=0.97)
    evaluated(tmp_path, asked("Success"), *traffic, expected=0.90)


def test_nothing_odd_is_0_where_there_was_traffic(tmp_path: Path):
    traffic = requests("complete", "200", 90)
    for title in (
        "Odd requests",
        "Not identified",
        "Secrets",
        "Let pass on error",
        "Share refused",
    ):
        evaluated(tmp_path, asked(title), traffic, expected=0)


def test_streams_that_clients_left_are_a_share_of_all(tmp_path: Path):
    name = "tidegate_streams_total"
    left = growing(name, 10, 'model="m", outcome="client_gone"')
    done = growing(name, 30, 'model="m", outcome="complete"')
    evaluated(tmp_path, asked("Clients that left"), left, done, expected=0.25, labels='{model="m"}')
