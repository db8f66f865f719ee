"""Reconciles a journal: every intent has one exchange, and no id has two."""

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from tidegate.journal.reader import lines, segments
from tidegate.record import ExchangeRecord, Intent, decode


@dataclass(slots=True)
class Report:
    """What a journal holds, and what is wrong with it."""

    intents: int = 0
    exchanges: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    open: list[str] = field(default_factory=list)
    """Intents without an exchange: in flight, or lost if the gateway is not running."""
    repeated: list[str] = field(default_factory=list)
    """Ids with more than one exchange. Never."""
    unreadable: int = 0
    """Lines that are not records."""

    @property
    def sound(self) -> bool:
        """Whether each exchange is there once and every line can be read."""
        return not self.repeated and not self.unreadable


def verify(directory: Path) -> Report:
    """Read the whole journal and report.

    Raises:
        OSError: it cannot be read.
    """
    report = Report()
    intents: set[str] = set()
    exchanges: Counter[str] = Counter()
    for segment in segments(directory):
        for line in lines(segment.path):
            try:
                record = decode(line)
            except msgspec.MsgspecError:
                report.unreadable += 1
                continue
            if isinstance(record, Intent):
                intents.add(record.id)
            elif isinstance(record, ExchangeRecord):
                exchanges[record.id] += 1
                report.outcomes[record.outcome] += 1
    report.intents = len(intents)
    report.exchanges = exchanges.total()
    report.open = sorted(intents - exchanges.keys())
    report.repeated = sorted(id_ for id_, count in exchanges.items() if count > 1)
    return report
