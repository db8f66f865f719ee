"""The dashboards: as their source says, of metrics that there are, and made as they should be."""

import dataclasses
import re
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import promql_parser
import pytest
from prometheus_client.utils import floatToGoString

from observed import exchange, host, intent, vitals
from support.dashboards import (
    BOARDS,
    ROOT,
    counters_outside_of_rates,
    exposed,
    filled,
    load,
    panels,
    queries,
    rules,
    selectors,
    variables,
)
from tidegate.exchange import Principal
from tidegate.plugin import JournalState, LoadedPlugin, ObserverLag
from tidegate.record import GaugeRecord, PolicyVitals
from tidegate.testing import make_exchange, make_request, open_plugin
from tidegate_plugins.metrics import catalogue
from tidegate_plugins.metrics.config import MetricsConfig
from tidegate_plugins.metrics.observer import MetricsObserver
from tidegate_plugins.quota import plugin as quota

OF_THE_SCRAPE = {"job", "instance", "environment"}
FOREIGN = {
    "ALERTS": {"alertname", "alertstate", "severity", "team"} | OF_THE_SCRAPE,
    "up": OF_THE_SCRAPE,
    "scrape_samples_scraped": OF_THE_SCRAPE,
}
"""What Prometheus itself brings."""
NOT_SHOWN = {
    "process_": "the observatory's CPU and memory are shown; the rest is for looking closer",
    "python_": "as before",
}
"""Prefixes of what need not be on a dashboard, and why."""

boards = pytest.mark.parametrize("path", BOARDS, ids=lambda path: path.stem)


@pytest.fixture(scope="module")
def known() -> dict[str, set[str]]:
    """The labels of every series that the code can show."""
    found = {counter.name: set(counter.labels) for counter in catalogue.COUNTERS}
    for histogram in catalogue.HISTOGRAMS:
        labels = set(histogram.labels)
        found[f"{histogram.name}_bucket"] = labels | {"le"}
        found[f"{histogram.name}_sum"] = found[f"{histogram.name}_count"] = labels
    return found


@pytest.fixture
async def metrics(known: dict[str, set[str]], tmp_path: Path) -> dict[str, set[str]]:
    """The same with gauges, quotas and the process: what an observer shows that has seen them."""
    there = dataclasses.replace(
        host("metrics"),
        lags=lambda: [ObserverLag(observer="metrics", bytes=1)],
        journal=lambda: JournalState(bytes=1),
        plugins=lambda: [LoadedPlugin("metrics", "metrics", "observer", "enforce", "1.2.3")],
    )
    observer = MetricsObserver(MetricsConfig(), there)
    limits = {f"anthropic-ratelimit-requests-{end}": "5" for end in ("remaining", "limit")}
    for record in (
        intent(1),
        exchange(1, upstream_limits=limits),
        vitals(0, policies=(PolicyVitals("quota", True, gauges=await quotas(tmp_path)),)),
    ):
        await observer.on_record(record)
    return known | exposed(
        observer.scrape("application/openmetrics-text; version=1.0.0")[0].decode()
    )


async def quotas(directory: Path) -> tuple[GaugeRecord, ...]:
    """The gauges of the plugin `quota` once it was asked."""
    limit = {"name": "team-day", "scope": "team", "per": "day", "requests": 9}
    config = {"store": "memory", "limits": [limit]}
    async with open_plugin(quota, config, state_dir=directory) as policy:
        asks = {"model": "m", "max_tokens": 1, "messages": [{"role": "user", "content": "Hi"}]}
        request = make_request(asks, principal=Principal("ana", "search"))
        await policy.admit(make_exchange(), request)
        return tuple(
            GaugeRecord(one.name, dict(one.labels), one.value) for one in policy.report().gauges
        )


