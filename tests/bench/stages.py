"""Where the time of a request goes in the worker: a table by stage, and a flame graph.

    python tests/bench/stages.py [--seconds 3] [--out FOLDER]

The functions of the stages are timed from outside, in a worker of its own; the flame graph is of
another one, without timers. What the rows mean is in README.md beside it.
"""

import argparse
import os
import signal
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from json import loads
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench.side_by_side import gateway, machine, readme
from bench.side_by_side.candidates import Candidate
from bench.side_by_side.cases import Case
from bench.side_by_side.place import Command, Place
from bench.side_by_side.processes import Cpu, tree
from bench.side_by_side.report import table
from bench.side_by_side.run import prepared, say
from bench.side_by_side.stage import Running, Stage
from bench.staging import flame
from bench.staging.timers import STAGES

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "results"
WORKER = HERE / "staging" / "worker.py"
TELL_S = 10.0
REST = "everything else: event loop, sockets, aiohttp's handler"
LOADS = (
    Case("1 KB", "", "unary", "1k", 32),
    Case("100 KB new", "", "unary", "100k", 1),
    Case("100 KB resent", "", "unary", "100k", 1, resent=True),
    Case("1 MB new", "", "unary", "1m", 1),
    Case("1 MB resent", "", "unary", "1m", 1, resent=True),
    Case("stream of 20", "", "stream", "1k_s20", 8),
)


@dataclass(frozen=True)
class Column:
    """What one load came to, in µs a request."""

    name: str
    stages: dict[str, float]
    cpu_us: float
    """Of the process, without the timers' own."""


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=3.0, help="for each load (3)")
    parser.add_argument("--out", type=Path, metavar="FOLDER", default=RESULTS)
    options = parser.parse_args(arguments)
    options.out.mkdir(parents=True, exist_ok=True)
    about = {**machine.machine(), **machine.versions()}
    with Stage(prepared()) as stage:
        columns, missing = measured(stage, options.seconds)
        drawn = draw(stage, options.seconds, options.out / "flame.svg")
    text = as_markdown(about, columns, missing)
    (options.out / "stages.md").write_text(text)
    if options.out == RESULTS:
        readme.put("stages", text.partition("\n")[2])
    print(text)
    say(drawn)
    return 0


def measured(stage: Stage, seconds: float) -> tuple[list[Column], list[str]]:
    """Put every load through a timed worker; return a column for each, and what was not found."""
    columns = []
    missing: list[str] = []
    with _worker(stage, timed=True) as (running, report):
        for case in LOADS:
            say(f"timing {case.name}")
            lasting = replace(case, seconds=seconds, warm_s=0.0)
            stage.generator.run(running.port, lasting.first_time())
            running.process.settle()
            _told(running, report)
            before, counted = running.process.cpu(), stage.upstream.stats()
            stage.generator.run(running.port, lasting)
            running.process.settle()
            cpu = running.process.cpu().since(before)
            requests = stage.upstream.stats()["requests"] - counted["requests"]
            said = _told(running, report)
            missing = said["missing"]
            columns.append(_column(case.name, said, cpu, requests))
    return columns, missing


def _column(name: str, said: dict[str, Any], cpu: Cpu, requests: int) -> Column:
    """Take what the timers themselves cost out of everything."""
    within_ns, whole_ns = said["timer_ns"]
    stages = {
        stage: max(0.0, ns - calls * within_ns) / 1000 / requests
        for stage, (calls, ns) in said["stages"].items()
    }
    calls = sum(calls for calls, _ in said["stages"].values())
    return Column(name, stages, cpu.tree / requests * 1e6 - calls * whole_ns / 1000 / requests)


def _told(running: Running, report: Path) -> dict[str, Any]:
    """Ask the worker what it has taken since the last time."""
    report.unlink(missing_ok=True)
    running.process.signal(signal.SIGUSR1)
    deadline = time.monotonic() + TELL_S
    while not report.exists():
        if time.monotonic() > deadline:
            raise SystemExit(f"the worker tells nothing\n{running.process.last_words()}")
        time.sleep(0.01)
    found: dict[str, Any] = loads(report.read_text())
    return found


@contextmanager
def _worker(
    stage: Stage, *, timed: bool = False, around: Sequence[str | Path] = ()
) -> Iterator[tuple[Running, Path]]:
    reports: list[Path] = []

    def command(place: Place) -> Command:
        config = place.folder / "tidegate.toml"
        config.write_text(gateway.written(place))
        reports.append(place.folder / "report.json")
        given: Command = [sys.executable, WORKER, config, str(place.port)]
        return [*around, *given, *(reports if timed else [])]

    with stage.started(Candidate("timed" if timed else "drawn", "", command)) as running:
        yield running, reports[0]


def draw(stage: Stage, seconds: float, to: Path) -> str:
    """Write the flame graph, of small requests and a resent conversation; say what came of it."""
    program = flame.py_spy()
    if program is None:
        return "py-spy is not installed: no flame graph"
    raw = stage.folder / "flame.svg"
    around = flame.recording(program, raw, [])
    say("drawing")
    with _worker(stage, around=around) as (running, _):
        for case in (LOADS[0], LOADS[4], LOADS[5]):
            stage.generator.run(running.port, replace(case, seconds=seconds))
        for pid in tree(running.process.pid)[1:]:
            os.kill(pid, signal.SIGTERM)  # py-spy draws when what it runs has ended
        running.process.wait()
    if not raw.exists():
        return f"py-spy has drawn nothing: {running.process.last_words()}"
    to.write_text(flame.scrub(raw.read_text()))
    return f"written: {to.name}, {to.stat().st_size // 1024} KB"


def as_markdown(about: Mapping[str, str], columns: Sequence[Column], missing: Sequence[str]) -> str:
    """Return the table."""
    named = ", ".join(f"{name} {about[name]}" for name in ("commit", "python", "cpu", "cores"))
    date = datetime.now(UTC).date().isoformat()
    lines = [f"# Where the time goes, {date}", named, table(*_rows(columns))]
    if missing:
        lines.append("Not there any more: " + ", ".join(f"`{each}`" for each in missing))
    return "\n\n".join(lines) + "\n"


def _rows(columns: Sequence[Column]) -> tuple[list[str], list[list[str]]]:
    order = list(dict.fromkeys(stage for stage, _ in STAGES))
    policies = list(dict.fromkeys(s for c in columns for s in c.stages if s.startswith("policy ")))
    at = order.index("outline") + 1
    shown = [*order[:at], *policies, *order[at:]]
    rows = [
        [stage, *(_number(column.stages.get(stage)) for column in columns)]
        for stage in shown
        if any(stage in column.stages for column in columns)
    ]
    rest = [_number(column.cpu_us - sum(column.stages.values())) for column in columns]
    rows += [[REST, *rest], ["CPU of the process", *(_number(c.cpu_us) for c in columns)]]
    return ["µs a request", *(column.name for column in columns)], rows


def _number(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:,.0f}" if abs(value) >= 10 else f"{value:.1f}"


if __name__ == "__main__":
    sys.exit(main())
