"""What has to be true when it is over: of the journal, the sockets, the memory, the limits."""

import statistics
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.soaking.trouble import Sample
from tidegate.journal.reader import lines, segments
from tidegate.record import ExchangeRecord, Intent, decode

WARM_UP = 0.3
"""The share of the time in which caches may fill."""
GROWTH_SHARE, GROWTH_KB = 0.05, 4 * 1024
ESTABLISHED = "01"


@dataclass(frozen=True)
class Finding:
    """One thing that has to be true."""

    what: str
    shown: str
    holds: bool


@dataclass(frozen=True)
class Account:
    """What is in a journal."""

    exchanges: Counter[str]
    """How often each id has a record."""
    intents: Counter[str]
    by_client: Counter[str]
    """Exchanges by what the client says it is."""
    sent_by: dict[str, str]
    """By id, whose it is, of those that were about to leave."""
    bad: Counter[str]
    """Why exchanges had another answer than 200, by client, outcome and rule."""


def account(journal: Path) -> Account:
    """Read a journal."""
    exchanges: Counter[str] = Counter()
    intents: Counter[str] = Counter()
    clients: Counter[str] = Counter()
    sent_by: dict[str, str] = {}
    bad: Counter[str] = Counter()
    for segment in segments(journal):
        for line in lines(segment.path):
            record = decode(line)
            if isinstance(record, ExchangeRecord):
                exchanges[record.id] += 1
                clients[record.client.app or ""] += 1
                if record.status not in {200, None}:
                    bad[_reason(record)] += 1
            elif isinstance(record, Intent):
                intents[record.id] += 1
                sent_by[record.id] = record.client.app or ""
    return Account(exchanges, intents, clients, sent_by, bad)


def _reason(record: ExchangeRecord) -> str:
    by = record.refused_by
    rule = f", {by.plugin}: {by.rule}" if by is not None else ""
    return f"{record.client.app}: {record.status} {record.outcome}{rule}"


def journal_findings(
    found: Account, started: Counter[str], polite: str, asked_upstream: int
) -> list[Finding]:
    """Compare a journal with what clients sent and the upstream got.

    `started` is by client; of those but `polite` each may have left before it was noticed.
    """
    twice = sum(count - 1 for count in (*found.exchanges.values(), *found.intents.values()))
    open_ended = len(found.intents.keys() - found.exchanges.keys())
    sure = sum(who not in started or who == polite for who in found.sent_by.values())
    most = len(found.intents)
    rude = [who for who in started if who != polite]
    return [
        Finding("records that are there twice", str(twice), twice == 0),
        Finding("requests that left and have no end", str(open_ended), open_ended == 0),
        _equal("exchanges of polite clients", found.by_client[polite], started[polite]),
        *(
            Finding(
                f"exchanges of {who} clients",
                f"{found.by_client[who]} of {started[who]}",
                found.by_client[who] <= started[who],
            )
            for who in rude
        ),
        Finding(
            "requests that reached the upstream",
            f"{asked_upstream}, {sure} to {most} by the journal",
            sure <= asked_upstream <= most,
        ),
    ]


def _equal(what: str, found: int, expected: int) -> Finding:
    return Finding(what, f"{found} of {expected}", found == expected)


def memory_findings(samples: Sequence[Sample]) -> list[Finding]:
    """Say of each process how its memory changed after warming up.

    The trend is that of the median of pairwise slopes (Theil-Sen), which single peaks do not
    move; it may not come to more than 5 % or 4 MB over the time that was looked at.
    """
    end = max(sample.at_s for sample in samples)
    found = []
    for role in dict.fromkeys(sample.role for sample in samples):
        points = [
            (sample.at_s, sample.resident_kb)
            for sample in samples
            if sample.role == role and sample.at_s >= WARM_UP * end and sample.resident_kb
        ]
        if len(points) < 3:
            continue
        middle = statistics.median(kb for _, kb in points)
        grown = slope(points) * (points[-1][0] - points[0][0])
        shown = f"{middle / 1024:.0f} MB, {grown / 1024:+.1f} MB"
        limit = max(GROWTH_SHARE * middle, GROWTH_KB)
        found.append(Finding(f"memory of the {role}, and its trend", shown, grown <= limit))
    return found


def slope(points: Sequence[tuple[float, float]]) -> float:
    """Return the median of the slopes between points, evenly thinned to some hundreds."""
    chosen = points[:: max(1, len(points) // 300)]
    slopes = [
        (y2 - y1) / (x2 - x1)
        for at, (x1, y1) in enumerate(chosen)
        for x2, y2 in chosen[at + 1 :]
        if x2 > x1
    ]
    return statistics.median(slopes) if slopes else 0.0


def connections(port: int) -> int:
    """Count the established connections of this machine to a local port, each once."""
    return sum(_to(port, line) for line in _table("/proc/net/tcp"))


def _table(path: str) -> Iterable[list[str]]:
    return (line.split() for line in Path(path).read_text().splitlines()[1:])


def _to(port: int, fields: list[str]) -> bool:
    return fields[3] == ESTABLISHED and int(fields[2].rpartition(":")[2], 16) == port
