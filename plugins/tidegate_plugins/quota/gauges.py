"""What is known of the limits, from the store's answers: the fullest of them become gauges."""

from collections.abc import Sequence

from tidegate.plugin import Gauge
from tidegate_plugins.quota.config import NANO
from tidegate_plugins.quota.rules import Hit, counter_key
from tidegate_plugins.quota.stores import Standing

REMEMBERED = 512
SHOWN = 32
"""Counters that are reported, the fullest first: each is five series."""
SCOPES = frozenset({"org", "team", "model"})
"""Whose counters are reported. A key or a label may be a person, and is no label of a metric."""


class Board:
    """The newest standing of each counter that traffic has touched."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[Hit, Standing]] = {}

    def post(self, hits: Sequence[Hit], standings: Sequence[Standing]) -> None:
        """Take the store's answer in."""
        known = self._known
        for hit, standing in zip(hits, standings, strict=True):
            known[hit.take.counter] = (hit, standing)
        if len(known) > REMEMBERED:
            # The half that is least full is shown last, if ever; traffic brings it back.
            fullest = sorted(known, key=lambda name: _ratio(*known[name]), reverse=True)
            self._known = {name: known[name] for name in fullest[: REMEMBERED // 2]}

    def gauges(self, now: float, pending: int, lost: int) -> tuple[Gauge, ...]:
        """Return what is shown; what is over by now is not."""
        alive = [
            (hit, standing)
            for hit, standing in self._known.values()
            if _alive(standing, now) and SCOPES.issuperset(hit.rule.limit.scopes)
        ]
        alive.sort(key=lambda entry: _ratio(*entry), reverse=True)
        found = [
            Gauge("quota_pending_charges", (), pending),
            Gauge("quota_lost_charges", (), lost),
        ]
        for hit, standing in alive[:SHOWN]:
            found += _of(hit, standing)
        return tuple(found)


def _alive(standing: Standing, now: float) -> bool:
    return any(dies == 0 or dies > now for dies, _ in standing.slots)


def _ratio(hit: Hit, standing: Standing) -> float:
    return (standing.used + standing.reserved) / hit.take.limit if hit.take.limit else 1.0


def _of(hit: Hit, standing: Standing) -> list[Gauge]:
    labels = (
        ("limit", hit.rule.limit.name),
        ("measure", hit.rule.measure),
        ("subject", counter_key(hit.subject) or "org"),
    )
    unit = NANO if hit.rule.measure == "usd" else 1
    resets = standing.slots[-1][0] if standing.slots else 0
    found = [
        Gauge("quota_limit", labels, hit.take.limit / unit),
        Gauge("quota_used", labels, standing.used / unit),
        Gauge("quota_reserved", labels, standing.reserved / unit),
        Gauge("quota_used_ratio", labels, _ratio(hit, standing)),
    ]
    if resets:
        found.append(Gauge("quota_reset_timestamp_seconds", labels, resets))
    return found
