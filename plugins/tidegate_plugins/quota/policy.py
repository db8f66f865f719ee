"""The policy: reserves what a request may use, and settles what it has used."""

from collections.abc import Sequence
from itertools import count

from tidegate.exchange import Exchange, Request
from tidegate.plugin import NOT_CONCERNED, Admit, Decision, Host, Note, Report
from tidegate.record import ExchangeRecord
from tidegate.wire.routes import Kind
from tidegate_plugins.prices import Prices
from tidegate_plugins.quota import wording
from tidegate_plugins.quota.amounts import estimate, used
from tidegate_plugins.quota.gauges import Board
from tidegate_plugins.quota.guarded import Guarded
from tidegate_plugins.quota.rules import Hit, Rules
from tidegate_plugins.quota.stores import Charge, Reply, Standing, fits
from tidegate_plugins.quota.windows import Slot

SOFT = "soft"
"""Verdict of the note on a request that comes when much of a limit is used."""


class Quota:
    """Limits over a store. Called concurrently."""

    def __init__(self, host: Host, rules: Rules, prices: Prices, store: Guarded) -> None:
        self._name = host.name
        self._workers = host.workers
        self._rules = rules
        self._prices = prices
        self._store = store
        self._clock = host.clock
        self._board = Board()
        self._numbers = count()

    async def admit(self, exchange: Exchange, request: Request) -> Decision:
        """Reserve what the request may use, or refuse it.

        Raises:
            StoreError: the store fails.
        """
        if exchange.route.kind is not Kind.MESSAGES:
            return NOT_CONCERNED  # nothing else is charged
        amounts = estimate(request, self._prices, exchange.at)
        if exchange.route.path == BATCHES:
            amounts = {**amounts, "concurrent": 0}  # it runs at the provider, some time later
        hits = self._rules.hits(request, amounts)
        if not hits:
            return NOT_CONCERNED
        lease = f"{self._name}/{exchange.id}/{next(self._numbers)}"
        reply = await self._store.reserve(lease, [hit.take for hit in hits])
        self._board.post(hits, reply.standings)
        hold = QuotaHold(self, lease, hits, reply)
        notes = self._notes(request, hits, reply)
        found = list(zip(hits, reply.standings, strict=True))
        if reply.taken:
            return Admit(hold=hold, notes=notes, headers=wording.headers(found))
        full = [(hit, standing) for hit, standing in found if not fits(hit.take, standing)]
        return wording.refusal(full, reply.at, notes, hold)

    def report(self) -> Report:
        """Tell how the store is, and how much of the limits is used."""
        trouble = self._store.trouble
        message = trouble and f"the store fails: {trouble}"
        if not trouble and self._workers > 1 and not self._store.store.shared:
            message = (
                f"store: `memory` counts in each of {self._workers} workers alone, so that together "
                "they admit as many times the limits; write sqlite or redis://…"
            )
        gauges = self._board.gauges(self._clock.now(), self._store.pending, self._store.lost)
        return Report(not trouble, message, gauges)

    def held(self) -> int:
        """Return how many reservations of this worker are open."""
        return self._store.open

    async def settle(
        self, lease: str, hits: Sequence[Hit], slots: Sequence[Slot], record: ExchangeRecord
    ) -> None:
        """Charge what an exchange has used to the slots of its reservation."""
        amounts = used(record, self._prices)
        guessed = _is_batch(record)
        charges = [
            Charge(
                hit.take.counter,
                slot.dies,
                hit.take.amount if guessed else amounts.get(hit.rule.measure, 0),
            )
            for hit, slot in zip(hits, slots, strict=True)
        ]
        standings = await self._store.settle(lease, charges)
        if standings:
            self._board.post(hits, standings)

    def _notes(self, request: Request, hits: Sequence[Hit], reply: Reply) -> tuple[Note, ...]:
        """Return what operators should know of an admitted request, or of a refused one."""
        notes = [
            Note(hit.rule.limit.name, SOFT)
            for hit, standing in zip(hits, reply.standings, strict=True)
            if _is_soft(hit, standing)
        ]
        if self._rules.priced and self._prices.family(request.view.model or "") is None:
            notes.append(Note("unknown_model", "default_price"))
        return tuple(dict.fromkeys(notes)) if notes else ()


BATCHES = "/v1/messages/batches"


def _is_batch(record: ExchangeRecord) -> bool:
    """Whether this has put requests into a batch, of whose use no answer will tell."""
    accepted = record.status is None or record.status < 400
    return record.route == Kind.BATCHES and record.dispatched and accepted


def _is_soft(hit: Hit, standing: Standing) -> bool:
    soft = hit.rule.soft
    return soft is not None and standing.used + standing.reserved >= soft


class QuotaHold:
    """What one request has reserved. After a refusal: where it is charged if it leaves anyway."""

    __slots__ = ("_hits", "_lease", "_quota", "_slots", "_taken")

    def __init__(self, quota: Quota, lease: str, hits: Sequence[Hit], reply: Reply) -> None:
        self._quota = quota
        self._lease = lease
        self._hits = hits
        self._taken = reply.taken
        self._slots = reply.slots

    async def settle(self, record: ExchangeRecord) -> None:
        """Charge what the record says, and give the rest back."""
        if self._taken or record.dispatched:
            await self._quota.settle(self._lease, self._hits, self._slots, record)
