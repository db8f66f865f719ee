"""Counts in what a provider sends, such as tokens. Anything may stand there: what is none is 0."""

from collections.abc import Sequence
from typing import Any


def count(holder: dict[str, Any], key: str) -> int:
    """Return the count under a key; 0 where there is none."""
    return counts(holder, key)[0]


def counts(holder: object, *keys: str) -> Sequence[int]:
    """Return `count` of each key, in one go; all 0 if the holder is no object."""
    if not isinstance(holder, dict):
        return (0,) * len(keys)
    return [v if type(v) is int and v > 0 else 0 for v in map(holder.get, keys)]
