"""Measure tidegate beside other gateways: LiteLLM, Portkey, Bifrost, mitmproxy.

    python tests/bench/peers.py [--rounds 5] [--peers ...] [--cache FOLDER]

Installs them below a folder first, from the registries of Python, Node and Go; that takes minutes,
once. What cannot be installed is left out, with the reason.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench.peering.gateways import PEERS, NotInstalled, Peer
from bench.side_by_side import machine
from bench.side_by_side.bodies import LONG_STREAM
from bench.side_by_side.candidates import CANDIDATES, Candidate
from bench.side_by_side.cases import RAMP, Case
from bench.side_by_side.report import spread, table
from bench.side_by_side.run import Run, prepared, say
from bench.side_by_side.summary import ENOUGH_ROUNDS, Round, spread_of

HERE = Path(__file__).resolve().parent
OURS = "tidegate"
BESIDE = ("nginx", OURS)
LEAST = {"litellm": 100, "portkey": 10}
"""How many times tidegate's requests per second and core are to be a peer's."""
STREAMS = 40
NOTE = """\
CPU is that of all processes. Ratios are taken inside each round: the median, and the lowest and
highest. Requests per second and core are the inverse of CPU per request."""


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    about = {**machine.machine(), **machine.versions()}
    notes: list[str] = []
    there = [found for peer in options.peers if (found := _installed(peer, options.cache, notes))]
    candidates = [each for each in CANDIDATES if each.name in BESIDE] + there
    run = Run(
        candidates,
        cases([each.name for each in candidates], options.seconds),
        options.rounds,
        HERE / "build" / "peers.jsonl",
    )
    try:
        run.measure(prepared())
    except (KeyboardInterrupt, SystemExit):
        notes.append(f"stopped in round {run.round}")
    notes += [f"{each[:300]}" for each in dict.fromkeys((*run.notes, *run.failures))]
    text = as_markdown(run, candidates, about, notes)
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "peers.md").write_text(text)
    told = {"about": about, "samples": run.samples, "notes": notes}
    (options.out / "peers.json").write_text(json.dumps(told, indent=1) + "\n")
    print(text)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    names = {peer.name: peer for peer in PEERS}
    parser.add_argument("--rounds", type=int, default=ENOUGH_ROUNDS)
    parser.add_argument("--seconds", type=float, default=4.0, help="for each load (4)")
    parser.add_argument(
        "--peers",
        nargs="+",
        type=names.__getitem__,
        default=PEERS,
        metavar="PEER",
        help=f"some of: {' '.join(names)}",
    )
    parser.add_argument(
        "--cache",
        type=Path,
        metavar="FOLDER",
        default=HERE / "build" / "peers",
        help="where they are installed",
    )
    parser.add_argument("--out", type=Path, metavar="FOLDER", default=HERE / "results")
    return parser


def _installed(peer: Peer, cache: Path, notes: list[str]) -> Candidate | None:
    say(f"installing {peer.name}")
    folder = cache.resolve() / peer.name
    try:
        return peer.candidate(folder, peer.install(folder))
    except NotInstalled as failed:
        notes.append(f"{peer.name}: not installed: {failed}")
        say(f"  {notes[-1]}")
        return None


def cases(names: Sequence[str], seconds: float) -> list[Case]:
    """Return the loads: what is slow to warm up gets the time for it."""
    who = tuple(names)
    return [
        Case(
            "unary_1k",
            "1 KB bodies, 32 connections, closed loop",
            "unary",
            "1k",
            seconds=seconds,
            warm_s=seconds,
            who=who,
        ),
        Case(
            "paced_40",
            f"{STREAMS} streams, an event every 20 ms on each",
            "stream",
            f"1k_s{LONG_STREAM}",
            STREAMS,
            seconds=seconds,
            warm_s=STREAMS / RAMP + 2,
            pause_us=20_000,
            who=who,
        ),
    ]


def as_markdown(
    run: Run, candidates: Sequence[Candidate], about: dict[str, str], notes: Sequence[str]
) -> str:
    """Return the tables."""
    parts = [
        f"# Beside other gateways, {datetime.now(UTC).date().isoformat()}",
        "\n".join(
            f"- {name}: {value}"
            for name, value in (("rounds", str(run.rounds_done)), *about.items())
        ),
        NOTE,
        "\n".join(f"- `{each.name}`: {each.about}" for each in candidates),
    ]
    for case, samples in run.samples.items():
        parts.append(f"## {case}\n\n{table(*_rows(case, samples, candidates))}")
    if notes:
        parts.append("## Left out or failed\n\n" + "\n".join(f"- {note}" for note in notes))
    return "\n\n".join(parts) + "\n"


def _rows(
    case: str, samples: Sequence[Round], candidates: Sequence[Candidate]
) -> tuple[list[str], list[list[str]]]:
    unary = case == "unary_1k"
    speed = "per_second" if unary else "events_per_second"
    late = "p99_us" if unary else "event_p99_us"
    unit = "request" if unary else "event"
    rows = []
    for name in (each.name for each in candidates):
        there = [sample for sample in samples if name in sample]
        if not there:
            rows.append([name, "-", "-", "-", "-", ""])
            continue
        values = [
            spread_of([sample[name][key] for sample in there]).median
            for key in (speed, "tree_us", late)
        ]
        ratios = [s[name]["tree_us"] / s[OURS]["tree_us"] for s in there if OURS in s]
        ratio = spread_of(ratios) if ratios else None
        shown = spread(ratio) if ratio else "-"
        least = LEAST.get(name) if unary else None
        verdict = ""
        if least is not None and ratio is not None:
            met = "met" if ratio.median >= least else "not met"
            verdict = f"≥ {least}×: {met if run_is_enough(len(there)) else 'too few rounds'}"
        rows.append(
            [
                name,
                *(f"{value:,.0f}" if value >= 100 else f"{value:.3g}" for value in values),
                shown,
                verdict,
            ]
        )
    return ["", f"{unit}s/s", f"CPU per {unit}, µs", "p99, µs", "CPU, × tidegate", "target"], rows


def run_is_enough(rounds: int) -> bool:
    return rounds >= ENOUGH_ROUNDS


if __name__ == "__main__":
    sys.exit(main())
