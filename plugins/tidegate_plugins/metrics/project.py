"""From records to aggregates. One pass over each record, no I/O, nothing kept of it."""

from tidegate.record import ExchangeRecord, Intent, Record, SegmentStart, Vitals, WriterEnd
from tidegate_plugins.metrics import catalogue
from tidegate_plugins.metrics.config import MetricsConfig
from tidegate_plugins.metrics.exchanges import Exchanges
from tidegate_plugins.metrics.series import CounterSeries
from tidegate_plugins.metrics.state import Key, State

_KINDS: dict[type[Record], Key] = {
    Intent: ("intent",),
    ExchangeRecord: ("exchange",),
    Vitals: ("vitals",),
    SegmentStart: ("segment",),
    WriterEnd: ("end",),
}


class Projection:
    """Counts records into a state."""

    def __init__(self, state: State, config: MetricsConfig) -> None:
        self._state = state
        self._exchanges = Exchanges(state, config)
        self._reloads = CounterSeries(state, catalogue.RELOADS)
        self._ends = CounterSeries(state, catalogue.ENDS)
        records = CounterSeries(state, catalogue.RECORDS)
        self._records = {kind: records.at(key) for kind, key in _KINDS.items()}
        for by in ("writer", "recovery"):
            self._ends.at((by,))

    def add(self, record: Record) -> None:
        """Count one record."""
        match record:
            case ExchangeRecord():
                self._exchanges.add(record)
            case Intent():
                self._state.open.add(record.id)
            case Vitals():
                self._vitals(record)
            case SegmentStart():
                # These intents may have been in a segment that is gone by now.
                self._state.open.update(intent.id for intent in record.open)
            case WriterEnd():
                self._ends.add((record.by,))
        self._records[type(record)].value += 1
        self._state.newest = max(self._state.newest, record.at)

    def _vitals(self, vitals: Vitals) -> None:
        worker = str(vitals.worker)
        before = self._state.vitals.get(vitals.worker)
        if before is not None and before.at > vitals.at:
            return  # another process had this place before; the journal tells it late
        if before is None or _restarted(before, vitals):
            reloads, failures = 0, 0
        else:
            reloads, failures = before.reloads, before.reload_failures
        self._reloads.add((worker, "ok"), vitals.reloads - reloads)
        self._reloads.add((worker, "failed"), vitals.reload_failures - failures)
        self._state.vitals[vitals.worker] = vitals


def _restarted(before: Vitals, now: Vitals) -> bool:
    # In a container every start may have the same pid.
    return (
        before.pid != now.pid
        or now.reloads < before.reloads
        or now.reload_failures < before.reload_failures
    )
