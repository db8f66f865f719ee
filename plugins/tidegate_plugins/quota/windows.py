"""When an amount counts: calendar and rolling windows, cut into slots.

An amount lies in the slot of the time of its admission, reserved and used alike, and counts
until that slot dies. What counts now is the sum over all slots that live.
"""

from datetime import datetime, timedelta, tzinfo
from typing import Literal, NamedTuple, Protocol

Per = Literal["minute", "hour", "day", "week", "month"]

MINUTE_S = 60
HOUR_S = 3600
DAY_S = 86_400
LENGTH_S: dict[Per, int] = {
    "minute": MINUTE_S,
    "hour": HOUR_S,
    "day": DAY_S,
    "week": 7 * DAY_S,
    "month": 30 * DAY_S,
}
"""Of rolling windows."""

STEPS = 60
"""Slots of a rolling window: it forgets in steps, never too early, and by one step too late."""


class Slot(NamedTuple):
    """A stretch of time; all in whole seconds since the epoch."""

    begins: int
    ends: int
    """Exclusive; what is admitted from then on lies in another slot."""
    dies: int
    """From then on nothing in it counts. 0: never."""


FOREVER = Slot(0, 1 << 53, 0)


class Window(Protocol):
    """Tells in which slot something lies that is admitted now."""

    def slot(self, now: float) -> Slot:
        """Return the slot of a time, in seconds since the epoch."""
        ...


class Always:
    """The window of what is only ever reserved: requests in flight."""

    def slot(self, now: float) -> Slot:
        return FOREVER


class Calendar:
    """Minutes, hours, days, weeks (from Monday) or months by the clock of a time zone."""

    def __init__(self, per: Per, zone: tzinfo) -> None:
        self._per = per
        self._zone = zone
        self._slot = Slot(0, 0, 0)

    def slot(self, now: float) -> Slot:
        slot = self._slot
        if not slot.begins <= now < slot.ends:
            slot = self._slot = self._at(now)
        return slot

    def _at(self, now: float) -> Slot:
        here = datetime.fromtimestamp(now, self._zone)
        if self._per in ("minute", "hour"):
            length = LENGTH_S[self._per]
            offset = int((here.utcoffset() or timedelta()).total_seconds())
            begins = (int(now) + offset) // length * length - offset
            return Slot(begins, begins + length, begins + length)
        first = here.replace(hour=0, minute=0, second=0, microsecond=0, fold=0)
        if self._per == "week":
            first -= timedelta(days=first.weekday())
        elif self._per == "month":
            first = first.replace(day=1)
        ends = int(self._next(first).timestamp())
        return Slot(int(first.timestamp()), ends, ends)

    def _next(self, first: datetime) -> datetime:
        # Arithmetic on local time: a day with a change of the clocks has 23 or 25 hours.
        if self._per == "month":
            return (first + timedelta(days=32)).replace(day=1)
        return first + timedelta(days=7 if self._per == "week" else 1)


class Rolling:
    """The last minute, hour, day, week or 30 days."""

    def __init__(self, per: Per) -> None:
        self._length = LENGTH_S[per]
        self._step = self._length // STEPS

    def slot(self, now: float) -> Slot:
        begins = int(now) // self._step * self._step
        ends = begins + self._step
        return Slot(begins, ends, ends + self._length)
