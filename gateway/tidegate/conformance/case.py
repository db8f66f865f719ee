"""What a case is, and what comes of it."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from tidegate.conformance.probe import Probe


@dataclass(frozen=True, slots=True)
class Case:
    """One point of the contract."""

    name: str
    """Such as `stream-prompt`; unique."""
    contract: str
    """The points of Claude Code's documented gateway contract it belongs to: `C12`; or empty."""
    claim: str
    """What has to be true, in one line."""
    play: Callable[[Probe], Awaitable[None]]
    """Returns if it is true.

    Raises:
        Failed: it is not, and why.
        Skipped: this gateway, as it is set up, cannot be asked.
    """
    slow: bool = False
    """Takes a minute; played on demand."""


@dataclass(frozen=True, slots=True)
class Score:
    """How one case went."""

    case: Case
    result: str
    """`pass`, `fail` or `skip`."""
    reason: str = ""
