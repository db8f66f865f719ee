"""A store in the memory of one worker: nothing is awaited, and a restart forgets it."""

import heapq
from collections.abc import Iterable, Sequence

from tidegate.clock import Clock
from tidegate_plugins.quota.stores import GONE_S, Charge, Reply, Standing, Take, fits, standing
from tidegate_plugins.quota.windows import Slot

Counter = dict[int, list[int]]
"""By the time a slot dies: used, reserved."""

Lease = tuple[tuple[str, int, int], ...]
"""Counter, slot and amount of everything that is reserved."""

SWEEP_S = 60.0
"""Between two searches for counters that nobody asks for any more."""


class Book:
    """The counters themselves. Generations of one worker share one over a reload."""

    def __init__(self) -> None:
        self.users = 0
        self.counters: dict[str, Counter] = {}
        self.leases: dict[str, Lease] = {}
        self.expires: dict[str, float] = {}
        self.due: list[tuple[float, str]] = []
        """A heap; an entry is void if `expires` says something else."""
        self.gone: dict[str, float] = {}
        self.swept = 0.0


class MemoryStore:
    """The store."""

    shared = False

    def __init__(self, book: Book, clock: Clock) -> None:
        self._book = book
        self._clock = clock

    async def reserve(self, lease: str, takes: Sequence[Take], lease_s: float) -> Reply:
        now = self._clock.now()
        book = self._book
        self._expire(now)
        slots = tuple([take.window.slot(now) for take in takes])
        standings = tuple([self._standing(take.counter, now) for take in takes])
        refused = book.gone.pop(lease, None) is not None
        if refused or not all(map(fits, takes, standings)):
            return Reply(False, now, slots, standings)
        taken, after = [], []
        for take, slot, before in zip(takes, slots, standings, strict=True):
            self._cell(take.counter, slot.dies)[1] += take.amount
            taken.append((take.counter, slot.dies, take.amount))
            after.append(_taken(take, slot, before))
        book.leases[lease] = tuple(taken)
        self._until(lease, now + lease_s)
        return Reply(True, now, slots, tuple(after))

    async def settle(
        self, lease: str, charges: Sequence[Charge], *, again: bool = False
    ) -> tuple[Standing, ...]:
        now = self._clock.now()
        self._expire(now)
        known = self._give_back(lease) or self._book.gone.pop(lease, None) is not None
        if known or not again:
            for counter, dies, amount in charges:
                if amount and (dies == 0 or dies > now):
                    self._cell(counter, dies)[0] += amount
        return tuple([self._standing(charge.counter, now) for charge in charges])

    async def cancel(self, lease: str) -> None:
        if not self._give_back(lease):
            self._book.gone[lease] = self._clock.now()

    async def renew(self, leases: Iterable[str], lease_s: float) -> None:
        now = self._clock.now()
        self._expire(now)
        for lease in leases:
            if lease in self._book.leases:
                self._until(lease, now + lease_s)

    async def read(self) -> dict[str, Standing]:
        now = self._clock.now()
        self._expire(now)
        found = {name: self._standing(name, now) for name in list(self._book.counters)}
        return {name: each for name, each in found.items() if each.used or each.reserved}

    async def probe(self) -> None:
        pass

    async def close(self) -> None:
        pass

    def held(self) -> int:
        """Return how many leases there are."""
        return len(self._book.leases)

    def _cell(self, counter: str, dies: int) -> list[int]:
        return self._book.counters.setdefault(counter, {}).setdefault(dies, [0, 0])

    def _standing(self, name: str, now: float) -> Standing:
        counter = self._book.counters.get(name)
        if not counter:
            return Standing(0, 0, ())
        if len(counter) == 1:  # nearly every calendar window, nearly always
            ((dies, (used, reserved)),) = counter.items()
            if dies == 0 or dies > now:
                return Standing(used, reserved, ((dies, used + reserved),))
        for dies in [dies for dies in counter if dies and dies <= now]:
            del counter[dies]
        return standing([(dies, cell[0], cell[1]) for dies, cell in counter.items()], now)

    def _until(self, lease: str, at: float) -> None:
        self._book.expires[lease] = at
        heapq.heappush(self._book.due, (at, lease))

    def _give_back(self, lease: str) -> bool:
        taken = self._book.leases.pop(lease, None)
        if taken is None:
            return False
        del self._book.expires[lease]
        for name, dies, amount in taken:
            cell = self._book.counters.get(name, {}).get(dies)
            if cell is not None:
                cell[1] -= amount
        return True

    def _expire(self, now: float) -> None:
        book = self._book
        while book.due and book.due[0][0] <= now:
            at, lease = heapq.heappop(book.due)
            if book.expires.get(lease) == at and self._give_back(lease):
                book.gone[lease] = now
        if now >= book.swept + SWEEP_S:
            book.swept = now
            self._sweep(now)

    def _sweep(self, now: float) -> None:
        book = self._book
        book.gone = {lease: at for lease, at in book.gone.items() if at > now - GONE_S}
        # Leases end long before they would expire; what the heap still has of them is void.
        book.due = [entry for entry in book.due if book.expires.get(entry[1]) == entry[0]]
        heapq.heapify(book.due)
        for name, counter in list(book.counters.items()):
            live = {d: c for d, c in counter.items() if any(c) and (d == 0 or d > now)}
            if live:
                book.counters[name] = live
            else:
                del book.counters[name]


def _taken(take: Take, slot: Slot, before: Standing) -> Standing:
    """Return the standing after something was reserved."""
    if len(before.slots) == 1 and before.slots[0][0] == slot.dies:
        total = before.slots[0][1] + take.amount
        return Standing(before.used, before.reserved + take.amount, ((slot.dies, total),))
    slots = dict(before.slots)
    slots[slot.dies] = slots.get(slot.dies, 0) + take.amount
    reserved = before.reserved + take.amount
    return Standing(before.used, reserved, tuple(sorted(slots.items())))
