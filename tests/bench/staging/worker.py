"""A worker without its supervisor: serves, with or without timers, until SIGTERM.

python worker.py CONFIG PORT [REPORT]. With REPORT it is timed; SIGUSR1 writes what was taken
since the last one to that file.
"""

import asyncio
import json
import signal
import socket
import sys
from pathlib import Path

import uvloop

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from bench.staging import timers
from tidegate.clock import SystemClock
from tidegate.http.app import DataPlane
from tidegate.journal.writer import Writer
from tidegate.pipeline.generation import open_generation
from tidegate.registry import resolve
from tidegate.worker import _settle_memory


async def serve(config: Path, port: int, report: Path | None) -> None:
    clock = SystemClock()
    found, chosen = resolve(config.read_text(), {})
    journal = Path(found.journal.dir)
    journal.mkdir(exist_ok=True)
    generation = await open_generation(found, chosen, clock=clock, worker=0)
    loop, ended = asyncio.get_running_loop(), asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, ended.set)
    if report is not None:
        costs = timers.own_cost_ns()
        missing = timers.install()
        timers.time_policies(generation)
        loop.add_signal_handler(signal.SIGUSR1, lambda: tell(report, missing, costs))
    plane = DataPlane(generation, Writer(journal, "w0", clock), clock, 0)
    await plane.listen(socket.create_server(("127.0.0.1", port), backlog=4096), found.listen)
    _settle_memory()
    await ended.wait()
    await plane.drain(1)


def tell(report: Path, missing: list[str], costs: tuple[float, float]) -> None:
    fresh = report.with_suffix(".new")
    told = {"stages": timers.taken(), "missing": missing, "timer_ns": costs}
    fresh.write_text(json.dumps(told))
    fresh.rename(report)


if __name__ == "__main__":
    to = Path(sys.argv[3]) if len(sys.argv) > 3 else None
    uvloop.run(serve(Path(sys.argv[1]), int(sys.argv[2]), to))
