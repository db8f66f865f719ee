"""Verifies a journal: its chains hold, every intent has one exchange, and no id has two."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tidegate.journal.audit import Audit, WriterAudit, check_witnesses, known_register
from tidegate.journal.reader import Segment, segments
from tidegate.journal.register import Register
from tidegate.record import ExchangeRecord, Intent, Record, SegmentStart

ATTEMPTS = 10


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
    segments: int = 0
    removed_segments: int = 0
    """By retention, since the journal was begun."""
    removed_records: int = 0
    audit: Audit = field(default_factory=Audit)

    @property
    def sound(self) -> bool:
        """Whether each exchange is there once, every line can be read, and the chains hold."""
        return not self.repeated and not self.unreadable and not self.audit.faults


def verify(directory: Path) -> Report:
    """Read the whole journal and report. It may be written meanwhile.

    Raises:
        OSError: it cannot be read.
    """
    for _ in range(ATTEMPTS):
        before = _removed(directory)
        try:
            report = _verify(directory)
        except FileNotFoundError:
            if _removed(directory) == before:
                raise
            continue
        if report.sound or _removed(directory) == before:
            return report
    raise OSError(f"{directory}: its segments are removed faster than they can be read")


def _removed(directory: Path) -> int:
    """Return how many segments retention has removed; while it does, they seem to be missing."""
    return known_register(directory, Audit()).removed_segments


def _verify(directory: Path) -> Report:
    report = Report()
    known = known_register(directory, report.audit)
    present = _by_writer(segments(directory))
    report.segments = sum(map(len, present.values()))
    report.removed_segments, report.removed_records = known.removed_segments, known.removed_records
    _account(report, _records(report, present, known))
    check_witnesses(directory, report.audit, present, known)
    return report


def _records(
    report: Report, present: dict[str, list[Segment]], known: Register
) -> Iterator[Record | None]:
    for written in present.values():
        yield from WriterAudit(report.audit, known).records(written)


def _account(report: Report, records: Iterator[Record | None]) -> None:
    intents: set[str] = set()
    exchanges: Counter[str] = Counter()
    for record in records:
        if record is None:
            report.unreadable += 1
        elif isinstance(record, Intent):
            intents.add(record.id)
        elif isinstance(record, SegmentStart):
            intents.update(intent.id for intent in record.open)
        elif isinstance(record, ExchangeRecord):
            exchanges[record.id] += 1
            report.outcomes[record.outcome] += 1
    report.intents = len(intents)
    report.exchanges = exchanges.total()
    report.open = sorted(intents - exchanges.keys())
    report.repeated = sorted(id_ for id_, count in exchanges.items() if count > 1)


def _by_writer(found: list[Segment]) -> dict[str, list[Segment]]:
    writers: dict[str, list[Segment]] = {}
    for segment in found:
        writers.setdefault(segment.writer, []).append(segment)
    return writers
