"""A whole dashboard: variables, links, annotations, and rows of panels."""

from collections.abc import Sequence
from dataclasses import dataclass

from grafana_foundation_sdk.builders import dashboard
from grafana_foundation_sdk.models import dashboard as model

from source.panels import SOURCE, AnyPanel
from source.queries import firing, of

TAG = "tidegate"
ALL = model.VariableOption(text="All", value="$__all", selected=True)


@dataclass(frozen=True, slots=True)
class Row:
    """A line of the dashboard with a title."""

    title: str
    panels: Sequence[AnyPanel]


def address(slug: str, variable: str = "", field: str = "") -> str:
    """Return the address of another dashboard, with the variables of this one and its time.

    `variable` takes the value that the clicked row has in `field`.
    """
    kept = [
        name for name in ("environment", "job", "instance", "team", "model") if name != variable
    ]
    parts = ["${datasource:queryparam}", *(f"${{{name}:queryparam}}" for name in kept)]
    if variable:
        parts.append(f"var-{variable}=${{__data.fields.{field or variable}}}")
    return f"/d/{uid(slug)}?{'&'.join((*parts, '${__url_time_range}'))}"


def uid(slug: str) -> str:
    """Return the name under which Grafana keeps a dashboard; links are made of it."""
    return f"tidegate-{slug}"


def page(slug: str, title: str, description: str, rows: Sequence[Row]) -> dashboard.Dashboard:
    """Return a dashboard. Panels are numbered in their order, so that links to them stay."""
    board = (
        dashboard.Dashboard(f"tidegate / {title}")
        .uid(uid(slug))
        .description(description)
        .tags([TAG])
        .readonly()
        .timezone("browser")
        .time("now-6h", "now")
        .refresh("1m")
        .tooltip(model.DashboardCursorSync.CROSSHAIR)
        .link(_others())
        .annotation(_reloads())
        .annotation(_firing())
    )
    for variable in _variables():
        board = board.with_variable(variable)
    number = 0
    for row in rows:
        number += 1
        board = board.with_row(dashboard.Row(row.title).id(number))
        for panel in row.panels:
            number += 1
            board = board.with_panel(panel.id(number))
    return board


def _others() -> dashboard.DashboardLink:
    return (
        dashboard.DashboardLink("tidegate")
        .type(model.DashboardLinkType.DASHBOARDS)
        .tags([TAG])
        .as_dropdown(False)
        .include_vars(True)
        .keep_time(True)
        .tooltip("The other dashboards, with the same variables and time")
    )


def _annotation(name: str, color: str, expr: str, title: str) -> dashboard.AnnotationQuery:
    return (
        dashboard.AnnotationQuery()
        .name(name)
        .datasource(SOURCE)
        .enable(True)
        .hide(False)
        .icon_color(color)
        .expr(expr)
        .title_format(title)
        .use_value_for_time(False)
    )


def _reloads() -> dashboard.AnnotationQuery:
    changed = of("tidegate_config_last_reload_timestamp_seconds")
    expr = f"max by (instance) (changes({changed}[$__rate_interval])) > 0"
    return _annotation("Configuration", "blue", expr, "{{instance}}: a worker started or reloaded")


def _firing() -> dashboard.AnnotationQuery:
    expr = firing()
    return _annotation("Alerts", "red", expr, "{{alertname}}")


def _variables() -> list[dashboard.DatasourceVariable | dashboard.QueryVariable]:
    source = (
        dashboard.DatasourceVariable("datasource")
        .label("Data source")
        .type("prometheus")
        .description("The Prometheus that scrapes the gateways")
    )
    build, requests = "tidegate_build_info", "tidegate_requests_total"
    place = 'environment=~"$environment"'
    return [
        source,
        _labels("environment", "Environment", build, ".*", "A label of the scrape; all if none"),
        _labels("job", "Job", f"{build}{{{place}}}", ".+", "The scrape job of the gateways"),
        _labels("instance", "Instance", f'{build}{{{place}, job=~"$job"}}', ".+", "One gateway"),
        _labels("team", "Team", of(requests), ".+", "Whom requests are accounted to"),
        _labels("model", "Model", of(requests), ".+", "The model that was asked"),
    ]


def _labels(
    name: str, label: str, selector: str, everything: str, description: str
) -> dashboard.QueryVariable:
    return (
        dashboard.QueryVariable(name)
        .label(label)
        .description(description)
        .datasource(SOURCE)
        .query({"query": f"label_values({selector}, {name})", "refId": f"variable-{name}"})
        .definition(f"label_values({selector}, {name})")
        .refresh(model.VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(model.VariableSort.ALPHABETICAL_ASC)
        .multi(True)
        .include_all(True)
        .all_value(everything)
        .current(ALL)
    )
