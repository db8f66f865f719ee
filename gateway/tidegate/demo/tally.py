"""What happened so far, counted from the journal: the only source there is."""

import statistics
from collections import Counter
from pathlib import Path

import msgspec

from tidegate.journal.reader import Tail
from tidegate.record import ExchangeRecord, Intent, Usage, decode

TOKENS = ("input", "cache_read", "cache_write_5m", "cache_write_1h", "output")
NOBODY = "(none)"
"""In place of a team, for callers that were not identified."""


class Tally:
    """Counts the exchanges that began at `since` or later."""

    def __init__(self, journal: Path, *, since: float) -> None:
        self._tail = Tail(journal)
        self._since = since
        self._open: set[str] = set()
        self._own_ms: list[float] = []
        self.exchanges = 0
        self.streams = 0
        self.outcomes: Counter[tuple[str, str]] = Counter()
        """By outcome and team."""
        self.refusals: Counter[str] = Counter()
        """By `plugin:rule`."""
        self.redactions: Counter[str] = Counter()
        """By rule."""
        self.clamps = 0
        self.tokens: Counter[str] = Counter()

    @property
    def inflight(self) -> int:
        """Requests that have left and are not over."""
        return len(self._open)

    @property
    def own_ms(self) -> float | None:
        """The median of what the gateway itself took, over what was forwarded."""
        return statistics.median(self._own_ms) if self._own_ms else None

    def read(self) -> None:
        """Take in what was written since the last time."""
        while lines := self._tail.read():
            for line in lines:
                try:
                    self._count(decode(line))
                except msgspec.MsgspecError:
                    continue  # `verify` counts those

    def _count(self, record: object) -> None:
        if isinstance(record, Intent) and record.at >= self._since:
            self._open.add(record.id)
        elif isinstance(record, ExchangeRecord) and record.at >= self._since:
            self._count_exchange(record)

    def _count_exchange(self, record: ExchangeRecord) -> None:
        self._open.discard(record.id)
        self.exchanges += 1
        self.streams += record.stream
        self.outcomes[record.outcome, _team(record)] += 1
        if record.refused_by is not None:
            self.refusals[f"{record.refused_by.plugin}:{record.refused_by.rule}"] += 1
        if record.dispatched:
            self._own_ms.append(record.timing_ms.overhead)
        for edit in record.edits:
            if edit.plugin == "redact":
                self.redactions[edit.rule] += 1
            else:
                self.clamps += 1
        if record.usage is not None:
            self._count_tokens(record.usage)

    def _count_tokens(self, usage: Usage) -> None:
        for name in TOKENS:
            self.tokens[name] += getattr(usage, name)


def _team(record: ExchangeRecord) -> str:
    identified = record.principal.id not in (None, "anonymous")
    return (record.principal.team if identified else None) or NOBODY
