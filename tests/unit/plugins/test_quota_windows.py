"""Calendar and rolling windows, against times worked out by hand."""

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidegate_plugins.quota.windows import LENGTH_S, Always, Calendar, Per, Rolling

BERLIN = ZoneInfo("Europe/Berlin")
KOLKATA = ZoneInfo("Asia/Kolkata")


def utc(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp())


@pytest.mark.parametrize(
    ("per", "zone", "now", "begins", "ends"),
    [
        ("minute", UTC, "2026-11-23T10:15:42", "2026-11-23T10:15:00", "2026-11-23T10:16:00"),
        ("hour", UTC, "2026-11-23T10:15:42", "2026-11-23T10:00:00", "2026-11-23T11:00:00"),
        ("hour", KOLKATA, "2026-11-23T10:15:42", "2026-11-23T09:30:00", "2026-11-23T10:30:00"),
        ("day", UTC, "2026-11-23T00:00:00", "2026-11-23T00:00:00", "2026-11-24T00:00:00"),
        ("day", BERLIN, "2026-11-23T22:59:59", "2026-11-22T23:00:00", "2026-11-23T23:00:00"),
        ("day", BERLIN, "2026-11-23T23:00:00", "2026-11-23T23:00:00", "2026-11-24T23:00:00"),
        # The clocks go back: 25 hours. Forward: 23.
        ("day", BERLIN, "2026-10-25T12:00:00", "2026-10-24T22:00:00", "2026-10-25T23:00:00"),
        ("day", BERLIN, "2027-03-28T12:00:00", "2027-03-27T23:00:00", "2027-03-28T22:00:00"),
        # 2026-11-22 is a Sunday.
        ("week", UTC, "2026-11-22T23:59:59", "2026-11-16T00:00:00", "2026-11-23T00:00:00"),
        ("week", UTC, "2026-11-23T00:00:00", "2026-11-23T00:00:00", "2026-11-30T00:00:00"),
        ("month", UTC, "2027-02-14T00:00:00", "2027-02-01T00:00:00", "2027-03-01T00:00:00"),
        ("month", UTC, "2026-12-31T23:59:59", "2026-12-01T00:00:00", "2027-01-01T00:00:00"),
        ("month", BERLIN, "2026-10-31T23:30:00", "2026-10-31T23:00:00", "2026-11-30T23:00:00"),
    ],
)
def test_the_calendar(per: Per, zone: ZoneInfo, now: str, begins: str, ends: str):
    slot = Calendar(per, zone).slot(utc(now))

    assert slot == (utc(begins), utc(ends), utc(ends))


def test_a_calendar_moves_on():
    day = Calendar("day", UTC)
    first = day.slot(utc("2026-11-23T10:00:00"))

    assert day.slot(utc("2026-11-23T23:59:59")) is first
    assert day.slot(utc("2026-11-24T00:00:00")).begins == first.ends


@given(st.sampled_from(list(LENGTH_S)), st.floats(1e9, 3e9))
def test_a_rolling_window_forgets_in_time(per: Per, now: float):
    begins, ends, dies = Rolling(per).slot(now)
    length, step = LENGTH_S[per], LENGTH_S[per] // 60

    assert begins <= now < ends
    assert length <= dies - now <= length + step


@given(
    st.sampled_from(list(LENGTH_S)), st.sampled_from([UTC, BERLIN, KOLKATA]), st.floats(1e9, 3e9)
)
def test_a_calendar_has_no_gaps(per: Per, zone: ZoneInfo, now: float):
    begins, ends, dies = Calendar(per, zone).slot(now)

    assert begins <= now < ends == dies
    assert Calendar(per, zone).slot(ends).begins == ends


def test_what_is_only_reserved_never_dies():
    assert Always().slot(5.0).dies == 0
