"""How a worker's policies are: what readiness and the metrics are told of them."""

from collections.abc import Iterator, Sequence

from tidegate.control import Condition
from tidegate.errors import place_of
from tidegate.pipeline.host import Link
from tidegate.plugin import Report, Reporting
from tidegate.record import GaugeRecord, PolicyVitals


def condition_of(chain: Sequence[Link], *, journal_fails: bool) -> Condition:
    """Return what a worker tells of itself.

    A policy in trouble refuses every request; then there should be no traffic. Where it
    admits them, by its mode or `on_error`, the trouble is told all the same.
    """
    reasons = ["the journal cannot be written"] if journal_fails else []
    remarks: list[str] = []
    for link, report in _reports(chain):
        if not report.healthy:
            harmless = link.shadow or link.admit_on_error
            (remarks if harmless else reasons).append(f"{link.name}: {report.message}")
    return Condition("; ".join(reasons), "; ".join(remarks))


def policy_vitals(chain: Sequence[Link]) -> tuple[PolicyVitals, ...]:
    """Return how the policies are that can tell."""
    return tuple(
        PolicyVitals(
            plugin=link.name,
            healthy=report.healthy,
            message=report.message,
            gauges=tuple(GaugeRecord(g.name, dict(g.labels), g.value) for g in report.gauges),
        )
        for link, report in _reports(chain)
    )


def _reports(chain: Sequence[Link]) -> Iterator[tuple[Link, Report]]:
    for link in chain:
        if isinstance(link.policy, Reporting):
            try:
                yield link, link.policy.report()
            except Exception as error:  # noqa: BLE001 - a plugin may raise anything
                yield link, Report(healthy=False, message=f"cannot report: {place_of(error)}")
