"""One area's rules: which words are allowed and denied, and which word decided."""

import fnmatch
import re
from collections.abc import Sequence
from dataclasses import dataclass

from tidegate.errors import PluginError
from tidegate.wire.routes import Kind
from tidegate_plugins.features.config import Area, Rules

AREAS = tuple(name for name in Rules.__struct_fields__ if name != "stream")

ENDPOINTS = (Kind.MESSAGES.value, Kind.COUNT_TOKENS.value, Kind.MODELS.value, "batches", "files")
OPEN = frozenset(ENDPOINTS[:3])
"""Endpoints that are allowed where nothing is said."""

_WORD = re.compile(r"[\x21-\x7e]{1,128}")


@dataclass(frozen=True, slots=True)
class Words:
    """Words and globs, compared without case."""

    allow: tuple[re.Pattern[str], ...] | None
    deny: tuple[tuple[str, re.Pattern[str]], ...]

    def refuses(self, names: Sequence[str]) -> str | None:
        """Return the rule that refuses what goes by these names, or None."""
        lowered = [name.lower() for name in names]
        for word, pattern in self.deny:
            if any(pattern.fullmatch(name) for name in lowered):
                return f"deny:{word}"
        if self.allow is None:
            return None
        allowed = any(pattern.fullmatch(name) for pattern in self.allow for name in lowered)
        return None if allowed else "not_allowed"


def compile_area(name: str, area: Area | None, where: str) -> Words | None:
    """Return the rules of an area; None where everything is allowed.

    Raises:
        PluginError: a word can never match.
    """
    if name == "endpoints":
        area = _endpoints(area, where)
    if area is None:
        return None
    allow = None
    if area.allow is not None:
        allow = tuple(_pattern(word, f"{where}.allow[{i}]") for i, word in enumerate(area.allow))
    return Words(
        allow,
        tuple((word, _pattern(word, f"{where}.deny[{i}]")) for i, word in enumerate(area.deny)),
    )


def _endpoints(area: Area | None, where: str) -> Area:
    area = area or Area()
    for word in (*(area.allow or ()), *area.deny):
        if word not in ENDPOINTS:
            raise PluginError(f"{where}: {word[:80]!a} is none of {', '.join(ENDPOINTS)}")
    return Area(tuple(OPEN), area.deny) if area.allow is None else area


def _pattern(word: str, where: str) -> re.Pattern[str]:
    if not _WORD.fullmatch(word) or "[" in word or "?" in word:
        raise PluginError(f"{where}: {word[:80]!a} is no word or glob; `*` stands for anything")
    return re.compile(fnmatch.translate(word.lower()))
