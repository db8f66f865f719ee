"""A reader gets each whole line once, in order, whatever comes and goes around it."""

import os
from pathlib import Path

from support.journals import all_of, exchange, ids, intent, tear, writer
from tidegate.journal import reader
from tidegate.journal.reader import ENDED, Tail, segments
from tidegate.record import ExchangeRecord, Intent, SegmentStart


def test_a_torn_line_is_read_when_it_is_whole(tmp_path: Path) -> None:
    journal = writer(tmp_path)
    tail = Tail(tmp_path)
    journal.append(intent(1))
    (segment,) = segments(tmp_path)
    tear(segment.path, exchange(1), 40)
    assert ids(all_of(tail), Intent) == [intent(1).id]
    assert all_of(tail) == []
    with segment.path.open("r+b") as file:
        file.truncate(journal._size)
    journal.append(exchange(1))
    assert ids(all_of(tail), ExchangeRecord) == [exchange(1).id]
    journal.close()


def test_a_line_longer_than_a_read_is_still_one_line(tmp_path: Path, monkeypatch) -> None:
    """A segment that begins with thousands of open intents has such a first line."""
    monkeypatch.setattr(reader, "READ_BYTES", 512)
    journal = writer(tmp_path, max_segment_bytes=30_000)
    for number in range(1, 60):
        journal.append(intent(number))
    tail = Tail(tmp_path)
    seen = all_of(tail, 512)
    assert max(len(s.open) for s in seen if isinstance(s, SegmentStart)) > 30
    assert ids(seen, Intent) == [intent(n).id for n in range(1, 60)]
    journal.close()


def test_it_is_at_the_end_only_when_it_has_read_all(tmp_path: Path) -> None:
    for name in ("w0-1", "w1-1", "w2-1"):
        journal = writer(tmp_path, name)
        for number in range(1, 40):
            journal.append(exchange(number))
        journal.close()
    tail = Tail(tmp_path)
    seen = []
    for _ in range(3):
        assert not tail.at_end
        assert tail.lag_bytes() > 0
        seen += tail.read(3000)
    assert tail.lag_bytes() == 0
    assert tail.read(3000) == []
    assert tail.at_end
    assert len(seen) == 3 * (1 + 39 + 1)


def test_what_has_ended_is_not_opened_again(tmp_path: Path, monkeypatch) -> None:
    for number in range(1, 30):
        journal = writer(tmp_path, f"w0-{number}")
        journal.append(exchange(number))
        journal.close()
    tail = Tail(tmp_path)
    assert len(ids(all_of(tail), ExchangeRecord)) == 29
    assert {place.offset for place in tail.position.values()} == {ENDED}
    monkeypatch.setattr(Path, "open", None)
    assert tail.read() == []
    assert Tail(tmp_path, tail.position).read() == []


def test_what_retention_removes_is_not_missed(tmp_path: Path) -> None:
    journal = writer(tmp_path, max_segment_bytes=2500)
    for number in range(1, 20):
        journal.append(exchange(number))
    tail = Tail(tmp_path)
    first = ids(all_of(tail, 3000), ExchangeRecord)
    for segment in segments(tmp_path)[:-1]:
        segment.path.unlink()
    for number in range(20, 23):
        journal.append(exchange(number))
    journal.close()
    rest = ids(all_of(tail), ExchangeRecord)
    assert first == [exchange(n).id for n in range(1, 20)]
    assert rest == [exchange(n).id for n in range(20, 23)]
    for segment in segments(tmp_path):
        segment.path.unlink()
    assert tail.read() == []
    assert tail.position == {}


def test_a_segment_that_goes_while_it_is_read_is_no_error(tmp_path: Path, monkeypatch) -> None:
    journal = writer(tmp_path)
    journal.append(exchange(1))
    journal.close()
    listed = segments(tmp_path)
    listed[0].path.unlink()
    monkeypatch.setattr(reader, "segments", lambda _: listed)
    assert Tail(tmp_path).read() == []


def test_a_segment_missing_from_a_listing_is_waited_for(tmp_path: Path, monkeypatch) -> None:
    """Two may be born while a directory is listed, and only the second be in the list."""
    journal = writer(tmp_path, max_segment_bytes=2500)
    for number in range(1, 12):
        journal.append(exchange(number))
    journal.close()
    whole = segments(tmp_path)
    assert len(whole) >= 4
    for missing in range(len(whole) - 1):
        tail = Tail(tmp_path)
        with monkeypatch.context() as patched:
            listed = [s for i, s in enumerate(whole) if i != missing]
            patched.setattr(reader, "segments", lambda _, listed=listed: listed)
            seen = all_of(tail)
        os.utime(tmp_path)  # what a listing misses was born after it
        seen += all_of(tail)
        assert ids(seen, ExchangeRecord) == [exchange(n).id for n in range(1, 12)]


def test_a_journal_that_has_not_changed_is_not_listed_again(tmp_path: Path, monkeypatch) -> None:
    journal = writer(tmp_path)
    journal.append(exchange(1))
    os.utime(tmp_path, (1, 1))
    tail = Tail(tmp_path)
    assert ids(all_of(tail), ExchangeRecord) == [exchange(1).id]
    listed = []
    real = reader.segments
    monkeypatch.setattr(reader, "segments", lambda directory: listed.append(1) or real(directory))
    journal.append(exchange(2))
    assert ids(all_of(tail), ExchangeRecord) == [exchange(2).id]
    assert not listed
    other = writer(tmp_path, "w1-1")
    other.append(exchange(3))
    assert ids(all_of(tail), ExchangeRecord) == [exchange(3).id]
    assert listed
    for each in (journal, other):
        each.close()
