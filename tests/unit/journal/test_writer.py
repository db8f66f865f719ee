"""A record is written whole or not at all, and none is lost between two segments."""

import asyncio
import errno
import os
import threading
from pathlib import Path

import pytest

from support.journals import all_of, exchange, ids, intent, records, writer
from tidegate.errors import JournalError
from tidegate.journal.reader import Tail, segments
from tidegate.journal.recovery import recover
from tidegate.journal.verify import verify
from tidegate.record import ExchangeRecord, Intent, SegmentStart, WriterEnd


@pytest.fixture
def full(monkeypatch: pytest.MonkeyPatch) -> "Disk":
    return Disk(monkeypatch)


class Disk:
    """Makes `os.write` behave as on a full disk: `room` bytes, then an error."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.room: int | None = None
        self._write = os.write
        monkeypatch.setattr(os, "write", self.write)

    def write(self, fd: int, data: bytes) -> int:
        if self.room is None:
            return self._write(fd, data)
        if not self.room:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        taken, self.room = data[: self.room], max(0, self.room - len(data))
        return self._write(fd, taken)


def test_a_segment_begins_with_what_is_still_open(tmp_path: Path) -> None:
    journal = writer(tmp_path, max_segment_bytes=1500)
    for number in range(1, 5):
        journal.append(intent(number))
    journal.append(exchange(2))
    last = records(tmp_path)
    starts = [record for record in last if isinstance(record, SegmentStart)]
    assert len(starts) > 2
    assert [i.id for i in starts[-1].open] == [intent(n).id for n in (1, 2, 3, 4)]
    journal.close()


def test_a_record_that_does_not_fit_leaves_no_trace(tmp_path: Path, full: Disk) -> None:
    journal = writer(tmp_path)
    journal.append(intent(1))
    for room in (0, 1, 100):
        full.room = room
        with pytest.raises(JournalError):
            journal.append(intent(2))
        assert journal.failing
        assert ids(records(tmp_path), Intent) == [intent(1).id]
        assert segments(tmp_path)[0].path.read_bytes().endswith(b"\n")
    full.room = None
    journal.append(intent(2))
    assert not journal.failing
    journal.close()
    assert ids(records(tmp_path), Intent) == [intent(1).id, intent(2).id]


def test_what_happened_already_is_kept_until_it_can_be_written(tmp_path: Path, full: Disk) -> None:
    journal = writer(tmp_path)
    journal.append(intent(1))
    full.room = 0
    journal.append_or_keep(exchange(1))
    journal.append_or_keep(exchange(2))
    assert journal.pending == 2
    full.room = None
    journal.retry()
    assert journal.pending == 0
    journal.close()
    assert ids(records(tmp_path), ExchangeRecord) == [exchange(1).id, exchange(2).id]
    assert isinstance(records(tmp_path)[-1], WriterEnd)


def test_memory_for_what_cannot_be_written_is_bounded_and_losses_are_counted(
    tmp_path: Path, full: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tidegate.journal.writer.MAX_PENDING", 3)
    journal = writer(tmp_path)
    full.room = 0
    for number in range(1, 6):
        journal.append_or_keep(exchange(number))
    assert (journal.pending, journal.lost) == (3, 2)
    full.room = None
    journal.close()


def test_a_rotation_that_fails_hides_nothing_from_a_reader(tmp_path: Path, full: Disk) -> None:
    """A reader that had seen the new segment would never look at the old one again."""
    journal = writer(tmp_path, max_segment_bytes=1500)
    tail = Tail(tmp_path)
    seen = []
    number = 0
    for round_ in range(12):
        full.room = (0, 5, 200, None)[round_ % 4]
        number += 1
        journal.append_or_keep(exchange(number))
        seen += all_of(tail)
        assert not list(tmp_path.glob("*.new"))
    full.room = None
    journal.close()
    seen += all_of(tail)
    assert ids(seen, ExchangeRecord) == [exchange(n).id for n in range(1, number + 1)]


def test_a_crash_in_a_rotation_forgets_no_open_intent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = writer(tmp_path, max_segment_bytes=1000)
    journal.append(intent(1))

    def crash(self: Path, target: Path) -> None:
        raise SystemExit

    with monkeypatch.context() as patched:
        patched.setattr(Path, "rename", crash)
        with pytest.raises(SystemExit):
            journal.append(exchange(2))
    assert list(tmp_path.glob("*.new"))
    assert recover(tmp_path, journal._clock) == 1
    assert not list(tmp_path.glob("*.new"))
    assert verify(tmp_path).open == []


def test_it_begins_on_a_full_disk_with_the_first_record_that_fits(
    tmp_path: Path, full: Disk
) -> None:
    full.room = 10
    journal = writer(tmp_path)
    assert journal.failing
    with pytest.raises(JournalError):
        journal.append(intent(1))
    assert list(tmp_path.iterdir()) == []
    full.room = None
    journal.append(intent(1))
    journal.append(exchange(1))
    journal.close()
    assert verify(tmp_path).sound
    assert verify(tmp_path).exchanges == 1


def test_it_does_not_begin_where_there_is_no_directory(tmp_path: Path) -> None:
    with pytest.raises(JournalError, match="No such file"):
        writer(tmp_path / "nowhere")


def test_it_never_goes_on_in_another_writers_file(tmp_path: Path) -> None:
    first = writer(tmp_path)
    first.append(intent(1))
    with pytest.raises(JournalError):
        writer(tmp_path).append(intent(2))
    first.close()
    assert ids(records(tmp_path), Intent) == [intent(1).id]


def test_what_is_left_open_is_not_declared_ended(tmp_path: Path) -> None:
    journal = writer(tmp_path)
    journal.append(intent(1))
    journal.close()
    assert not isinstance(records(tmp_path)[-1], WriterEnd)


async def test_one_fsync_is_shared_by_all_who_wait(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = writer(tmp_path, fsync=True)
    calls = []
    release = threading.Event()

    def fsync(fd: int) -> None:
        calls.append(fd)
        release.wait(5)

    monkeypatch.setattr(os, "fsync", fsync)

    async def commit(number: int) -> None:
        journal.append(intent(number))
        await journal.committed()

    waiting = [asyncio.ensure_future(commit(number)) for number in range(1, 21)]
    await asyncio.sleep(0)
    release.set()
    await asyncio.gather(*waiting)
    assert len(calls) <= 2
    journal.close()


async def test_a_commit_follows_its_record_over_a_rotation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was synced, file by file, is all that a power cut would leave."""
    synced: dict[str, int] = {}
    fsync = os.fsync

    def note(fd: int) -> None:
        path = Path(f"/proc/self/fd/{fd}").readlink()
        if path.is_file():
            synced[path.name.removesuffix(".new")] = path.stat().st_size
        fsync(fd)

    monkeypatch.setattr(os, "fsync", note)
    journal = writer(tmp_path, fsync=True, max_segment_bytes=1500)
    for number in range(1, 10):
        journal.append(intent(number))
        if number % 3 == 0:
            await journal.committed()
            sizes = {s.path.name: s.path.stat().st_size for s in segments(tmp_path)}
            assert synced == sizes
    journal.close()


async def test_who_waits_is_told_that_the_disk_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = writer(tmp_path, fsync=True)

    def fsync(fd: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", fsync)
        journal.append(intent(1))
        with pytest.raises(JournalError, match="Input/output error"):
            await journal.committed()
    journal.append(intent(2))
    await journal.committed()
    journal.close()


def test_a_reader_beside_a_writer_that_rotates_all_the_time_gets_each_record_once(
    tmp_path: Path,
) -> None:
    count = 500
    journal = writer(tmp_path, max_segment_bytes=8000)

    def write() -> None:
        for number in range(1, count + 1):
            journal.append(intent(number))
            journal.append(exchange(number))
        journal.close()

    tail = Tail(tmp_path)
    thread = threading.Thread(target=write)
    thread.start()
    seen = []
    while thread.is_alive():
        seen += all_of(tail, 5000)
        tail = Tail(tmp_path, tail.position)  # as after a restart
    thread.join()
    seen += all_of(tail)
    assert ids(seen, Intent) == [intent(n).id for n in range(1, count + 1)]
    assert ids(seen, ExchangeRecord) == [exchange(n).id for n in range(1, count + 1)]
    assert tail.lag_bytes() == 0
