"""Which exchanges become traces. Decided when all is known: what went wrong is never lost."""

from tidegate.record import ExchangeRecord, TraceRecord

_ORDINARY = frozenset({"complete", "answered", "client_gone"})
_UNTRACED_ROUTES = frozenset({"probe", "options"})
"""Answered here, by the second where a load balancer asks."""
_LOW_64 = (1 << 64) - 1


class Sampler:
    """Keeps what is worth looking at, and a share of the rest."""

    def __init__(self, *, ratio: float, follow_parent: bool, slow_s: float) -> None:
        # As the SDK's own ratio sampler does: other services, with the same ratio, keep
        # the same traces.
        self._bound = round(ratio * (_LOW_64 + 1))
        self._follow_parent = follow_parent
        self._slow_ms = slow_s * 1000

    def reason(self, record: ExchangeRecord) -> str:
        """Return why the exchange is kept; an empty string if it is not."""
        if record.trace is None or record.route in _UNTRACED_ROUTES:
            return ""
        if record.outcome not in _ORDINARY:
            return "refused" if record.outcome == "refused" else "error"
        if record.edits:
            return "edited"
        if any(d.verdict in ("error", "timeout", "refuse") for d in record.decisions):
            return "policy"
        if record.timing_ms.total >= self._slow_ms:
            return "slow"
        return "ratio" if self._by_chance(record.trace) else ""

    def _by_chance(self, trace: TraceRecord) -> bool:
        if self._follow_parent and trace.parent_id:
            return bool(trace.flags & 1)
        return int(trace.trace_id, 16) & _LOW_64 < self._bound
