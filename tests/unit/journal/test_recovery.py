"""What a dead writer left open is closed once, at a cost that does not grow with the journal."""

import builtins
import errno
import io
import os
from pathlib import Path

import pytest

from support.journals import StandingClock, exchange, ids, intent, records, tear, writer
from tidegate.journal import recovery
from tidegate.journal.reader import Segment, segments
from tidegate.journal.recovery import CLOSED, Recovery, recover
from tidegate.journal.verify import verify
from tidegate.record import ExchangeRecord, WriterEnd, encode

CLOCK = StandingClock()


def crash(directory: Path, name: str = "w0-1", *, still_open: int = 1) -> None:
    """A writer that is killed with intents open."""
    journal = writer(directory, name, max_segment_bytes=3000)
    base = int(name.partition("-")[2]) * 1000
    for number in range(base, base + 5):
        journal.append(intent(number))
        journal.append(exchange(number))
    for number in range(base + 5, base + 5 + still_open):
        journal.append(intent(number))
    os.close(journal.fd)


def ends(directory: Path) -> list[WriterEnd]:
    return [record for record in records(directory) if isinstance(record, WriterEnd)]


def test_open_intents_are_closed_once(tmp_path: Path) -> None:
    crash(tmp_path, still_open=3)
    assert recover(tmp_path, CLOCK) == 3
    report = verify(tmp_path)
    assert (report.sound, report.open, report.outcomes["worker_lost"]) == (True, [], 3)
    assert recover(tmp_path, CLOCK) == 0
    assert verify(tmp_path) == report


@pytest.mark.parametrize("length", [1, 100, len(encode(exchange(1))) - 1])
def test_a_torn_last_line_is_cut_off_and_counted(tmp_path: Path, length: int) -> None:
    crash(tmp_path)
    tear(segments(tmp_path)[-1].path, exchange(1005), length)
    assert recover(tmp_path, CLOCK) == 1
    assert verify(tmp_path).sound
    assert [(end.by, end.torn_bytes) for end in ends(tmp_path)] == [("recovery", length)]


def test_only_the_last_segment_of_a_dead_writer_is_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(1, 20):
        crash(tmp_path, f"w0-{number}")
        recover(tmp_path, CLOCK)
    orderly = writer(tmp_path, "w1-50")
    orderly.append(exchange(50_000))
    orderly.close()
    recover(tmp_path, CLOCK)
    crash(tmp_path, "w0-20", still_open=2)
    opened = opened_files(monkeypatch)
    assert recover(tmp_path, CLOCK) == 2
    last = [s for s in segments(tmp_path) if s.writer == "w0-20"][-1]
    assert {path.name for path in opened if path.suffix == ".jsonl"} == {last.path.name}


def opened_files(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    found: list[Path] = []

    def note(path, *args, **kwargs):
        if isinstance(path, (str, os.PathLike)):
            found.append(Path(path))
        return real(path, *args, **kwargs)

    real = io.open
    monkeypatch.setattr(builtins, "open", note)
    monkeypatch.setattr(io, "open", note)
    return found


def test_the_list_of_the_closed_is_only_a_shortcut(tmp_path: Path) -> None:
    crash(tmp_path)
    recover(tmp_path, CLOCK)
    before = verify(tmp_path)
    for damage in (b"", b"\xff\xfe", b"nobody\n"):
        (tmp_path / CLOSED).write_bytes(damage)
        assert recover(tmp_path, CLOCK) == 0
        assert verify(tmp_path) == before
        assert (tmp_path / CLOSED).read_text() == "w0-1\n"


def test_the_living_are_left_alone(tmp_path: Path) -> None:
    crash(tmp_path, "w0-1")
    living = writer(tmp_path, "w1-1")
    living.append(intent(7))
    found = Recovery(tmp_path, CLOCK)
    found.died("w0-")
    successor = writer(tmp_path, "w0-2")  # started before the dead one is closed
    successor.append(intent(8))
    assert found.close() == 1
    assert verify(tmp_path).open == [intent(7).id, intent(8).id]
    for journal in (living, successor):
        journal.close()


def test_a_full_disk_delays_and_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Lines that are whole stay, as a reader may be past them."""
    crash(tmp_path, still_open=3)
    tear(segments(tmp_path)[-1].path, exchange(1005), 77)
    pwrite = os.pwrite
    room = 1000

    def little(fd: int, data: bytes, offset: int) -> int:
        nonlocal room
        if not room:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        data, room = data[:room], max(0, room - len(data))
        return pwrite(fd, data, offset)

    found = Recovery(tmp_path, CLOCK)
    found.died()
    with monkeypatch.context() as patched:
        patched.setattr(os, "pwrite", little)
        for room in (1000, 0, 1000):  # noqa: B007
            found.attempt()
            assert found.owes
            assert segments(tmp_path)[-1].path.read_bytes().endswith(b"\n")
    found.attempt()
    assert not found.owes
    report = verify(tmp_path)
    assert (report.sound, report.open, report.outcomes["worker_lost"]) == (True, [], 3)
    assert len(ends(tmp_path)) == 1


@pytest.mark.parametrize("kept", [0, 1, 50])
def test_a_last_segment_without_its_beginning_is_not_trusted(tmp_path: Path, kept: int) -> None:
    """A power cut may take a file's content and leave its name."""
    crash(tmp_path, still_open=2)
    last = segments(tmp_path)[-1]
    name = last.path.name.replace(f"{last.sequence:06d}", f"{last.sequence + 1:06d}")
    (tmp_path / name).write_bytes(b"\0" * kept)
    assert recover(tmp_path, CLOCK) == 2
    assert verify(tmp_path).open == []
    assert verify(tmp_path).sound


def test_a_line_that_is_no_record_does_not_stop_it(tmp_path: Path) -> None:
    crash(tmp_path)
    with segments(tmp_path)[-1].path.open("ab") as file:
        file.write(b"garbage\n")
    assert recover(tmp_path, CLOCK) == 1
    assert verify(tmp_path).open == []
    assert verify(tmp_path).unreadable == 1


def test_what_recovery_writes_is_the_exchange_of_the_intent(tmp_path: Path) -> None:
    crash(tmp_path)
    recover(tmp_path, CLOCK)
    lost = [r for r in records(tmp_path) if isinstance(r, ExchangeRecord)][-1]
    asked = intent(1005)
    assert (lost.id, lost.at, lost.principal) == (asked.id, asked.at, asked.principal)
    assert (lost.outcome, lost.status, lost.usage) == ("worker_lost", None, None)
    assert lost.dispatched
    assert ids(records(tmp_path), ExchangeRecord).count(asked.id) == 1


def test_the_unreadable_is_reported_and_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    crash(tmp_path)
    found = Recovery(tmp_path, CLOCK)
    found.died()

    def broken(segment: Segment) -> bool:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with monkeypatch.context() as patched:
        patched.setattr(recovery, "ended", broken)
        with pytest.raises(OSError, match="Input/output error"):
            found.close()
    assert found.close() == 1
