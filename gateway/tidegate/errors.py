"""What can go wrong outside the data path, said so that the reader knows what to change."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong with a configuration: where, and what to do about it."""

    path: str
    message: str

    def __str__(self) -> str:
        return f"{self.path}: {self.message}"


class ConfigError(Exception):
    """The configuration cannot be used. Holds every problem found, not only the first."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__("\n".join(map(str, problems)))
        self.problems = tuple(problems)


class PluginError(Exception):
    """A plugin cannot be opened. Raised by plugins; the message says what to change."""


class JournalError(Exception):
    """A record could not be written down."""


class Unavailable(Exception):
    """An observer's destination does not take what it was given; the core tries again later."""


def place_of(error: BaseException) -> str:
    """Return an error's type and where it was raised, and nothing of what it says.

    For errors met in the data path: messages and locals there may hold content.
    """
    frame = error.__traceback__
    while frame is not None and frame.tb_next is not None:
        frame = frame.tb_next
    at = f" at {frame.tb_frame.f_code.co_qualname}:{frame.tb_lineno}" if frame else ""
    return type(error).__name__ + at
