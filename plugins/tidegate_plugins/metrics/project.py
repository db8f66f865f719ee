"""From records to aggregates. One pass over each record, no I/O, nothing kept of it."""

from typing import get_args

from tidegate.record import (
    Content,
    ExchangeRecord,
    Inspection,
    Intent,
    Record,
    SegmentStart,
    ShadowDifference,
    Vitals,
    WriterEnd,
)
from tidegate_plugins.metrics import catalogue
from tidegate_plugins.metrics.config import MetricsConfig
from tidegate_plugins.metrics.exchanges import Exchanges
from tidegate_plugins.metrics.series import CounterSeries
from tidegate_plugins.metrics.state import Count, State
from tidegate_plugins.metrics.usage import Pricing


class Projection:
    """Counts records into a state."""

    def __init__(self, state: State, config: MetricsConfig, pricing: Pricing) -> None:
        self._state = state
        self._exchanges = Exchanges(state, config, pricing)
        self._reloads = CounterSeries(state, catalogue.RELOADS)
        self._lost = CounterSeries(state, catalogue.JOURNAL_LOST)
        self._ends = CounterSeries(state, catalogue.ENDS)
        records = CounterSeries(state, catalogue.RECORDS)
        self._records: dict[type[Record], Count] = {
            kind: records.at((str(kind.__struct_config__.tag),)) for kind in get_args(Record)
        }
        for by in ("writer", "recovery"):
            self._ends.at((by,))

    def add(self, record: Record) -> None:
        """Count one record."""
        match record:
            case ExchangeRecord():
                self._exchanges.add(record)
            case Inspection():
                self._exchanges.add_inspection(record)
            case ShadowDifference():
                self._exchanges.add_shadow(record)
            case Content():
                pass  # never asked for
            case Intent():
                self._state.inflight[record.id] = record.stream
            case Vitals():
                self._vitals(record)
            case SegmentStart():
                # These intents may have been in a segment that is gone by now.
                self._state.inflight.update((intent.id, intent.stream) for intent in record.open)
            case WriterEnd():
                self._ends.add((record.by,))
        self._records[type(record)].value += 1
        self._state.newest = max(self._state.newest, record.at)

    def _vitals(self, vitals: Vitals) -> None:
        worker = str(vitals.worker)
        before = self._state.vitals.get(vitals.worker)
        if before is not None and before.at > vitals.at:
            return  # another process had this place before; the journal tells it late
        reloads, failures, lost = _counts(vitals)
        if before is not None and not _restarted(before, vitals):
            old = _counts(before)
            reloads, failures, lost = reloads - old[0], failures - old[1], lost - old[2]
        self._reloads.add((worker, "ok"), reloads)
        self._reloads.add((worker, "failed"), failures)
        self._lost.add((worker,), lost)
        if reloads or failures or vitals.worker not in self._state.reloaded:
            # Both within seconds: what is known to have gone wrong is what counts.
            self._state.reloaded[vitals.worker] = (vitals.at, not failures)
        self._state.vitals[vitals.worker] = vitals


def _counts(vitals: Vitals) -> tuple[int, int, int]:
    return vitals.reloads, vitals.reload_failures, vitals.journal_lost


def _restarted(before: Vitals, now: Vitals) -> bool:
    # In a container every start may have the same pid.
    counted = zip(_counts(before), _counts(now), strict=True)
    return before.pid != now.pid or any(new < old for old, new in counted)
