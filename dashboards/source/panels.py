"""Panels: one function for each kind, with the looks that all of them share."""

from collections.abc import Sequence
from dataclasses import dataclass

from grafana_foundation_sdk.builders import bargauge, common, dashboard, heatmap, prometheus
from grafana_foundation_sdk.builders import stat as stats
from grafana_foundation_sdk.builders import table as tables
from grafana_foundation_sdk.builders import timeseries as series
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.models import common as looks
from grafana_foundation_sdk.models import dashboard as model
from grafana_foundation_sdk.models.heatmap import HeatmapColorMode
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

HEIGHT = 9
"""Of all panels but numbers: the legend's table has room for three series."""
SOURCE = looks.DataSourceRef(type_val="prometheus", uid="${datasource}")
GREEN, YELLOW, RED = "green", "yellow", "red"
PLAIN = "text"
"""The colour of numbers that are neither good nor bad."""

AnyPanel = series.Panel | stats.Panel | tables.Panel | bargauge.Panel | heatmap.Panel


@dataclass(frozen=True, slots=True)
class Query:
    """One query of a panel, and what its series are called."""

    expr: str
    legend: str = ""
    exemplars: bool = False
    """Show the traces that the buckets point to."""


def _targets(
    queries: Sequence[Query], *, instant: bool, table: bool = False
) -> list[prometheus.Dataquery]:
    return [
        _target(query, chr(ord("A") + place), instant=instant, table=table)
        for place, query in enumerate(queries)
    ]


def _target(query: Query, ref: str, *, instant: bool, table: bool) -> prometheus.Dataquery:
    target = prometheus.Dataquery().ref_id(ref).datasource(SOURCE).expr(query.expr)
    target = target.instant() if instant else target.range()
    if query.legend:
        target = target.legend_format(query.legend)
    if query.exemplars:
        target = target.exemplar(True)
    return target.format(PromQueryFormat.TABLE) if table else target


def levels(
    warn: float | None, bad: float | None, base: str = PLAIN
) -> Builder[model.ThresholdsConfig]:
    """Return thresholds: green, yellow from `warn`, red from `bad`; falling if `bad` is less."""
    found: list[tuple[float | None, str]] = [(None, GREEN)]
    if warn is None and bad is None:
        found = [(None, base)]
    elif warn is not None and bad is not None and bad < warn:
        found = [(None, RED), (bad, YELLOW), (warn, GREEN)]
    else:
        found += [(at, name) for at, name in ((warn, YELLOW), (bad, RED)) if at is not None]
    steps = [model.Threshold(value=at, color=name) for at, name in found]
    return dashboard.ThresholdsConfig().mode(model.ThresholdsMode.ABSOLUTE).steps(steps)


def lines(
    title: str,
    description: str,
    unit: str,
    *queries: Query,
    stacked: bool = False,
    high: float | None = None,
    least: float | None = None,
    warn: float | None = None,
    bad: float | None = None,
    span: int = 8,
) -> series.Panel:
    """Return series over time, from 0.

    `high` is the end of the axis where there is one, `least` what it reaches at least.
    """
    panel = (
        series.Panel()
        .title(title)
        .description(description)
        .unit(unit)
        .datasource(SOURCE)
        .height(HEIGHT)
        .span(span)
        .min(0)
        .line_width(1)
        .fill_opacity(25 if stacked else 8)
        .show_points(looks.VisibilityMode.AUTO)
        .thresholds(levels(warn, bad))
        .legend(
            common.VizLegendOptions()
            .display_mode(looks.LegendDisplayMode.TABLE)
            .placement(looks.LegendPlacement.BOTTOM)
            .show_legend(True)
            .calcs(["mean", "lastNotNull"])
            .sort_by("Last *")
            .sort_desc(True)
        )
        .tooltip(
            common.VizTooltipOptions()
            .mode(looks.TooltipDisplayMode.MULTI)
            .sort(looks.SortOrder.DESCENDING)
        )
        .targets(_targets(queries, instant=False))
    )
    if stacked:
        panel = panel.stacking(common.StackingConfig().mode(looks.StackingMode.NORMAL).group("A"))
    if high is not None:
        panel = panel.max(high)
    if least is not None:
        panel = panel.axis_soft_max(least)
    if warn is not None or bad is not None:
        style = common.GraphThresholdsStyleConfig().mode(looks.GraphThresholdsStyleMode.DASHED)
        panel = panel.thresholds_style(style)
    return panel


