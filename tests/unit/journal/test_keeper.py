"""Sealed segments are packed, the oldest are removed, and who had not read them is told how many."""

import errno
import gzip
import os
import shutil
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest

from support.journals import StandingClock, all_of, exchange, ids, intent, records, writer
from tidegate.journal import packing, register
from tidegate.journal.checkpoint import Checkpoint
from tidegate.journal.cursor import Cursor
from tidegate.journal.keeper import Keeper
from tidegate.journal.reader import Tail, lines, plain_size, segments, size_of
from tidegate.journal.recovery import recover
from tidegate.journal.retention import DAY_S, Held, Limits, surplus
from tidegate.journal.verify import verify
from tidegate.journal.writer import Writer
from tidegate.record import ExchangeRecord, Intent

CLOCK = StandingClock()


def keeper(directory: Path, **limits: float) -> Keeper:
    return Keeper(directory, CLOCK, Limits(**limits))


def fill(directory: Path, name: str = "w0-1", count: int = 12) -> Writer:
    """A writer that goes on, with a few segments behind it."""
    made = writer(directory, name, max_segment_bytes=4000)
    for number in range(1, count + 1):
        made.append(exchange(number))
    return made


def test_packed_lines_are_the_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packing, "MEMBER_BYTES", 3000)
    made = writer(tmp_path)
    for number in range(1, 40):
        made.append(exchange(number))
    made.close()
    (plain,) = segments(tmp_path)
    whole = plain.path.read_bytes()
    offsets = [0, *(at + 1 for at, byte in enumerate(whole) if byte == 10)]
    keeper(tmp_path).tidy()
    (packed,) = segments(tmp_path)
    assert packed.packed
    assert gzip.decompress(packed.path.read_bytes()) == whole
    assert plain_size(packed) == plain_size(plain) == len(whole)
    for offset in offsets:
        assert b"".join(lines(packed.path, offset)) == whole[offset:]
        assert b"".join(lines(plain.path, offset)) == whole[offset:]  # as listed before


def test_what_is_still_written_is_left_alone(tmp_path: Path) -> None:
    made = fill(tmp_path)
    keeper(tmp_path).tidy()
    *before, last = segments(tmp_path)
    assert before
    assert all(segment.packed for segment in before)
    assert not last.packed
    made.append(exchange(13))
    os.close(made.fd)  # dies
    keeper(tmp_path).tidy()
    assert not segments(tmp_path)[-1].packed
    recover(tmp_path, CLOCK)
    keeper(tmp_path).tidy()
    assert segments(tmp_path)[-1].packed
    assert ids(records(tmp_path), ExchangeRecord) == [exchange(n).id for n in range(1, 14)]
    assert verify(tmp_path).sound
    assert recover(tmp_path, CLOCK) == 0


def test_packing_keeps_the_time_of_the_last_line(tmp_path: Path) -> None:
    fill(tmp_path).close()
    for number, segment in enumerate(segments(tmp_path)):
        os.utime(segment.path, (1000 + number, 1000 + number))
    keeper(tmp_path).tidy()
    times = [int(segment.path.stat().st_mtime) for segment in segments(tmp_path)]
    assert times == [1000 + number for number in range(len(times))]


@pytest.mark.parametrize("moment", ["pack", "unlink", "save"])
def test_an_interruption_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    """Killed at any step; what was half done is completed by the next."""
    fill(tmp_path).close()
    whole = records(tmp_path)

    def stop(*_: object, **__: object) -> None:
        raise OSError(errno.EIO, "stopped")

    place = {
        "pack": (os, "utime"),
        "unlink": (Path, "unlink"),
        "save": (register, "save"),
    }[moment]
    with monkeypatch.context() as patched:
        patched.setattr(*place, stop)
        with pytest.raises(OSError, match="stopped"):
            keeper(tmp_path).tidy()
        assert records(tmp_path) == whole
    keeper(tmp_path).tidy()
    assert records(tmp_path) == whole
    assert verify(tmp_path).sound
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {register.NAME, *(s.path.name for s in segments(tmp_path))}
    assert all(segment.packed for segment in segments(tmp_path))


