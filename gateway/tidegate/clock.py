"""Time, as a value that tests can replace."""

import time
from dataclasses import dataclass
from typing import Protocol


class Clock(Protocol):
    """Two clocks: one for records, one for durations."""

    def now(self) -> float:
        """Seconds since the epoch."""
        ...

    def monotonic_ns(self) -> int:
        """Nanoseconds from an arbitrary start; never goes back."""
        ...


@dataclass(frozen=True, slots=True)
class SystemClock:
    """The machine's own clocks."""

    def now(self) -> float:
        """Seconds since the epoch."""
        return time.time()  # noqa: TID251 - this is the one place

    def monotonic_ns(self) -> int:
        """Nanoseconds from an arbitrary start; never goes back."""
        return time.monotonic_ns()
