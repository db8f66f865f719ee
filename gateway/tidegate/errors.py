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
