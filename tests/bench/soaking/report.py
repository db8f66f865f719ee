"""What came of a soak: a table, and a plot of the memory."""

import importlib.util
from collections.abc import Mapping, Sequence
from pathlib import Path

from bench.side_by_side.report import table
from bench.soaking.audit import Finding
from bench.soaking.trouble import Sample

COLORS = ("#1565c0", "#64b5f6", "#ef6c00", "#9aa0a6")


def as_markdown(date: str, about: Mapping[str, str], findings: Sequence[Finding]) -> str:
    """Return the table of what has to be true, and whether it is."""
    lines = "\n".join(f"- {name}: {value}" for name, value in about.items() if value)
    rows = [[each.what, each.shown, "yes" if each.holds else "**NO**"] for each in findings]
    return f"# Soak, {date}\n\n{lines}\n\n{table(['', 'found', 'as it must be'], rows)}\n"


def write(folder: Path, text: str, samples: Sequence[Sample], killed_at: Sequence[float]) -> None:
    """Write table, samples and plot."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "soak.md").write_text(text)
    rows = [f"{s.at_s:.0f},{s.role},{s.resident_kb},{s.descriptors}\n" for s in samples]
    (folder / "soak.csv").write_text("at_s,process,resident_kb,descriptors\n" + "".join(rows))
    if importlib.util.find_spec("matplotlib") is not None:
        _plot(folder / "soak.svg", samples, killed_at)


def _plot(path: Path, samples: Sequence[Sample], killed_at: Sequence[float]) -> None:
    import matplotlib as mpl  # noqa: PLC0415 - a development extra

    mpl.use("svg")
    mpl.rcParams.update({"svg.hashsalt": "soak", "font.size": 9})
    from matplotlib import pyplot  # noqa: PLC0415

    figure, axes = pyplot.subplots(figsize=(10, 3.6), layout="constrained")
    for role, color in zip(dict.fromkeys(s.role for s in samples), COLORS, strict=False):
        points = [(s.at_s / 60, s.resident_kb / 1024) for s in samples if s.role == role]
        axes.plot(*zip(*points, strict=True), color=color, label=role, linewidth=1.2)
    for at in killed_at:
        axes.axvline(at / 60, color="#c62828", linewidth=0.6, linestyle=":")
    axes.set(xlabel="minutes (dotted: the observatory was killed)", ylabel="resident MB")
    axes.set_ylim(bottom=0)
    axes.grid(alpha=0.3)
    axes.legend(ncols=4, fontsize=8)
    figure.savefig(path, metadata={"Date": None})
    pyplot.close(figure)
