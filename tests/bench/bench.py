"""Measure tidegate side by side with nginx, a naive proxy and nothing at all.

    python tests/bench/bench.py [--quick] [--rounds 5] [--cases ...] [--candidates ...]

Takes two cores; what it means is in README.md beside it.
"""

import argparse
import json
import os
import resource
import signal
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench.side_by_side import machine
from bench.side_by_side.candidates import CANDIDATES, Candidate, nginx_program
from bench.side_by_side.cases import CASES, Case
from bench.side_by_side.report import Result, as_json, as_markdown
from bench.side_by_side.stage import Cores, Failed, Stage
from bench.side_by_side.summary import ENOUGH_ROUNDS, Round, summarize

HERE = Path(__file__).resolve().parent
DESCRIPTORS = 16_384


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    signal.signal(signal.SIGTERM, _leave)
    cases = [each.quick() if options.quick else each for each in options.cases]
    candidates = [each for each in options.candidates if _there(each)]
    rounds = options.rounds or (1 if options.quick else ENOUGH_ROUNDS)
    about = machine.machine()
    samples, failures = measure(candidates, cases, rounds, _cores())
    result = Result(
        date=datetime.now(UTC).date().isoformat(),
        quick=options.quick,
        rounds=rounds,
        machine=about,
        versions=machine.versions(),
        samples=samples,
        summaries={name: summarize(found) for name, found in samples.items()},
        failures=failures,
    )
    _write(result, options.out or HERE / ("build" if options.quick else "results"))
    return 1 if failures else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="see that it works; no figures")
    parser.add_argument("--rounds", type=int, help=f"({ENOUGH_ROUNDS}; 1 if quick)")
    cases = {each.name: each for each in CASES}
    parser.add_argument(
        "--cases",
        nargs="+",
        type=cases.__getitem__,
        default=CASES,
        metavar="CASE",
        help=f"some of: {' '.join(cases)}",
    )
    candidates = {each.name: each for each in CANDIDATES}
    parser.add_argument(
        "--candidates",
        nargs="+",
        type=candidates.__getitem__,
        default=CANDIDATES,
        metavar="CANDIDATE",
        help=f"some of: {' '.join(candidates)}",
    )
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="where the report is written")
    return parser


def _leave(_number: int, _frame: FrameType | None) -> None:
    raise SystemExit(143)


def _there(candidate: Candidate) -> bool:
    if candidate.name == "nginx" and nginx_program() is None:
        _say("nginx is not installed: no ratios to it")
        return False
    return True


def _cores() -> Cores:
    """Share out the cores, and take the load's for ourselves."""
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        _say("one core for everything: the figures mean little")
    chosen = Cores(server=cores[0], load=cores[-1])
    os.sched_setaffinity(0, {chosen.load})
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(DESCRIPTORS, most), most))
    return chosen


def measure(
    candidates: Sequence[Candidate], cases: Sequence[Case], rounds: int, cores: Cores
) -> tuple[dict[str, list[Round]], list[str]]:
    """Measure in rounds; in each, one case through one candidate after the other."""
    samples: dict[str, list[Round]] = {case.name: [] for case in cases}
    failures: list[str] = []
    with Stage(cores) as stage:
        for candidate in candidates:
            stage.add(candidate)
        for number in range(rounds):
            turn = number % len(candidates)  # nobody is always first
            for case in cases:
                _say(f"round {number + 1} of {rounds}: {case.name}")
                order = [*candidates[turn:], *candidates[:turn]]
                samples[case.name].append(_round(stage, order, case, failures))
    return samples, failures


def _round(stage: Stage, candidates: Sequence[Candidate], case: Case, failures: list[str]) -> Round:
    found: Round = {}
    for candidate in candidates:
        try:
            found[candidate.name] = stage.measure(candidate, case)
        except Failed as failed:
            failures.append(f"{case.name}, {candidate.name}: {failed}")
            _say(f"  failed: {failures[-1]}")
    return {each.name: found[each.name] for each in CANDIDATES if each.name in found}


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _write(result: Result, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    text = as_markdown(result)
    (folder / f"{result.date}.md").write_text(text)
    (folder / f"{result.date}.json").write_text(json.dumps(as_json(result), indent=1) + "\n")
    print(text)


if __name__ == "__main__":
    sys.exit(main())
