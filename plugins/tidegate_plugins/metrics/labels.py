"""Label values: bounded, so that no client can make the number of series explode."""

import re
from collections.abc import Callable, Sequence
from fnmatch import translate

OTHER = "other"
NONE = "none"
"""Where a record says nothing."""
MAX_LENGTH = 128

_CLAUDE = re.compile(r"claude-[a-z0-9.-]{1,60}")
_UNPROVEN_SHARE = 4


class Label:
    """The values of one label, first come, first served, up to a limit."""

    __slots__ = ("_known", "_limit", "_overflow")

    def __init__(self, known: dict[str, bool], limit: int, overflow: Callable[[], None]) -> None:
        self._known = known
        self._limit = limit
        self._overflow = overflow

    def __call__(self, value: str | None) -> str:
        """Return the value to show for `value`."""
        if value in self._known:
            return value
        return self._new(value) if value else NONE

    def _new(self, value: str) -> str:
        if len(value) > MAX_LENGTH:
            return OTHER
        if len(self._known) >= self._limit:
            self._overflow()
            return OTHER
        self._known[value] = True
        return value


class ModelLabel:
    """The values of the label `model`, which callers choose freely.

    A name counts as proven when an upstream has answered for it. Names that were only
    asked for share a quarter of the places, so that junk cannot crowd real models out.
    """

    __slots__ = ("_known", "_limit", "_overflow", "_pattern")

    def __init__(
        self,
        known: dict[str, bool],
        limit: int,
        overflow: Callable[[], None],
        models: Sequence[str] = (),
    ) -> None:
        self._known = known
        self._limit = limit
        self._overflow = overflow
        self._pattern = re.compile("|".join(map(translate, models))) if models else _CLAUDE

    def __call__(self, value: str | None, *, proven: bool) -> str:
        """Return the value to show for the model `value`."""
        if not value:
            return NONE
        known = self._known.get(value)
        if known or (known is not None and not proven):
            return value
        return self._new(value, proven=proven)

    def _new(self, value: str, *, proven: bool) -> str:
        if len(value) > MAX_LENGTH or not self._pattern.fullmatch(value):
            return OTHER
        if value not in self._known and not self._room(proven=proven):
            self._overflow()
            return OTHER
        self._known[value] = proven
        return value

    def _room(self, *, proven: bool) -> bool:
        if len(self._known) >= self._limit:
            return False
        unproven = sum(not known for known in self._known.values())
        return proven or unproven < max(1, self._limit // _UNPROVEN_SHARE)
