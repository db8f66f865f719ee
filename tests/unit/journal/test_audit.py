"""Whatever is done to a journal's files is found, and where; what we do ourselves is not."""

from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from support.journals import StandingClock, exchange, intent, writer
from tidegate.journal import chain, checkpoint, packing, register
from tidegate.journal.checkpoint import Checkpoint
from tidegate.journal.keeper import Keeper, packed_path
from tidegate.journal.reader import Place, Segment, Tail, segments
from tidegate.journal.recovery import recover
from tidegate.journal.retention import Limits
from tidegate.journal.verify import verify
from tidegate.record import SegmentStart, encode


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    """One writer, four segments, ended."""
    made = writer(tmp_path, max_segment_bytes=6000)
    for number in range(1, 12):
        made.append(intent(number))
        made.append(exchange(number))
    made.close()
    assert len(segments(tmp_path)) >= 4
    assert verify(tmp_path).sound
    return tmp_path


def change(path: Path, how: Callable[[list[bytes]], list[bytes]]) -> None:
    path.write_bytes(b"".join(how(path.read_bytes().splitlines(keepends=True))))


def places(directory: Path) -> list[tuple[str, int]]:
    report = verify(directory)
    assert not report.sound
    return [(fault.file, fault.line) for fault in report.audit.faults]


def test_each_changed_byte_is_found_where_it_is(journal: Path) -> None:
    path = segments(journal)[1].path
    whole = path.read_bytes()
    for at in range(0, len(whole), 37):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        line = whole[:at].count(b"\n") + 1
        assert (path.name, line) in places(journal), at
    path.write_bytes(whole)
    assert verify(journal).sound


@pytest.mark.parametrize("number", [1, 2, 3])
def test_a_line_that_is_cut_out_is_missed_by_the_next(journal: Path, number: int) -> None:
    path = segments(journal)[1].path
    change(path, lambda found: found[: number - 1] + found[number:])
    assert (path.name, number) in places(journal)


def test_lines_that_were_swapped_are_found(journal: Path) -> None:
    path = segments(journal)[1].path
    change(path, lambda found: [*found[:2], found[3], found[2], *found[4:]])
    assert places(journal)[0] == (path.name, 3)


def test_a_line_of_another_writer_is_found(journal: Path) -> None:
    other = writer(journal, "w1-1")
    other.append(exchange(77))
    other.close()
    line = segments(journal)[-1].path.read_bytes().splitlines(keepends=True)[1]
    path = segments(journal)[1].path
    change(path, lambda found: [*found[:2], line, *found[2:]])
    assert places(journal)[0] == (path.name, 3)


@pytest.mark.parametrize("index", [0, 1, 2])
def test_a_segment_that_is_gone_is_missed(journal: Path, index: int) -> None:
    found = segments(journal)
    found[index].path.unlink()
    assert places(journal)[0] == (found[index + 1].path.name, 0)


def test_the_end_of_a_segment_is_missed_by_the_next(journal: Path) -> None:
    found = segments(journal)
    change(found[1].path, lambda lines: lines[:-1])
    assert places(journal) == [(found[2].path.name, 1)]


def test_a_segment_under_another_name_is_found(journal: Path) -> None:
    found = segments(journal)
    found[0].path.rename(journal / found[0].path.name.replace("w0-1.", "w9-1."))
    assert ("w9-1.000001.jsonl", 1) in places(journal)


def test_a_cut_end_is_seen_by_any_witness(journal: Path) -> None:
    """Nothing comes after a journal's very end: somebody must have seen it."""
    path = segments(journal)[-1].path
    whole = path.read_bytes()
    tail = Tail(journal)
    tail.read()
    change(path, lambda found: found[:-1])
    assert verify(journal).sound
    assert verify(journal).audit.unended == ["w0-1"]

    checkpoint.save(journal / "observers" / "o.checkpoint", Checkpoint(tail.position))
    assert places(journal) == [(path.name, 0)]
    middle = {"w0-1": Place(segments(journal)[-1].sequence, len(whole) - 10)}
    checkpoint.save(journal / "observers" / "o.checkpoint", Checkpoint(middle))
    assert places(journal) == [(path.name, 0)]
    (journal / "observers" / "o.checkpoint").unlink()

    path.write_bytes(whole)
    recover(journal, StandingClock())
    change(path, lambda found: found[:-1])
    assert places(journal) == [(path.name, 0)]


