"""What the gateway is to reach, and whether it did."""

from dataclasses import dataclass

from bench.side_by_side.cases import UNTRACED
from bench.side_by_side.summary import Spread, Summary


@dataclass(frozen=True)
class Target:
    """A bound on a figure of one candidate, or on its ratio in the same rounds."""

    what: str
    case: str
    figure: str
    reference: str
    """Whose figure it is divided by; empty: the figure itself is bounded."""
    limit: float
    who: str = "tidegate"
    unit: str = ""
    """Of the bound, where there is no reference."""
    scale: float = 1
    """From the figure's unit to the bound's."""
    at_least: bool = False

    @property
    def bound(self) -> str:
        """The bound, in words."""
        unit = f"× {self.reference}" if self.reference else self.unit
        return f"{'≥' if self.at_least else '≤'} {self.limit:g} {unit}".rstrip()

    def met(self, reached: Spread) -> bool:
        if self.at_least:
            return reached.median >= self.limit
        return reached.median <= self.limit


CPU_ALL = "CPU of all processes per"

TARGETS = (
    Target("CPU of the worker per 1 KB request", "unary_1k", "worker_us", "nginx", 4.5),
    Target("CPU of the worker per 1 KB request", "unary_1k", "worker_us", "naive", 0.4),
    Target(f"{CPU_ALL} 1 KB request", "unary_1k", "tree_us", "nginx", 6),
    Target(
        f"{CPU_ALL} 1 KB request, metrics only", "unary_1k", "tree_us", "nginx", 6, who=UNTRACED
    ),
    Target(f"{CPU_ALL} event, 40 streams", "paced_40", "tree_us", "nginx", 1.25),
    Target(f"{CPU_ALL} event, 400 streams", "paced_400", "tree_us", "nginx", 1.25),
    Target(f"{CPU_ALL} event, 1000 streams", "paced_1000", "tree_us", "nginx", 1.25),
    Target("added p50 at 200 a second", "rate_200", "added_p50_us", "nginx", 2.5),
    Target("added p99 at 200 a second", "rate_200", "added_p99_us", "nginx", 3),
    Target("added time to first byte, p50", "first_byte", "added_first_p50_us", "nginx", 2.5),
    Target("added time to first byte, p99", "first_byte", "added_first_p99_us", "nginx", 3),
    *(
        Target(
            f"added to a {what} body, p50", case, "added_p50_us", "", most, unit="ms", scale=1e-3
        )
        for what, case, most in (
            ("clean 100 KB", "unary_100k", 1),
            ("clean 1 MB", "unary_1m", 8),
            ("resent 100 KB", "resent_100k", 0.5),
            ("resent 1 MB", "resent_1m", 4),
        )
    ),
    Target("memory per open stream, all processes", "held", "tree_kb", "", 25, unit="KB"),
    *(
        Target(
            f"answers a second, two workers, {size} KB",
            f"workers_{size}k",
            "per_second",
            "tidegate-1w",
            1.8,
            who="tidegate-2w",
            at_least=True,
        )
        for size in (1, 100)
    ),
    Target(
        "latest event beside 10 MB bodies, added",
        *("neighbour", "added_event_max_us", ""),
        20,
        unit="ms",
        scale=1e-3,
    ),
)


def against(target: Target, cases: dict[str, Summary]) -> Spread | None:
    """Return what was reached, if that was measured."""
    figure = cases.get(target.case, {}).get(target.who, {}).get(target.figure)
    if figure is None:
        return None
    found = figure.to.get(target.reference) if target.reference else figure.value
    return found and found.scaled(target.scale)
