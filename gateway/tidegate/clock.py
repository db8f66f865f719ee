"""Time, as a value that tests can replace."""

import time
from typing import Protocol


class Clock(Protocol):
    """Two clocks: one for records, one for durations."""

    def now(self) -> float:
        """Seconds since the epoch."""
        ...

    def monotonic_ns(self) -> int:
        """Nanoseconds from an arbitrary start; never goes back."""
        ...


class SystemClock:
    """The machine's own clocks, called as they are: each exchange asks them a dozen times."""

    now = staticmethod(time.time)  # noqa: TID251 - this is the one place
    monotonic_ns = staticmethod(time.monotonic_ns)
