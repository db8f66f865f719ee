"""What is counted between two flushes: sums by bin, as they are added to the database."""

from collections import Counter
from dataclasses import dataclass, field

import msgspec

from tidegate_plugins.usage.facts import Amounts, Fact, Group

MINUTE_S = 60
HOUR_S = 3600

Bin = tuple[int, int]
"""Its length and its start, in seconds since the epoch."""


class Delta(msgspec.Struct, frozen=True):
    """Sums to add, or, with their signs changed, to take away again."""

    usage: tuple[tuple[Bin, Group, Amounts], ...] = ()
    reasons: tuple[tuple[Bin, str, str, int], ...] = ()
    """Bin, kind, name, count."""
    latency: tuple[tuple[Bin, str, str, int, int], ...] = ()
    """Bin, measure, model, bucket, count."""

    def reversed(self) -> "Delta":
        """Return what undoes this."""
        return Delta(
            tuple((b, group, tuple(-n for n in amounts)) for b, group, amounts in self.usage),
            tuple((*row, -count) for *row, count in self.reasons),  # type: ignore[misc]
            tuple((*row, -count) for *row, count in self.latency),  # type: ignore[misc]
        )


@dataclass(slots=True)
class Batch:
    """Sums of some exchanges."""

    usage: dict[tuple[Bin, Group], list[int]] = field(default_factory=dict)
    reasons: Counter[tuple[Bin, str, str]] = field(default_factory=Counter)
    latency: Counter[tuple[Bin, str, str, int]] = field(default_factory=Counter)

    def add(self, fact: Fact, group: Group, bins: tuple[Bin, ...]) -> None:
        """Count one exchange in `bins`."""
        model = group[2]
        for at in bins:
            sums = self.usage.get((at, group))
            if sums is None:
                self.usage[at, group] = list(fact.amounts)
            else:
                for index, amount in enumerate(fact.amounts):
                    sums[index] += amount
            for kind, name in fact.reasons:
                self.reasons[at, kind, name] += 1
            for measure, bucket in fact.latencies:
                self.latency[at, measure, model, bucket] += 1

    def delta(self) -> Delta:
        """Return the sums as a value."""
        return Delta(
            tuple((at, group, tuple(sums)) for (at, group), sums in self.usage.items()),
            tuple((*key, count) for key, count in self.reasons.items()),
            tuple((*key, count) for key, count in self.latency.items()),
        )


def bins_of(at: float, *, minutes_from: float) -> tuple[Bin, ...]:
    """Return the bins that a moment falls into; by the minute only where it is recent."""
    hour = (HOUR_S, int(at) // HOUR_S * HOUR_S)
    if at < minutes_from:
        return (hour,)
    return (MINUTE_S, int(at) // MINUTE_S * MINUTE_S), hour
