"""Where amounts are counted: one interface, three implementations that behave the same.

A *counter* has slots (`windows`), each with an amount used and an amount reserved. A *lease* is
what one exchange has reserved. An id is charged exactly once, however often that is tried:

- `reserve` takes all amounts or none, if every counter stays within its limit.
- `settle` gives the lease back and adds what was used. A lease that had expired is charged all
  the same. Tried `again`, it charges only if the first attempt did not come through.
- `cancel` gives back what a `reserve` may have taken whose answer never came, also if that
  `reserve` is still on its way.
- A lease that is not renewed expires: what it had reserved is given back.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple, Protocol

from tidegate_plugins.quota.windows import Slot, Window

GONE_S = 86_400
"""How long an expired or cancelled lease is remembered."""


class StoreError(Exception):
    """The store does not do what it was asked to. The message is for operators."""


class Take(NamedTuple):
    """One amount to reserve."""

    counter: str
    window: Window
    amount: int
    limit: int


class Charge(NamedTuple):
    """One amount that was used; it counts where its reservation lay."""

    counter: str
    dies: int
    amount: int


class Standing(NamedTuple):
    """How a counter is; `slots` are (dies, used + reserved), those that die first first."""

    used: int
    reserved: int
    slots: tuple[tuple[int, int], ...]


class Reply(NamedTuple):
    """What became of a `reserve`."""

    taken: bool
    at: float
    """The store's time, in seconds since the epoch."""
    slots: tuple[Slot, ...]
    """Where each amount lies, or would."""
    standings: tuple[Standing, ...]
    """Each counter, with what was taken."""


class Store(Protocol):
    """Counts. Every method raises `StoreError` where the store fails, within its time-out."""

    shared: bool
    """Whether other workers see the same counters."""

    async def reserve(self, lease: str, takes: Sequence[Take], lease_s: float) -> Reply:
        """Take every amount, or none if one of them does not fit."""
        ...

    async def settle(
        self, lease: str, charges: Sequence[Charge], *, again: bool = False
    ) -> tuple[Standing, ...]:
        """Give the lease back and charge; return how the counters are."""
        ...

    async def cancel(self, lease: str) -> None:
        """Undo a `reserve` of which nobody knows whether it came through."""
        ...

    async def renew(self, leases: Iterable[str], lease_s: float) -> None:
        """Keep leases that have not expired for so many seconds from now."""
        ...

    async def read(self) -> dict[str, Standing]:
        """Return every counter that has anything in it. For people: it may take a while."""
        ...

    async def probe(self) -> None:
        """Do what tells whether the store takes writes."""
        ...

    async def close(self) -> None:
        """Let go of everything. Called once."""
        ...


def standing(amounts: Iterable[tuple[int, int, int]], now: float) -> Standing:
    """Return the standing that (dies, used, reserved) of a counter's slots come to."""
    used = reserved = 0
    slots: dict[int, int] = {}
    for dies, its_used, its_reserved in amounts:
        if dies == 0 or dies > now:
            used += its_used
            reserved += its_reserved
            slots[dies] = slots.get(dies, 0) + its_used + its_reserved
    return Standing(used, reserved, tuple(sorted(slots.items())))


def fits(take: Take, before: Standing) -> bool:
    """Whether a counter has room for what is to be taken."""
    return before.used + before.reserved + take.amount <= take.limit
