"""What policies report of themselves: health, and gauges of their own such as quotas."""

import re
from collections.abc import Container, Iterator, Sequence

from prometheus_client.metrics_core import Metric

from tidegate.record import GaugeRecord, Vitals
from tidegate_plugins.metrics.family import gauge

PREFIX = "tidegate_"
_NAME = re.compile(r"[a-z][a-z0-9_]{0,80}")
_SUFFIXES = ("_total", "_created", "_bucket", "_count", "_sum", "_info")
_OWN = ("plugin", "worker")
HEALTHY = "tidegate_policy_healthy"

_Place = tuple[str, str]
_Found = tuple[_Place, GaugeRecord]


def of_policies(
    workers: Sequence[tuple[int, Vitals]], limit: int, taken: Container[str]
) -> Iterator[Metric]:
    """Yield the health of each worker's policies, and at most `limit` series of each gauge.

    A policy's gauge of a name that is `taken` is not shown: it would make the whole
    exposition unreadable.
    """
    reports = [((p.plugin, str(worker)), p) for worker, v in workers for p in v.policies]
    yield gauge(
        HEALTHY,
        "Whether a policy of a worker is well, by its own account.",
        _OWN,
        ((place, float(report.healthy)) for place, report in reports),
    )
    families: dict[str, list[_Found]] = {}
    for place, report in reports:
        for one in report.gauges:
            if _NAME.fullmatch(one.name):
                families.setdefault(PREFIX + one.name, []).append((place, one))
    for name, found in sorted(families.items()):
        if name != HEALTHY and not any(form in taken for form in _forms(name)):
            yield _family(name, found[:limit])


def _forms(name: str) -> Iterator[str]:
    """Yield the families that a name may belong to: a counter's is without its `_total`."""
    yield name
    for suffix in _SUFFIXES:
        yield name.removesuffix(suffix)


def _family(name: str, found: Sequence[_Found]) -> Metric:
    """Return a gauge; where policies disagree about its labels, what is missing is empty."""
    names = {label for _, one in found for label in one.labels if _NAME.fullmatch(label)}
    labels = sorted(names - set(_OWN))
    series = {
        (*place, *(one.labels.get(label, "") for label in labels)): one.value
        for place, one in found
    }
    text = "As a policy reports it of itself."
    return gauge(name, text, (*_OWN, *labels), series.items())
