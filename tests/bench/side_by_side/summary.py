"""From samples to medians and ratios; a ratio never mixes two rounds."""

import statistics
from dataclasses import dataclass

from bench.side_by_side.figures import LATENCIES, Figures

DIRECT = "direct"
REFERENCES = ("nginx", "naive", "tidegate-1w")
ENOUGH_ROUNDS = 5
"""Below, nothing is said about targets."""

Round = dict[str, Figures]
"""The figures of one case in one round, by candidate."""


@dataclass(frozen=True)
class Spread:
    """The median of some rounds, and the lowest and highest of them."""

    median: float
    low: float
    high: float
    rounds: int

    def scaled(self, by: float) -> "Spread":
        """Return the same in another unit."""
        return Spread(self.median * by, self.low * by, self.high * by, self.rounds)


@dataclass(frozen=True)
class Figure:
    """One figure of one candidate, and its ratio to others' in the same round."""

    value: Spread
    to: dict[str, Spread]


Summary = dict[str, dict[str, Figure]]
"""The figures of one case, by candidate and name."""


def with_added(found: Round) -> Round:
    """Add to each latency how much of it direct does not have."""
    direct = found.get(DIRECT, {})
    return {
        name: figures | (_added(figures, direct) if name != DIRECT else {})
        for name, figures in found.items()
    }


def _added(figures: Figures, direct: Figures) -> Figures:
    both = figures.keys() & direct.keys()
    return {f"added_{name}": figures[name] - direct[name] for name in LATENCIES if name in both}


def summarize(rounds: list[Round]) -> Summary:
    """Sum up the rounds of one case."""
    added = [with_added(each) for each in rounds]
    names = list(dict.fromkeys(name for each in added for name in each))
    return {name: _figures(name, added) for name in names}


def _figures(name: str, rounds: list[Round]) -> dict[str, Figure]:
    there = [each[name] for each in rounds if name in each]
    keys = dict.fromkeys(key for figures in there for key in figures)
    return {key: _figure(name, key, rounds) for key in keys}


def _figure(name: str, key: str, rounds: list[Round]) -> Figure:
    values = [each[name][key] for each in rounds if key in each.get(name, {})]
    ratios = {other: _ratios(name, other, key, rounds) for other in REFERENCES if other != name}
    return Figure(
        spread_of(values), {other: spread_of(each) for other, each in ratios.items() if each}
    )


def _ratios(name: str, other: str, key: str, rounds: list[Round]) -> list[float]:
    """Return the ratios; there is none to what is not more than nothing."""
    pairs = [(each.get(name, {}).get(key), each.get(other, {}).get(key)) for each in rounds]
    return [ours / theirs for ours, theirs in pairs if ours is not None and (theirs or 0) > 0]


def spread_of(values: list[float]) -> Spread:
    return Spread(statistics.median(values), min(values), max(values), len(values))