def test_the_files_are_what_their_source_says():
    done = subprocess.run(
        [sys.executable, str(ROOT / "dashboards/build.py"), "--check"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert len(BOARDS) == 6


def asked() -> Iterable[tuple[str, str, frozenset[str]]]:
    """Every series that anything asks for: where, name, labels."""
    for path in BOARDS:
        for query in queries(path):
            for name, labels in selectors(query.expr):
                yield f"{query.board}: {query.place}", name, labels
    for rule in rules():
        for name, labels in selectors(rule["expr"]):
            yield rule.get("alert") or rule["record"], name, labels


def test_every_metric_that_is_asked_for_exists_with_its_labels(metrics: dict[str, set[str]]):
    recorded = {rule["record"] for rule in rules() if "record" in rule}
    wrong = []
    for place, name, labels in asked():
        there = metrics.get(name, FOREIGN.get(name))
        if name not in recorded and (there is None or not labels <= there | OF_THE_SCRAPE):
            wrong.append((place, name, sorted(labels - (there or set()))))
    assert not wrong


def test_every_metric_that_exists_is_shown(metrics: dict[str, set[str]]):
    shown = {name for path in BOARDS for q in queries(path) for name, _ in selectors(q.expr)}
    shown |= {f"{name.removesuffix('_bucket')}_{end}" for name in shown for end in ("sum", "count")}
    missing = [
        name
        for name in metrics
        if name not in shown
        and not name.endswith("_created")
        and not name.startswith(tuple(NOT_SHOWN))
        and not (name.endswith(("_sum", "_count")) and name.rpartition("_")[0] + "_bucket" in shown)
    ]
    assert not missing


# the rules of Grafana's dashboard linter, and some of ours


@boards
def test_a_dashboard_is_what_grafana_10_to_13_import(path: Path):
    board = load(path)
    assert board["schemaVersion"] <= 42
    assert board["uid"] == "tidegate-" + path.stem.partition("-")[2]
    assert board["title"].startswith("tidegate / ")
    assert board["description"]
    assert board["editable"] is False
    assert board["timezone"] == "browser"
    assert "id" not in board
    assert {panel["type"] for panel in panels(board)} <= {
        *("timeseries", "stat", "table", "bargauge", "heatmap"),
    }


@boards
def test_its_variables_choose_source_place_team_and_model(path: Path):
    found = variables(load(path))
    assert list(found) == ["datasource", "environment", "job", "instance", "team", "model"]
    assert found.pop("datasource")["query"] == "prometheus"
    for name, variable in found.items():
        assert variable["refresh"] == 2, name  # on a change of the time range
        assert variable["multi"], name
        assert variable["includeAll"], name
        assert variable["allValue"] == (".*" if name == "environment" else ".+")
        assert variable["datasource"]["uid"] == "${datasource}"
        assert variable["label"]
        assert variable["description"]


@boards
def test_it_links_to_the_others_with_its_variables(path: Path):
    board = load(path)
    (link,) = board["links"]
    assert (link["type"], link["tags"], board["tags"]) == ("dashboards", ["tidegate"], ["tidegate"])
    assert link["includeVars"]
    assert link["keepTime"]
    uids = {load(other)["uid"] for other in BOARDS}
    for address in re.findall(r'"url": "(/d/[^"]+)"', path.read_text()):
        assert re.match(r"/d/([a-z-]+)\?", address)[1] in uids  # type: ignore[index]
        assert "${__url_time_range}" in address
        assert "${datasource:queryparam}" in address


@boards
def test_every_panel_says_what_it_shows(path: Path):
    seen_ids, seen_titles = set(), set()
    row = ""
    for panel in load(path)["panels"]:
        assert panel["id"] not in seen_ids
        seen_ids.add(panel["id"])
        if panel["type"] == "row":
            row = panel["title"]
            continue
        where = (row, panel["title"], panel["type"])
        assert where not in seen_titles
        seen_titles.add(where)
        assert panel["title"], where
        assert len(panel["description"]) >= 10, where
        assert panel["description"].endswith((".", ")")), where
        assert panel["fieldConfig"]["defaults"]["unit"], where
        assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}, where
        assert panel["targets"], where
        assert panel["gridPos"]["x"] + panel["gridPos"]["w"] <= 24, where


@boards
def test_every_query_of_a_panel_is_well_made(path: Path):
    for panel in panels(load(path)):
        references = [target["refId"] for target in panel["targets"]]
        assert references == [chr(ord("A") + place) for place in range(len(references))]
        for target in panel["targets"]:
            assert target["datasource"]["uid"] == "${datasource}"
            check(target, panel)


def check(target: dict[str, Any], panel: dict[str, Any]) -> None:
    expr, where = target["expr"], panel["title"]
    promql_parser.parse(filled(expr))
    windows = set(re.findall(r"\[([^\]]+)\]", expr))
    wanted = (
        {"$__range", "$__rate_interval", "7d"} if target.get("instant") else {"$__rate_interval"}
    )
    assert windows <= wanted, where
    assert set(re.findall(r"\brate\([^\[]*\[([^\]]+)\]", expr)) <= {"$__rate_interval"}, where
    assert not counters_outside_of_rates(expr), where
    for name, labels in selectors(expr):
        assert labels >= OF_THE_SCRAPE, where
        if name != "ALERTS":  # which need not have these labels
            for label in OF_THE_SCRAPE:
                assert f'{label}=~"${label}"' in expr, where
    assert not ("topk" in expr and not target.get("instant")), where
    if panel["type"] in ("timeseries", "bargauge"):
        assert target.get("legendFormat"), where


@boards
def test_exemplars_are_shown_where_there_are_any(path: Path):
    traced = (
        "tidegate_request_duration_seconds_bucket",
        "tidegate_time_to_first_token_seconds_bucket",
        "tidegate_stream_longest_gap_seconds_bucket",
    )
    for panel in panels(load(path)):
        for target in panel["targets"]:
            if panel["type"] in ("timeseries", "heatmap"):
                has = any(name in traced for name, _ in selectors(target["expr"]))
                assert bool(target.get("exemplar")) == has, panel["title"]


@boards
def test_only_what_has_the_label_is_asked_by_team_and_model(path: Path):
    """Panels obey the variables where they can."""
    for query in queries(path):
        for name, labels in selectors(query.expr):
            if query.place.startswith(("variable", "annotation")) or "Availability" in query.place:
                continue
            if name in ("tidegate_tokens_total", "tidegate_cost_usd_total"):
                assert {"team", "model"} <= labels, query.place


def test_objectives_are_bounds_of_buckets():
    """A share of a histogram is exact only at a bound."""
    bounds = {h.name: {floatToGoString(b) for b in h.bounds} for h in catalogue.HISTOGRAMS}
    for rule in rules():
        for name, bound in re.findall(r'(\w+)_bucket\{[^}]*le="([^"]+)"', rule["expr"]):
            assert bound in bounds[name]