def test_a_whole_writer_that_is_gone_is_missed(journal: Path) -> None:
    recover(journal, StandingClock())
    for segment in segments(journal):
        segment.path.unlink()
    assert places(journal) == [("w0-1.*.jsonl", 0)]


def sealed(journal: Path) -> list[Segment]:
    Keeper(journal, StandingClock(), Limits()).tidy()
    found = segments(journal)
    assert all(segment.packed for segment in found)
    assert verify(journal).sound
    return found


@pytest.mark.parametrize("index", [0, -1])
def test_a_sealed_segment_that_is_gone_is_missed(journal: Path, index: int) -> None:
    gone = sealed(journal)[index]
    gone.path.unlink()
    assert (f"{gone.name}.jsonl", 0) in places(journal)


def test_a_sealed_end_that_was_forged_is_found(journal: Path) -> None:
    """Every link is right, as whoever can write the files can compute links."""
    last = sealed(journal)[-1]
    plain = packing.read(last.path, 0).splitlines(keepends=True)[:-2]
    link = chain.split(plain[-1])[1]
    forged = [*plain, chain.extend(link, encode(exchange(99)))[0]]
    last.path.unlink()
    (journal / f"{last.name}.jsonl").write_bytes(b"".join(forged))
    assert (f"{last.name}.jsonl", 0) in places(journal)


def test_links_that_were_taken_off_are_missed(journal: Path) -> None:
    """A segment made to look as if it were from before there were chains."""
    first, *_ = sealed(journal)
    plain = [chain.split(x)[0] for x in packing.read(first.path, 0).splitlines(keepends=True)]
    head = msgspec.json.decode(plain[0])
    del head["previous"]
    first.path.unlink()
    (journal / f"{first.name}.jsonl").write_bytes(
        b"".join([msgspec.json.encode(head) + b"\n", *plain[1:]])
    )
    assert places(journal)


def test_a_journal_from_before_there_were_chains_is_read_and_says_so(tmp_path: Path) -> None:
    start = SegmentStart(at=1.0, writer="w0-1", sequence=1)
    old = [encode(record) for record in (start, intent(1), exchange(1), intent(2))]
    old[0] = old[0].replace(b'"previous":null,', b"").replace(b'"by":"writer",', b"")
    path = tmp_path / "w0-1.000001.jsonl"
    path.write_bytes(b"".join(old))
    report = verify(tmp_path)
    assert (report.sound, report.open, report.audit.unchained) == (True, [intent(2).id], 4)
    assert recover(tmp_path, StandingClock()) == 1
    report = verify(tmp_path)
    assert (report.sound, report.open, report.audit.unchained) == (True, [], 6)
    sealed(tmp_path)


def test_what_retention_removed_is_not_missed(journal: Path) -> None:
    size = sum(packed_path(s).stat().st_size for s in sealed(journal))
    keeper = Keeper(journal, StandingClock(), Limits(max_bytes=size // 2))
    keeper.tidy()
    report = verify(journal)
    assert report.sound
    assert 0 < report.removed_segments == keeper.removed_segments
    assert segments(journal)[0].sequence == report.removed_segments + 1
    segments(journal)[0].path.unlink()
    assert places(journal)


def test_a_damaged_register_is_a_fault(journal: Path) -> None:
    sealed(journal)
    (journal / "register.json").write_bytes(b"{")
    assert ("register.json", 0) in places(journal)


@pytest.mark.parametrize("at", [0, 3, 20, 200])
def test_a_damaged_packed_segment_is_named_and_the_rest_is_read(journal: Path, at: int) -> None:
    first, *others = sealed(journal)
    whole = first.path.read_bytes()
    first.path.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
    assert (first.path.name, 0) in places(journal)
    tail = Tail(journal)
    found = tail.read()
    assert tail.at_end
    assert len(found) == sum(len(packing.read(o.path, 0).splitlines()) for o in others)
    keeper = Keeper(journal, StandingClock(), Limits())
    keeper.tidy()
    (journal / "register.json").unlink()
    with pytest.raises(packing.Damaged):
        Keeper(journal, StandingClock(), Limits()).tidy()
    assert len(register.load(journal).sealed) == len(others)
