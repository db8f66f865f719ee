"""A run: round by round, one case through one candidate after the other; nothing measured is lost."""

import json
import os
import resource
import signal
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from types import FrameType

from bench.side_by_side.candidates import Candidate
from bench.side_by_side.cases import Case
from bench.side_by_side.loads import Failed
from bench.side_by_side.stage import Cores, Stage
from bench.side_by_side.summary import Round

DESCRIPTORS = 65_536
OWN_INSTANCE = {"start", "held"}
START_S = 3.0


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def prepared() -> Cores:
    """Share out the cores, take the load's for ourselves, and get as many files as there are."""
    signal.signal(signal.SIGTERM, _leave)
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        say("one core for everything: the figures mean little")
    chosen = Cores(server=cores[0], load=cores[-1])
    os.sched_setaffinity(0, {chosen.load})
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(ValueError, OSError):  # only root may have more than the limit
        resource.setrlimit(resource.RLIMIT_NOFILE, (DESCRIPTORS, max(DESCRIPTORS, most)))
        return chosen
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(DESCRIPTORS, most), most))
    return chosen


def _leave(_number: int, _frame: FrameType | None) -> None:
    raise SystemExit(143)


class Run:
    """What is measured, and what came of it so far."""

    def __init__(
        self, candidates: Sequence[Candidate], cases: Sequence[Case], rounds: int, log: Path
    ) -> None:
        """Every sample is added to `log` as soon as it is there, a line for a case of a round."""
        self.round = 0
        self.rounds_done = 0
        self.samples: dict[str, list[Round]] = {case.name: [] for case in cases}
        self.failures: list[str] = []
        self.notes: list[str] = []
        self._cases = cases
        self._rounds = rounds
        self._log = log
        self._candidates = [each for each in candidates if any(each.takes(case) for case in cases)]
        self._done_s = 0.0
        self._began = 0.0

    def measure(self, cores: Cores) -> None:
        """Measure in rounds; in each, one case through one candidate after the other."""
        self._log.parent.mkdir(exist_ok=True)
        self._log.write_text("")
        with Stage(cores) as stage:
            self._start(stage)
            self._began = time.monotonic()
            for number in range(self._rounds):
                self.round = number + 1
                for case in self._of_round(number):
                    self._case(stage, case, number)
                self.rounds_done += 1

    def _start(self, stage: Stage) -> None:
        for candidate in list(self._candidates):
            if why := candidate.absent():
                self._without(candidate, why)
                self.notes.append(f"{candidate.name}: {why}")
                continue
            lasting = [case for case in self._cases if case.mode not in OWN_INSTANCE]
            if any(candidate.takes(case) for case in lasting):
                say(f"starting {candidate.name}")
                try:
                    stage.add(candidate)
                except (Failed, OSError) as failed:
                    self._without(candidate, f"not started: {failed}")
                    self.failures.append(f"{candidate.name}: not started: {failed}")

    def _without(self, candidate: Candidate, why: str) -> None:
        say(f"without {candidate.name}: {why}")
        self._candidates.remove(candidate)

    def _of_round(self, number: int) -> list[Case]:
        return [case for case in self._cases if number < case.most_rounds]

    def _case(self, stage: Stage, case: Case, number: int) -> None:
        say(f"{self._progress()} round {self.round} of {self._rounds}: {case.name}")
        there = [each for each in self._candidates if each.takes(case)]
        turn = number % max(1, len(there))  # nobody is always first
        found: Round = {}
        for candidate in [*there[turn:], *there[:turn]]:
            try:
                found[candidate.name] = stage.measure(candidate, case)
            except (Failed, OSError, ValueError, KeyError, ZeroDivisionError) as failed:
                self.failures.append(f"{case.name}, {candidate.name}: {failed!r}")
                say(f"  failed: {self.failures[-1]}")
            self._done_s += case.expected_s()
        sample = {each.name: found[each.name] for each in there if each.name in found}
        self.samples[case.name].append(sample)
        with self._log.open("a") as out:
            out.write(json.dumps({"round": self.round, "case": case.name, **sample}) + "\n")

    def _progress(self) -> str:
        """Say how much is done, and how long the rest will take at the pace so far."""
        whole = sum(
            case.expected_s() * sum(each.takes(case) for each in self._candidates)
            for number in range(self._rounds)
            for case in self._of_round(number)
        )
        took = time.monotonic() - self._began
        pace = took / self._done_s if self._done_s > 20 else 1.1
        left_s = (whole - self._done_s) * pace
        return f"[{self._done_s / max(1e-9, whole):3.0%}, about {left_s / 60:.0f} min left]"
