"""What another configuration would have decided about what the journal tells.

The journal keeps no content. Of each request it has the outline, and on a request restored
from that, the policies that say of themselves that an outline is enough (`replayable`) are
asked again. What the others would say is not guessed: it is taken as it was, and counted.
"""

import datetime
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from tidegate.exchange import Principal
from tidegate.journal.reader import lines, segments
from tidegate.plugin import Stage
from tidegate.policy.rehearsal import Given, Rehearsal, Trial
from tidegate.record import ExchangeRecord, decode
from tidegate.registry import Chosen
from tidegate.wire.outline import HIDDEN, restored
from tidegate.wire.routes import GOVERNED_BODIES, LOCAL, Kind

EXAMPLES = 3
"""Ids that are named of each difference."""

LEAVES = "leaves"
_UNITS_S = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}
_AGO = re.compile(r"(\d+(?:\.\d+)?)([smhdw])")
_EXCHANGE = b'{"kind":"exchange"'


class Difference(msgspec.Struct, frozen=True):
    """A way in which exchanges would have gone otherwise."""

    what: str
    """`refused`, `admitted`, `other_rule`, `changed`, or `shadow` for what a policy in shadow says."""
    team: str
    model: str
    before: str
    """`leaves`, or who refused by which rule, or the values that left."""
    after: str


class Found(msgspec.Struct):
    """How often, and where to look."""

    count: int = 0
    examples: list[str] = []


@dataclass(slots=True)
class Report:
    """What came of a replay."""

    exchanges: int = 0
    same: int = 0
    differences: dict[Difference, Found] = field(default_factory=dict)
    undecided: Counter[str] = field(default_factory=Counter)
    """Exchanges that are left as they were, by the reason."""
    not_asked: Counter[str] = field(default_factory=Counter)
    """Exchanges about which a plugin of the new configuration cannot be asked, by plugin."""
    unreadable: int = 0

    def add(self, difference: Difference, exchange_id: str) -> None:
        """Count one more exchange with this difference."""
        found = self.differences.setdefault(difference, Found())
        found.count += 1
        if len(found.examples) < EXAMPLES:
            found.examples.append(exchange_id)

    def of(self, what: str) -> list[tuple[Difference, Found]]:
        """Return the differences of one kind, the most frequent first."""
        found = [item for item in self.differences.items() if item[0].what == what]
        return sorted(found, key=lambda item: -item[1].count)


def since_of(text: str, now: float) -> float:
    """Return the time that `7d`, `12h` or `2026-11-20` means, in seconds since the epoch.

    Raises:
        ValueError: it means none; the message says what would.
    """
    match = _AGO.fullmatch(text)
    if match is not None:
        return now - float(match[1]) * _UNITS_S[match[2]]
    try:
        return datetime.datetime.fromisoformat(text).astimezone().timestamp()
    except ValueError:
        raise ValueError(f"{text!r} is no time; write 7d, 12h, 30m or 2026-11-20") from None


def exchanges(directory: Path, since: float, report: Report) -> Iterator[ExchangeRecord]:
    """Yield the exchanges that began at `since` or later; lines that are none are counted."""
    for segment in segments(directory):
        try:
            if segment.path.stat().st_mtime < since:
                continue
            for line in lines(segment.path):
                if not line.startswith(_EXCHANGE):
                    continue
                try:
                    record = decode(line)
                except msgspec.MsgspecError:
                    report.unreadable += 1
                    continue
                if isinstance(record, ExchangeRecord) and record.at >= since:
                    yield record
        except FileNotFoundError:
            continue  # retention took it


