"""Whatever the order of writing, rotating, dying, recovering, packing and reading: each record once, in order."""

import os
import shutil
import tempfile
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from support.journals import StandingClock, exchange, intent, records
from tidegate.journal.keeper import Keeper
from tidegate.journal.reader import Tail, lines, segments
from tidegate.journal.recovery import Recovery
from tidegate.journal.retention import Limits
from tidegate.journal.verify import verify
from tidegate.journal.writer import Writer
from tidegate.record import ExchangeRecord, Intent, encode

SLOTS = 2


class Journal(RuleBasedStateMachine):
    """Two workers that write, die and come again, and two readers that come and go."""

    @initialize(size=st.integers(600, 6000))
    def begin(self, size: int) -> None:
        self.directory = Path(tempfile.mkdtemp())
        self.size = size
        self.clock = StandingClock()
        self.recovery = Recovery(self.directory, self.clock)
        self.keeper = Keeper(self.directory, self.clock, Limits())
        self.births = 0
        self.number = 0
        self.writers: list[Writer | None] = [None] * SLOTS
        self.open: list[list[int]] = [[] for _ in range(SLOTS)]
        self.owed: list[int] = []
        self.finished: set[str] = set()
        self.tails = [Tail(self.directory) for _ in range(2)]
        self.read: list[list[bytes]] = [[], []]

    def teardown(self) -> None:
        if not hasattr(self, "directory"):
            return
        try:
            self._end_well()
        finally:
            shutil.rmtree(self.directory)

    @rule(slot=st.integers(0, SLOTS - 1), count=st.integers(1, 3))
    def dispatch(self, slot: int, count: int) -> None:
        for _ in range(count):
            self.number += 1
            self._writer(slot).append(intent(self.number))
            self.open[slot].append(self.number)

    @rule(slot=st.integers(0, SLOTS - 1), which=st.randoms(use_true_random=False))
    def conclude(self, slot: int, which) -> None:
        if self.open[slot]:
            number = self.open[slot].pop(which.randrange(len(self.open[slot])))
            self._writer(slot).append(exchange(number))
            self.finished.add(exchange(number).id)

    @rule(slot=st.integers(0, SLOTS - 1))
    def refuse(self, slot: int) -> None:
        """An exchange that nothing was dispatched for."""
        self.number += 1
        self._writer(slot).append(exchange(self.number))
        self.finished.add(exchange(self.number).id)

    @rule(
        slot=st.integers(0, SLOTS - 1), cut=st.floats(0, 1, exclude_max=True), unborn=st.booleans()
    )
    def die(self, slot: int, cut: float, *, unborn: bool) -> None:
        """In the middle of a write; perhaps in the middle of a rotation."""
        dead, self.writers[slot] = self.writers[slot], None
        if dead is None:
            return
        line = encode(exchange(self.number + 10**6))
        os.write(dead.fd, line[: int(cut * len(line))])
        if unborn:
            (self.directory / f"{dead.name}.{dead._sequence + 1:06d}.jsonl.new").write_bytes(
                line[: int(cut * len(line))]
            )
        os.close(dead.fd)
        self.owed += self.open[slot]
        self.open[slot] = []
        self.recovery.died(f"w{slot}-")

    @rule()
    def recover(self) -> None:
        assert self.recovery.close() == len(self.owed)
        self.owed = []

    @precondition(lambda self: not any(self.writers))
    @rule()
    def start_anew(self) -> None:
        """The supervisor was killed, too: a new one knows only what is on disk."""
        self.recovery = Recovery(self.directory, self.clock)
        self.recovery.died()

    @rule(slot=st.integers(0, SLOTS - 1))
    def leave(self, slot: int) -> None:
        """In order, with whatever is open concluded first."""
        writer, self.writers[slot] = self.writers[slot], None
        if writer is None:
            return
        for number in self.open[slot]:
            writer.append(exchange(number))
            self.finished.add(exchange(number).id)
        self.open[slot] = []
        writer.close()

    @rule(again=st.booleans())
    def tidy(self, *, again: bool) -> None:
        """What is sealed is packed, perhaps by a keeper that was just started."""
        if again:
            self.keeper = Keeper(self.directory, self.clock, Limits())
        self.keeper.tidy()

    @rule(reader=st.integers(0, 1), max_bytes=st.integers(1, 5000))
    def look(self, reader: int, max_bytes: int) -> None:
        self.read[reader] += self.tails[reader].read(max_bytes)

    @rule(reader=st.integers(0, 1))
    def restart_reader(self, reader: int) -> None:
        self.tails[reader] = Tail(self.directory, self.tails[reader].position)

    @invariant()
    def it_is_always_as_it_was_written(self) -> None:
        if hasattr(self, "directory"):
            report = verify(self.directory)
            assert (report.repeated, report.audit.faults) == ([], [])
            assert report.sound

    def _writer(self, slot: int) -> Writer:
        writer = self.writers[slot]
        if writer is None:
            self.births += 1
            name = f"w{slot}-{self.births:06d}"
            writer = Writer(self.directory, name, self.clock, max_segment_bytes=self.size)
            self.writers[slot] = writer
        return writer

    def _end_well(self) -> None:
        for slot in range(SLOTS):
            self.leave(slot)
        self.recovery.close()
        report = verify(self.directory)
        assert (report.sound, report.open) == (True, [])
        assert self.finished <= _ids(records(self.directory), ExchangeRecord)
        assert _ids(records(self.directory), Intent) <= _ids(
            records(self.directory), ExchangeRecord
        )
        for reader, tail in enumerate(self.tails):
            while not tail.at_end or tail.lag_bytes():
                self.look(reader, 5000)
            self._check_read(self.read[reader])

    def _check_read(self, read: list[bytes]) -> None:
        """Each writer's lines, once and in order, are those in its files."""
        written: dict[str, list[bytes]] = {}
        for segment in segments(self.directory):
            written.setdefault(segment.writer, []).extend(lines(segment.path))
        assert sorted(read) == sorted(line for found in written.values() for line in found)
        for found in written.values():
            mine = set(found)
            assert [line for line in read if line in mine] == found


def _ids(found: list, kind: type) -> set[str]:
    return {record.id for record in found if isinstance(record, kind)}


TestJournal = Journal.TestCase
TestJournal.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