def test_a_packed_copy_that_lacks_something_replaces_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(tmp_path, count=2).close()
    whole = records(tmp_path)
    made = packing._member
    monkeypatch.setattr(packing, "_member", lambda plain: made(plain[: len(plain) // 2]))
    keeper(tmp_path).tidy()
    assert records(tmp_path) == whole
    assert not any(segment.packed for segment in segments(tmp_path))


def held(number: int, *, sealed: bool = True, writer: str = "w0-1") -> Held:
    return Held(f"{writer}.{number:06d}", writer, number, 100, number * DAY_S, sealed)


def gone(found: list[Held], *, free_bytes: int = 10**9, **limits: float) -> list[tuple[int, str]]:
    going = surplus(found, Limits(**limits), now=10 * DAY_S, free_bytes=free_bytes)
    return [(each.held.sequence, each.reason) for each in going]


def test_the_oldest_go_by_age_size_and_room() -> None:
    found = [held(number) for number in range(1, 7)]
    assert gone(found) == []
    assert gone(found, days=7.5) == [(1, "age"), (2, "age")]
    assert gone(found, max_bytes=450) == [(1, "bytes"), (2, "bytes")]
    assert gone(found, max_bytes=600) == []
    assert gone(found, min_free_bytes=500, free_bytes=250) == [(n, "free") for n in (1, 2, 3)]
    assert gone(found, days=8.5, max_bytes=400) == [(1, "age"), (2, "bytes")]


def test_no_writer_is_removed_from_the_middle() -> None:
    found = [held(1, sealed=False), held(2), held(3), held(2, writer="w1-1")]
    assert gone(found, days=1) == [(2, "age")]
    assert gone(found, max_bytes=1) == [(2, "bytes")]


def test_who_has_not_read_what_was_removed_is_told_how_many(tmp_path: Path) -> None:
    made = fill(tmp_path, count=6)
    behind = Tail(tmp_path)
    behind.read(1)  # within the first segment
    read = sum(place.records for place in behind.position.values())
    made = fill(tmp_path, "w1-1", 9)
    made.close()
    ahead = Tail(tmp_path)
    total = len(all_of(ahead))
    kept = keeper(tmp_path)
    cursors = {
        "ahead": Cursor(tmp_path, Checkpoint(ahead.position, seen_removals=0), kept, CLOCK),
        "behind": Cursor(tmp_path, Checkpoint(behind.position, seen_removals=0), kept, CLOCK),
        "absent": Cursor(tmp_path, Checkpoint({}, seen_removals=0), kept, CLOCK),
    }
    kept.limits = Limits(max_bytes=1)
    kept.tidy()
    left = len(records(tmp_path))
    removed = total - left
    assert removed == kept.state().removed_records > 0
    assert {name: cursor.lag(name).lost_records for name, cursor in cursors.items()} == {
        "ahead": 0,
        "behind": removed - read,
        "absent": removed,
    }
    for name, cursor in cursors.items():
        expected = cursor.lag(name).lost_records
        found, lost = cursor.read()
        assert lost == expected
        assert cursor.lag(name).lost_records == expected
        seen = {"ahead": total, "behind": read, "absent": 0}[name]
        assert seen + len(found) + lost == total
        again = Cursor(tmp_path, cursor.checkpoint(b""), keeper(tmp_path), CLOCK)
        assert again.read() == ([], 0)
        assert again.lag(name).lost_records == expected


def test_one_that_begins_has_lost_nothing(tmp_path: Path) -> None:
    fill(tmp_path).close()
    kept = keeper(tmp_path, max_bytes=1)
    kept.tidy()
    cursor = Cursor(tmp_path, Checkpoint(), kept, CLOCK)
    assert cursor.read() == ([], 0)
    assert cursor.lag("new").lost_records == 0


def test_a_removal_that_was_interrupted_is_completed_and_counted_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(tmp_path).close()
    keeper(tmp_path).tidy()
    first = segments(tmp_path)[0]
    whole = first.path.read_bytes()
    size = size_of(tmp_path).bytes
    kept = keeper(tmp_path, max_bytes=size - 1)
    kept.tidy()
    assert kept.removed_segments == 1
    first.path.write_bytes(whole)  # as if killed before that
    assert verify(tmp_path).sound
    again = keeper(tmp_path)
    again.tidy()
    assert not first.path.exists()
    assert again.state() == kept.state()


def test_a_full_disk_loses_the_oldest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Packing needs room, which there is only after something was removed."""
    fill(tmp_path).close()
    first = segments(tmp_path)[0]
    size = first.path.stat().st_size

    def usage(_: Path) -> SimpleNamespace:
        return SimpleNamespace(total=10**9, free=10**6 if not first.path.exists() else 0)

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(shutil, "disk_usage", usage)
    with monkeypatch.context() as patched:
        patched.setattr(packing, "pack", full)
        kept = keeper(tmp_path, min_free_bytes=size)
        with pytest.raises(OSError, match="No space"):
            kept.tidy()
    assert not first.path.exists()
    assert kept.removed_segments == 1
    kept.tidy()
    assert verify(tmp_path).sound
    assert kept.removed_segments == 1


def test_followers_beside_packing_and_removal_miss_nothing_uncounted(tmp_path: Path) -> None:
    """Each record is read once, or counted as lost once, whenever it is packed or removed."""
    count = 600
    made = writer(tmp_path, max_segment_bytes=12_000)
    kept = keeper(tmp_path)

    def write() -> None:
        for number in range(1, count + 1):
            made.append(intent(number))
            made.append(exchange(number))
        made.close()

    def tidy() -> None:
        while threads[0].is_alive() or kept.removed_segments < 5:
            kept.limits = Limits(max_bytes=size_of(tmp_path).bytes * 4 // 5)
            kept.tidy()

    threads = [threading.Thread(target=work) for work in (write, tidy)]
    cursors = [Cursor(tmp_path, Checkpoint(seen_removals=0), kept, CLOCK) for _ in range(2)]
    read: list[list[bytes]] = [[], []]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        read[0] += cursors[0].read()[0]
        cursors[0] = Cursor(tmp_path, cursors[0].checkpoint(b""), kept, CLOCK)
    for thread in threads:
        thread.join()
    kept.limits = Limits()
    kept.tidy()
    for found, cursor in zip(read, cursors, strict=True):
        found.extend(cursor.read()[0])
        while not cursor.at_end:
            found.extend(cursor.read()[0])
        assert len(set(found)) == len(found)
    total = 2 * count + kept.state().segments + kept.removed_segments + 1
    lost = [cursor.lag("").lost_records for cursor in cursors]
    assert [len(found) + more for found, more in zip(read, lost, strict=True)] == [total, total]
    assert lost[1] == kept.state().removed_records > 0
    assert verify(tmp_path).sound
    assert {r.id for r in records(tmp_path) if isinstance(r, Intent)} <= {
        intent(n).id for n in range(1, count + 1)
    }