class Replay:
    """Asks an opened configuration about recorded exchanges."""

    def __init__(self, rehearsal: Rehearsal, chosen: Sequence[Chosen]) -> None:
        self.report = Report()
        self._rehearsal = rehearsal
        self._max_body_bytes = rehearsal.config.listen.max_body_bytes
        policies = [link for link in chosen if link.spec.stage is not None]
        self._deaf = {
            link.plugin.label: link.spec.stage for link in policies if not link.spec.replayable
        }

    async def take(self, record: ExchangeRecord) -> None:
        """Decide about one exchange again, and count what is different."""
        report = self.report
        if record.route in LOCAL:
            return
        report.exchanges += 1
        given = given_of(record)
        reason = self._undecidable(record)
        if reason or given is None:
            report.undecided[reason or f"too little is recorded of it (route {record.route})"] += 1
            return
        trial = await self._rehearsal.run(given)
        self._count_shadows(record, trial)
        if trial.refusal is None:
            self._count_not_asked()
        difference = self._compare(record, trial)
        if difference is None:
            report.same += 1
        elif isinstance(difference, str):
            report.undecided[difference] += 1
        else:
            report.add(difference, record.id)

    def _undecidable(self, record: ExchangeRecord) -> str:
        """Return why this cannot be decided again, before anybody is asked."""
        by = record.refused_by
        if record.outcome == "refused" and by is not None:
            if by.plugin == "gateway":
                return f"refused by the gateway itself ({by.rule})"
            if self._deaf.get(by.plugin) is Stage.IDENTIFY:
                return f"refused by {by.plugin}: who it was is not known"
        elif not record.dispatched:
            return "answered here, or broken off before it could leave"
        return ""

    def _count_not_asked(self) -> None:
        for name, stage in self._deaf.items():
            if stage is not Stage.IDENTIFY:
                self.report.not_asked[name] += 1

    def _count_shadows(self, record: ExchangeRecord, trial: Trial) -> None:
        for decision in trial.decisions:
            if decision.mode == "shadow" and decision.verdict == "refuse":
                rule = f"{decision.plugin}:{decision.rule}"
                self.report.add(_difference("shadow", record, _before(record), rule), record.id)

    def _compare(self, record: ExchangeRecord, trial: Trial) -> Difference | str | None:
        """Return the difference, None for none, or why none can be told."""
        before = _before(record)
        after = f"{trial.refused_by.plugin}:{trial.refused_by.rule}" if trial.refused_by else LEAVES
        if record.bytes.request_in > self._max_body_bytes:
            after = "gateway:body_too_large"
        if after != LEAVES:
            if before == after:
                return None
            what = "refused" if before == LEAVES else "other_rule"
            return _difference(what, record, before, after)
        if before == LEAVES:
            return _changed(record, trial)
        refuser = before.partition(":")[0]
        if refuser in self._deaf:
            return f"refused by {refuser}: what it would say is not known"
        return _difference("admitted", record, before, LEAVES)


def _before(record: ExchangeRecord) -> str:
    by = record.refused_by
    return f"{by.plugin}:{by.rule}" if record.outcome == "refused" and by is not None else LEAVES


def _changed(record: ExchangeRecord, trial: Trial) -> Difference | None:
    """Compare what left with what would leave."""
    if trial.sent is None or not record.model.sent:
        return None
    left = (record.model.sent, record.shape.max_tokens)
    leaves = (trial.sent.document.get("model"), trial.sent.document.get("max_tokens"))
    parts = [
        (f"{name} {before}", f"{name} {after}")
        for name, before, after in zip(("model", "max_tokens"), left, leaves, strict=True)
        if before != after
    ]
    if not parts:
        return None
    before, after = (", ".join(side) for side in zip(*parts, strict=True))
    return _difference("changed", record, before, after)


def _difference(what: str, record: ExchangeRecord, before: str, after: str) -> Difference:
    team, model = record.principal.team or "none", record.model.asked or record.route
    return Difference(what, team, model, before, after)


def given_of(record: ExchangeRecord) -> Given | None:
    """Return the request that a record tells of; None if it tells too little."""
    shape, kind = record.shape, _KINDS.get(record.route)
    if kind is None:
        return None
    principal = Principal(record.principal.id or "none", record.principal.team or "none")
    headers = [("anthropic-version", shape.version)] if shape.version else []
    if shape.betas:
        headers.append(("anthropic-beta", ", ".join(shape.betas)))
    headers += [(name, HIDDEN) for name in shape.headers]
    if kind not in GOVERNED_BODIES:
        target = _TARGETS[kind] + str(shape.outline.get("model", ""))
        return Given(method="GET", target=target, headers=tuple(headers), principal=principal)
    if not shape.outline:
        return None
    document = restored(shape.outline, messages=shape.messages, tools=shape.tools)
    return Given(
        raw=msgspec.json.encode(document),
        target=_TARGETS[kind],
        headers=tuple(headers),
        principal=principal,
    )


_TARGETS = {
    Kind.MESSAGES: "/v1/messages",
    Kind.COUNT_TOKENS: "/v1/messages/count_tokens",
    Kind.MODELS: "/v1/models",
    Kind.MODEL: "/v1/models/",
}
_KINDS = {kind.value: kind for kind in _TARGETS}
