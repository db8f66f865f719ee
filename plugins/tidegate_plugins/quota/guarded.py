"""A store that may fail: what fails is told at once, tried again, and never waited for twice."""

import asyncio
import contextlib
import logging
from collections import OrderedDict
from collections.abc import Sequence
from typing import NamedTuple

from tidegate.clock import Clock
from tidegate_plugins.quota.stores import Charge, Reply, Standing, Store, StoreError, Take

log = logging.getLogger(__name__)

PROBE_S = 1.0
"""Between two looks at a store that is well."""
RECOVER_S = 0.25
"""Between two looks at one that is not."""
MOST_DEBTS = 100_000
"""Charges kept in memory while the store is away; beyond it the oldest are lost."""


class Debt(NamedTuple):
    """What the store must still be told of a lease."""

    charges: Sequence[Charge] | None
    """None: cancel it."""
    tried: bool
    """Whether the store may have heard it already."""


class Guarded:
    """A store, its health, and what it still has to be told."""

    def __init__(self, store: Store, clock: Clock, lease_s: float) -> None:
        self.store = store
        self.trouble = ""
        """What is wrong; empty while the store is well."""
        self.lost = 0
        """Charges that were given up."""
        self._clock = clock
        self._lease_s = lease_s
        self._open: dict[str, float] = {}
        """Leases of ours, and when they were last renewed (seconds, monotonic)."""
        self._debts: OrderedDict[str, Debt] = OrderedDict()
        """By lease."""
        self._changed = asyncio.Event()
        self._closed = False

    @property
    def open(self) -> int:
        """How many leases there are."""
        return len(self._open)

    @property
    def pending(self) -> int:
        """How much the store has not been told yet."""
        return len(self._debts)

    async def reserve(self, lease: str, takes: Sequence[Take]) -> Reply:
        """Reserve; without asking, fail where the store is known to be in trouble.

        Raises:
            StoreError: it fails. What it may have taken all the same is given back later.
        """
        if self.trouble:
            raise StoreError(self.trouble)
        try:
            reply = await self.store.reserve(lease, takes, self._lease_s)
        except StoreError as error:
            self._owe(lease, Debt(None, tried=True))
            self._failed(error)
            raise
        except BaseException:
            # Cancelled: the client has left, and nobody knows what the store has done.
            self._owe(lease, Debt(None, tried=True))
            raise
        if reply.taken:
            self._open[lease] = self._now()
        return reply

    async def settle(self, lease: str, charges: Sequence[Charge]) -> Sequence[Standing]:
        """Settle, now or as soon as the store is back; return the standings if they are known."""
        self._open.pop(lease, None)
        if self.trouble:
            self._owe(lease, Debt(charges, tried=False))
            return ()
        try:
            return await self.store.settle(lease, charges)
        except StoreError as error:
            self._owe(lease, Debt(charges, tried=True))
            self._failed(error)
            return ()
        except BaseException:
            self._owe(lease, Debt(charges, tried=True))
            raise

    async def watch(self) -> None:
        """Look after the store, for ever: find out when it is back, pay debts, renew leases."""
        while not self._closed:
            await self.look()
            if self.trouble:
                await asyncio.sleep(RECOVER_S)
                continue
            self._changed.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(PROBE_S):
                    await self._changed.wait()

    async def close(self) -> None:
        """Pay what can be paid at once, and let go."""
        self._closed = True
        await self.look()
        if self._debts:
            log.error("quota: %d charges could not be written: %s", len(self._debts), self.trouble)
        await self.store.close()

    async def look(self) -> None:
        """Find out how the store is; tell it what it does not know yet."""
        try:
            await self.store.probe()
            await self._pay()
            await self._renew()
        except StoreError as error:
            self._failed(error)
            return
        if self.trouble:
            log.warning("quota: the store is back")
            self.trouble = ""

    async def _pay(self) -> None:
        while self._debts:
            lease, debt = next(iter(self._debts.items()))
            self._debts[lease] = Debt(debt.charges, tried=True)
            if debt.charges is None:
                await self.store.cancel(lease)
            else:
                await self.store.settle(lease, debt.charges, again=debt.tried)
            self._debts.pop(lease, None)

    async def _renew(self) -> None:
        now = self._now()
        due = [lease for lease, at in self._open.items() if now - at >= self._lease_s / 3]
        if due:
            await self.store.renew(due, self._lease_s)
            self._open.update((lease, now) for lease in due if lease in self._open)

    def _owe(self, lease: str, debt: Debt) -> None:
        self._debts[lease] = debt
        self._changed.set()
        if len(self._debts) > MOST_DEBTS:
            self._debts.popitem(last=False)
            self.lost += 1

    def _failed(self, error: StoreError) -> None:
        if not self.trouble:
            log.error("quota: the store fails: %s", error)
        self.trouble = str(error)
        self._changed.set()

    def _now(self) -> float:
        return self._clock.monotonic_ns() / 1e9
