"""Measure tidegate side by side with nginx, a naive proxy and nothing at all.

    python tests/bench/bench.py [--quick] [--rounds 5] [--cases ...] [--candidates ...]

Takes two cores; what it means is in README.md beside it.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench.side_by_side import machine, readme
from bench.side_by_side.candidates import CANDIDATES
from bench.side_by_side.cases import CASES
from bench.side_by_side.plots import plot
from bench.side_by_side.report import Result, as_json, as_markdown, summary
from bench.side_by_side.run import Run, prepared, say
from bench.side_by_side.summary import ENOUGH_ROUNDS, summarize

HERE = Path(__file__).resolve().parent


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    rounds = options.rounds or (1 if options.quick else ENOUGH_ROUNDS)
    cases = [each.quick() if options.quick else each for each in options.cases]
    about = machine.machine()
    run = Run(options.candidates, cases, rounds, HERE / "build" / "samples.jsonl")
    try:
        run.measure(prepared())
    except (KeyboardInterrupt, SystemExit) as stopped:
        run.failures.append(f"stopped in round {run.round} of {rounds} ({type(stopped).__name__})")
    result = Result(
        date=datetime.now(UTC).date().isoformat(),
        quick=options.quick,
        rounds=run.rounds_done,
        machine=about,
        versions=machine.versions(),
        samples=run.samples,
        summaries={name: summarize(found) for name, found in run.samples.items()},
        failures=run.failures,
        notes=run.notes,
    )
    whole = options.cases == CASES and options.candidates == CANDIDATES
    official = whole and result.judged and options.out is None
    _write(result, options.out or HERE / ("results" if official else "build"))
    if official:
        readme.put("targets", summary(result))
    return 1 if run.failures else 0


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


def _write(result: Result, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    text = as_markdown(result)
    (folder / f"{result.date}.md").write_text(text)
    (folder / f"{result.date}.json").write_text(json.dumps(as_json(result), indent=1) + "\n")
    print(text)
    for path in plot(result, folder):
        say(f"written: {path.name}")


if __name__ == "__main__":
    sys.exit(main())