def stat(
    title: str,
    description: str,
    unit: str,
    expr: str,
    *,
    warn: float | None = None,
    bad: float | None = None,
    legend: str = "",
    since: str = "",
    decimals: int | None = None,
    span: int = 4,
) -> stats.Panel:
    """Return one number. `since` puts another range in place of the dashboard's (`now/M`)."""
    panel = (
        stats.Panel()
        .title(title)
        .description(description)
        .unit(unit)
        .datasource(SOURCE)
        .height(4)
        .span(span)
        .graph_mode(looks.BigValueGraphMode.NONE)
        .no_value("–")
        .color_mode(looks.BigValueColorMode.VALUE)
        .thresholds(levels(warn, bad))
        .reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]).values(False).fields(""))
        .targets(_targets([Query(expr, legend)], instant=True))
    )
    if decimals is not None:
        panel = panel.decimals(decimals)
    # The description says which; in the header it would leave no room for the title.
    return panel.time_from(since).hide_time_override(True) if since else panel


def bars(
    title: str,
    description: str,
    unit: str,
    query: Query,
    *,
    warn: float | None = None,
    bad: float | None = None,
    high: float | None = None,
    span: int = 8,
) -> bargauge.Panel:
    """Return one bar for each series, as of now, the longest first as far as the query sorts."""
    panel = (
        bargauge.Panel()
        .title(title)
        .description(description)
        .unit(unit)
        .datasource(SOURCE)
        .height(HEIGHT)
        .span(span)
        .min(0)
        .orientation(looks.VizOrientation.HORIZONTAL)
        .display_mode(looks.BarGaugeDisplayMode.BASIC)
        .name_placement(looks.BarGaugeNamePlacement.LEFT)
        .sizing(looks.BarGaugeSizing.MANUAL)
        .min_viz_height(20)
        .max_viz_height(30)
        .no_value("–")
        .thresholds(levels(warn, bad, "blue"))
        .reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]).values(False).fields(""))
        .targets(_targets([query], instant=True))
    )
    return panel if high is None else panel.max(high)


def heat(title: str, description: str, unit: str, expr: str, *, span: int = 12) -> heatmap.Panel:
    """Return a histogram over time; `expr` is a sum by `le`."""
    target = _target(Query(expr, "{{le}}", exemplars=True), "A", instant=False, table=False)
    return (
        heatmap.Panel()
        .title(title)
        .description(description)
        .unit(unit)
        .datasource(SOURCE)
        .height(HEIGHT)
        .span(span)
        .calculate(False)
        .color(
            heatmap.HeatmapColorOptions().mode(HeatmapColorMode.SCHEME).scheme("Oranges").steps(64)
        )
        .y_axis(heatmap.YAxisConfig().unit(unit))
        .targets([target.format(PromQueryFormat.HEATMAP)])
    )


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table: its name, the query that fills it, its unit."""

    name: str
    expr: str
    unit: str


def table(
    title: str,
    description: str,
    *columns: Column,
    labels: Sequence[str],
    links: Sequence[tuple[str, str]] = (),
    span: int = 12,
) -> tables.Panel:
    """Return one row for each set of `labels`. `links`: (label, address) of drill-downs."""
    renamed = {f"Value #{chr(ord('A') + place)}": c.name for place, c in enumerate(columns)}
    if len(columns) == 1:
        renamed["Value"] = columns[0].name
    panel = (
        tables.Panel()
        .title(title)
        .description(description)
        .unit("short")
        .datasource(SOURCE)
        .height(HEIGHT)
        .span(span)
        .filterable(True)
        .min_width(60)
        .no_value("–")
        .targets(_targets([Query(c.expr) for c in columns], instant=True, table=True))
        .with_transformation(model.DataTransformerConfig(id_val="merge", options={}))
        .with_transformation(
            model.DataTransformerConfig(
                id_val="organize",
                options={
                    "excludeByName": {"Time": True},
                    "indexByName": {name: at for at, name in enumerate((*labels, *renamed))},
                    "renameByName": renamed,
                },
            )
        )
        .sort_by([common.TableSortByFieldState().display_name(columns[0].name).desc(True)])
    )
    for column in columns:
        unit = model.DynamicConfigValue(id_val="unit", value=column.unit)
        panel = panel.override_by_name(column.name, [unit])
    for label, address in links:
        link = [{"title": f"Show only this {label}", "url": address}]
        panel = panel.override_by_name(
            label, [model.DynamicConfigValue(id_val="links", value=link)]
        )
    return panel
