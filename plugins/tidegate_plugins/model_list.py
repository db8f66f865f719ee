"""`GET /v1/models` as the gateway answers it: a shipped catalogue, cut to what a caller may use.

Shapes and paging are the API's (messages-api sheet, section 1.1): newest first, `limit` 1 to
1000 and 20 if not said, `after_id` or `before_id`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs

import msgspec

from tidegate_plugins.model_ids import undated

_UNKNOWN_DATE = "1970-01-01"
"""What the API itself says where it does not know."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One model as it is listed."""

    id: str
    display_name: str
    created: str = _UNKNOWN_DATE
    max_input_tokens: int = 1_000_000
    max_tokens: int = 128_000


def _older(name: str, date: str, shown: str) -> Entry:
    created = f"{date[:4]}-{date[4:6]}-{date[6:]}"
    return Entry(f"{name}-{date}", shown, created, 200_000, 64_000)


CATALOGUE = (
    Entry("claude-fable-5-2", "Claude Fable 5.2", "2026-11-09"),
    Entry("claude-mythos-5-2", "Claude Mythos 5.2", "2026-11-09"),
    Entry("claude-haiku-5-5", "Claude Haiku 5.5", "2026-10-07"),
    Entry("claude-sonnet-5-5", "Claude Sonnet 5.5", "2026-09-28"),
    Entry("claude-opus-5-5", "Claude Opus 5.5", "2026-09-22"),
    Entry("claude-fable-5-1", "Claude Fable 5.1", "2026-09-01"),
    Entry("claude-mythos-5-1", "Claude Mythos 5.1", "2026-09-01"),
    Entry("claude-fable-5", "Claude Fable 5", "2026-06-09"),
    Entry("claude-mythos-5", "Claude Mythos 5", "2026-06-09"),
    Entry("claude-sonnet-5", "Claude Sonnet 5", "2026-06-09"),
    Entry("claude-opus-5", "Claude Opus 5", "2026-06-09"),
    Entry("claude-opus-4-8", "Claude Opus 4.8", "2026-05-01"),
    Entry("claude-opus-4-7", "Claude Opus 4.7", "2026-04-01"),
    Entry("claude-sonnet-4-6", "Claude Sonnet 4.6", "2026-02-17"),
    Entry("claude-opus-4-6", "Claude Opus 4.6", "2026-02-05"),
    _older("claude-opus-4-5", "20251101", "Claude Opus 4.5"),
    _older("claude-haiku-4-5", "20251001", "Claude Haiku 4.5"),
    _older("claude-sonnet-4-5", "20250929", "Claude Sonnet 4.5"),
)
"""The models of November 2026, newest first. Dates before September 2026 are not exact."""

_BY_ID = {name: entry for entry in CATALOGUE for name in (undated(entry.id), entry.id)}


def known(model: str) -> Entry | None:
    """Return the catalogue's entry of an id, dated or not."""
    return _BY_ID.get(model)


def describe(entry: Entry) -> dict[str, Any]:
    """Return the API's model object."""
    return {
        "type": "model",
        "id": entry.id,
        "display_name": entry.display_name,
        "created_at": f"{entry.created}T00:00:00Z",
        "max_input_tokens": entry.max_input_tokens,
        "max_tokens": entry.max_tokens,
    }


class BadQuery(Exception):
    """The query asks for a page that there is not; the message says why."""


def page(entries: Sequence[Entry], query: str) -> bytes:
    """Return the page that the query (with its `?`, or empty) selects.

    Raises:
        BadQuery: a parameter cannot be used.
    """
    asked = parse_qs(query.removeprefix("?"), keep_blank_values=True)
    if any(len(values) > 1 for values in asked.values()):
        raise BadQuery("a parameter is given more than once")
    limit = _limit(asked.get("limit", ["20"])[0])
    ids = [entry.id for entry in entries]
    after, before = asked.get("after_id"), asked.get("before_id")
    start = _index(ids, "after_id", after[0]) + 1 if after else 0
    end = _index(ids, "before_id", before[0]) if before else len(ids)
    if before:
        start = max(start, end - limit)
    chosen = entries[start:end][:limit]
    return msgspec.json.encode(
        {
            "data": [describe(entry) for entry in chosen],
            "has_more": start > 0 if before else start + len(chosen) < end,
            "first_id": chosen[0].id if chosen else None,
            "last_id": chosen[-1].id if chosen else None,
        }
    )


def _limit(text: str) -> int:
    if not (text.isascii() and text.isdecimal()) or not 1 <= int(text[:5]) <= 1000:
        raise BadQuery("limit: must be an integer from 1 to 1000")
    return int(text)


def _index(ids: Sequence[str], key: str, wanted: str) -> int:
    if wanted not in ids:
        raise BadQuery(f"{key}: there is no such model in the list")
    return ids.index(wanted)
