"""The dashboards and rules as they are shipped: their queries, and the metrics there are."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import promql_parser
import yaml
from prometheus_client.openmetrics.parser import text_string_to_metric_families

ROOT = Path(__file__).resolve().parents[2]
BOARDS = sorted((ROOT / "dashboards/grafana").glob("*.json"))
RULES = sorted((ROOT / "dashboards/prometheus").glob("*.rules.yml"))

VARIABLES = {
    "$__rate_interval": "5m",
    "$__range": "1h",
    "$__interval": "30s",
    "$environment": ".*",
    "$job": ".+",
    "$instance": ".+",
    "$team": ".+",
    "$model": ".+",
    "${datasource}": "prometheus",
}


@dataclass(frozen=True)
class Query:
    """One query, and where it stands."""

    board: str
    place: str
    expr: str
    """With its variables."""
    instant: bool = False

    @property
    def filled(self) -> str:
        return filled(self.expr)


def filled(expr: str) -> str:
    """Return an expression with the values that Grafana gives to its variables."""
    for name in sorted(VARIABLES, key=len, reverse=True):
        expr = expr.replace(name, VARIABLES[name])
    return expr


def load(path: Path) -> dict[str, Any]:
    board: dict[str, Any] = json.loads(path.read_text())
    return board


def panels(board: dict[str, Any]) -> list[dict[str, Any]]:
    """The panels that show something; rows do not."""
    return [panel for panel in board["panels"] if panel["type"] != "row"]


def variables(board: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {variable["name"]: variable for variable in board["templating"]["list"]}


def queries(path: Path) -> Iterator[Query]:
    """Every query of panels and annotations, and the selectors of variables."""
    board = load(path)
    for panel in panels(board):
        for target in panel["targets"]:
            place = f"{panel['title']} {target['refId']}"
            yield Query(path.stem, place, target["expr"], instant=bool(target.get("instant")))
    for annotation in board["annotations"]["list"]:
        yield Query(path.stem, f"annotation {annotation['name']}", annotation["expr"])
    for name, variable in variables(board).items():
        if variable["type"] == "query":
            selector, _ = label_values(variable)
            yield Query(path.stem, f"variable {name}", selector, instant=True)


def label_values(variable: dict[str, Any]) -> tuple[str, str]:
    """Return selector and label of a variable's query."""
    match = re.fullmatch(r"label_values\((.+), (\w+)\)", variable["query"]["query"])
    assert match is not None, variable["query"]
    return match[1], match[2]


def rules() -> Iterator[dict[str, Any]]:
    """Every recording and alerting rule."""
    for path in RULES:
        for group in yaml.safe_load(path.read_text())["groups"]:
            yield from group["rules"]


# what an expression asks for


def selectors(expr: str) -> list[tuple[str, frozenset[str]]]:
    """Return name and labels of every selector of an expression.

    The labels that an aggregation keeps are asked of each selector below it.
    """
    return list(_asked(promql_parser.parse(filled(expr)), frozenset()))


def _asked(node: Any, kept: frozenset[str]) -> Iterator[tuple[str, frozenset[str]]]:
    match node:
        case promql_parser.VectorSelector():
            yield node.name, kept | {m.name for m in node.matchers.matchers}
        case promql_parser.MatrixSelector():
            yield from _asked(node.vector_selector, kept)
        case promql_parser.AggregateExpr():
            labels = node.modifier.labels if node.modifier else ()
            yield from _asked(node.expr, kept | set(labels))
        case promql_parser.BinaryExpr():
            # Only one side needs to bring a label that is joined or passed on.
            yield from _asked(node.lhs, frozenset())
            yield from _asked(node.rhs, frozenset())
        case promql_parser.Call():
            for argument in node.args:
                yield from _asked(argument, kept)
        case promql_parser.NumberLiteral() | promql_parser.StringLiteral():
            return
        case _:
            yield from _asked(node.expr, kept)


def counters_outside_of_rates(expr: str) -> list[str]:
    """Return the counters of which an expression takes the bare value."""
    parsed = promql_parser.parse(filled(expr))
    return [name for name in _bare(parsed) if name.endswith("_total")]


def _bare(node: Any) -> Iterator[str]:
    match node:
        case promql_parser.VectorSelector():
            yield node.name
        case promql_parser.BinaryExpr():
            yield from _bare(node.lhs)
            yield from _bare(node.rhs)
        case promql_parser.Call():
            for argument in node.args:
                yield from _bare(argument)
        case promql_parser.MatrixSelector() | promql_parser.NumberLiteral():
            return
        case promql_parser.StringLiteral():
            return
        case _:
            yield from _bare(node.expr)


def exposed(text: str) -> dict[str, set[str]]:
    """Return the labels of every series name in an OpenMetrics exposition."""
    found: dict[str, set[str]] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            found.setdefault(sample.name, set()).update(sample.labels)
    return found
