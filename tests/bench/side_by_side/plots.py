"""Plots of a run, as SVG: ratios of CPU with their spread, latencies by percentile."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.side_by_side.report import Result

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLORS = {
    "direct": "#9aa0a6",
    "nginx": "#2e7d32",
    "naive": "#ef6c00",
    "tidegate": "#1565c0",
    "tidegate-bare": "#64b5f6",
    "prototype": "#8e24aa",
}
CPU = (
    ("unary_1k", "worker_us", "1 KB"),
    ("unary_100k", "worker_us", "100 KB new"),
    ("resent_100k", "worker_us", "100 KB resent"),
    ("unary_1m", "worker_us", "1 MB new"),
    ("resent_1m", "worker_us", "1 MB resent"),
    ("paced_40", "tree_us", "event, 40"),
    ("paced_400", "tree_us", "event, 400"),
    ("paced_1000", "tree_us", "event, 1000"),
)
LATENCY = (
    ("rate_20", "", "20/s"),
    ("rate_200", "", "200/s"),
    ("rate_1000", "", "1000/s"),
    ("first_byte", "first_", "first byte"),
    ("paced_400", "event_", "event, 400"),
    ("mixed", "first_", "mixed: first byte"),
    ("mixed", "event_", "mixed: event"),
)


def plot(result: Result, folder: Path) -> list[Path]:
    """Write the plots; without matplotlib there are none."""
    if importlib.util.find_spec("matplotlib") is None:
        return []
    import matplotlib as mpl  # noqa: PLC0415 - a development extra

    mpl.use("svg")
    mpl.rcParams.update({"svg.hashsalt": "bench", "font.size": 9, "axes.axisbelow": True})
    from matplotlib import pyplot  # noqa: PLC0415

    drawn = []
    for name, draw in (("cpu", _cpu), ("latency", _latency)):
        figure, axes = pyplot.subplots(figsize=(10, 4.2), layout="constrained")
        if draw(axes, result):
            axes.grid(axis="y", alpha=0.3)
            axes.legend(ncols=3, fontsize=8)
            path = folder / f"{result.date}-{name}.svg"
            figure.savefig(path, metadata={"Date": None})
            drawn.append(path)
        pyplot.close(figure)
    return drawn


def _cpu(axes: Axes, result: Result) -> bool:
    """CPU as ratios to nginx: the median of the rounds, with lowest and highest."""
    names = [name for name in COLORS if name not in {"direct", "nginx"}]
    drawn = _bars(axes, [(case, label) for case, _, label in CPU], names, _ratios(result))
    axes.axhline(1, color=COLORS["nginx"], linewidth=1, label="nginx")
    axes.set_yscale("log")
    axes.set_ylabel("CPU, × nginx")
    axes.set_title("CPU per request of the worker, per event of all processes")
    return drawn


def _ratios(result: Result) -> Any:
    keys = {case: key for case, key, _ in CPU}

    def of(case: str, name: str) -> tuple[float, float, float] | None:
        figure = result.summaries.get(case, {}).get(name, {}).get(keys[case])
        found = figure and figure.to.get("nginx")
        return (found.median, found.low, found.high) if found else None

    return of


def _latency(axes: Axes, result: Result) -> bool:
    """Latency: a bar to p50, a line on to p99."""
    pairs = {label: (case, key) for case, key, label in LATENCY}

    def of(label: str, name: str) -> tuple[float, float, float] | None:
        case, key = pairs[label]
        figures = result.summaries.get(case, {}).get(name, {})
        p50, p99 = figures.get(f"{key}p50_us"), figures.get(f"{key}p99_us")
        if p50 is None or p99 is None:
            return None
        return p50.value.median / 1000, p50.value.median / 1000, p99.value.median / 1000

    drawn = _bars(axes, [(label, label) for label in pairs], list(COLORS), of)
    axes.set_yscale("log")
    axes.set_ylabel("ms")
    axes.set_title("Latency: bars end at p50, lines at p99")
    return drawn


def _bars(axes: Axes, groups: Sequence[tuple[str, str]], names: Sequence[str], value: Any) -> bool:
    """Draw a group of bars for each case, one for each candidate; return whether there is any."""
    width, drawn = 0.85 / len(names), False
    for place, name in enumerate(names):
        found = [(at, value(key, name)) for at, (key, _) in enumerate(groups)]
        there = [(at, each) for at, each in found if each is not None]
        if not there:
            continue
        drawn = True
        xs = [at + (place - (len(names) - 1) / 2) * width for at, _ in there]
        middles = [middle for _, (middle, _, _) in there]
        errors = [
            [middle - low for _, (middle, low, _) in there],
            [high - middle for _, (middle, _, high) in there],
        ]
        axes.bar(xs, middles, width, color=COLORS[name], label=name)
        axes.errorbar(xs, middles, errors, fmt="none", ecolor="black", elinewidth=0.8)
    axes.set_xticks(range(len(groups)), [label for _, label in groups])
    return drawn
