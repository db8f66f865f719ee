"""One worker: an event loop that opens a generation, serves, reloads and drains.

Started by the supervisor as a fresh interpreter: `python -m tidegate.worker SLOT FD`,
where FD is the bound socket to accept on.
"""

import asyncio
import contextlib
import gc
import logging
import os
import resource
import signal
import socket
import sys
from pathlib import Path

import uvloop

from tidegate import stderr
from tidegate.clock import Clock, SystemClock
from tidegate.control import (
    Commit,
    Condition,
    Discard,
    Failed,
    Line,
    Load,
    Loaded,
    Prepare,
    Prepared,
    Ready,
    Stop,
)
from tidegate.errors import ConfigError, JournalError, Problem
from tidegate.http.app import DataPlane
from tidegate.journal.writer import Writer
from tidegate.pipeline.condition import condition_of, policy_vitals
from tidegate.pipeline.generation import Generation, open_generation
from tidegate.record import Vitals
from tidegate.registry import resolve

log = logging.getLogger(__name__)

VITALS_S = 5.0
TICK_S = 0.25
"""How often the lateness of the event loop is measured, and a full disk tried again."""

ORPHAN_DRAIN_S = 5.0

SWITCH_S = 0.0003
"""How long a thread that searches may go on when the event loop has something to do."""


class Worker:
    """Serves on one socket, on the orders of a supervisor."""

    def __init__(self, slot: int, listener: socket.socket, line: Line, clock: Clock) -> None:
        self._slot = slot
        self._listener = listener
        self._line = line
        self._clock = clock
        self._prepared: Generation | None = None
        self._reloads = 0
        self._reload_failures = 0
        self._late_ms = 0.0
        self._condition = Condition()

    async def run(self) -> int:
        """Serve until told to stop; return the exit code."""
        order = await self._line.order()
        if not isinstance(order, Load):
            return 0
        try:
            generation = await self._open(order)
            writer = self._writer(generation)
            plane = DataPlane(generation, writer, self._clock, self._slot)
            await plane.listen(self._listener, generation.config.listen)
        except ConfigError as error:
            self._line.report(Failed(error.problems))
            return 3
        except (JournalError, OSError) as error:
            self._line.report(Failed((Problem("journal.dir", str(error)),)))
            return 3
        _settle_memory()
        self._tell_condition(generation, writer)
        self._line.report(Ready(generation.digest))
        pulse = asyncio.get_running_loop().create_task(self._pulse(plane, writer), name="pulse")
        drain_s = await self._obey(plane)
        await plane.drain(drain_s)
        pulse.cancel()
        self._write_vitals(plane, writer)
        writer.close()
        return 0

    async def _open(self, order: Load | Prepare) -> Generation:
        config, chosen = resolve(order.text, order.flags)
        return await open_generation(config, chosen, clock=self._clock, worker=self._slot)

    def _writer(self, generation: Generation) -> Writer:
        journal = generation.config.journal
        # The time of start makes the name new: no writer ever goes on in another's files.
        name = f"w{self._slot}-{int(self._clock.now() * 1000):013d}"
        fsync = journal.durability == "fsync"
        return Writer(Path(journal.dir), name, self._clock, fsync=fsync)

    async def _obey(self, plane: DataPlane) -> float:
        """Carry out orders until the last one; return how long draining may take."""
        while True:
            order = await self._line.order()
            if isinstance(order, Prepare):
                await self._prepare(order)
            elif isinstance(order, Commit):
                self._commit(plane)
            elif isinstance(order, Discard):
                self._reload_failures += 1
                await self._drop_prepared()
            elif isinstance(order, Stop):
                await self._drop_prepared()
                drain_s = plane.generation.config.listen.drain_s
                return min(drain_s, ORPHAN_DRAIN_S) if order.orphaned else drain_s

    async def _prepare(self, order: Prepare) -> None:
        """Open a configuration beside the one that runs."""
        await self._drop_prepared()
        try:
            self._prepared = await self._open(order)
        except ConfigError as error:
            self._line.report(Prepared(error.problems))
            return
        self._line.report(Prepared())

    def _commit(self, plane: DataPlane) -> None:
        """Run new exchanges under what was prepared."""
        generation, self._prepared = self._prepared, None
        if generation is None:
            return
        plane.swap(generation)
        self._reloads += 1
        self._line.report(Loaded(generation.digest))

    async def _drop_prepared(self) -> None:
        generation, self._prepared = self._prepared, None
        if generation is not None:
            await generation.retire()

    async def _pulse(self, plane: DataPlane, writer: Writer) -> None:
        """Measure the loop's lateness, write vitals, and try again what could not be written."""
        loop = asyncio.get_running_loop()
        due = loop.time() + VITALS_S
        while True:
            before = loop.time()
            await asyncio.sleep(TICK_S)
            self._late_ms = max(self._late_ms, (loop.time() - before - TICK_S) * 1000)
            if writer.pending:
                writer.retry()
            if self._tell_condition(plane.generation, writer) or loop.time() >= due:
                due = loop.time() + VITALS_S
                self._write_vitals(plane, writer)

    def _tell_condition(self, generation: Generation, writer: Writer) -> bool:
        """Tell the supervisor how we are, if that has changed; return whether it has."""
        condition = condition_of(generation.chain, journal_fails=writer.failing)
        if condition == self._condition:
            return False
        self._condition = condition
        self._line.report(condition)
        return True

    def _write_vitals(self, plane: DataPlane, writer: Writer) -> None:
        vitals = Vitals(
            at=self._clock.now(),
            worker=self._slot,
            pid=os.getpid(),
            config=plane.generation.digest,
            inflight=plane.handler.inflight,
            loop_lag_ms=round(max(self._late_ms, 0.0), 3),
            rss_bytes=_rss_bytes(),
            journal_pending=writer.pending,
            journal_lost=writer.lost,
            upstream_idle=sum(pool.idle for pool in plane.pools),
            upstream_open=sum(pool.open for pool in plane.pools),
            reloads=self._reloads,
            reload_failures=self._reload_failures,
            policies=policy_vitals(plane.generation.chain),
        )
        self._late_ms = 0.0
        with contextlib.suppress(JournalError):
            writer.append(vitals)


def _rss_bytes() -> int:
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return pages * resource.getpagesize()


def _settle_memory() -> None:
    """Keep what start-up made out of every later collection, and let none but a full one last long.

    A collection looks at what has come to stay since the last one, some 200 ns each: at most 40,000 objects.
    All of them are looked at rarely, as next to nothing here refers to itself.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 2, 2_500)


async def _main(slot: int, listener: socket.socket) -> int:
    line = await Line.open()
    loop = asyncio.get_running_loop()
    worker = Worker(slot, listener, line, SystemClock())
    # Both signals reach a whole process group; what they mean is for the supervisor to say.
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM):
        loop.add_signal_handler(number, lambda: None)
    return await worker.run()


def main() -> int:
    """Run a worker; called by the supervisor only."""
    slot, descriptor = int(sys.argv[1]), int(sys.argv[2])
    stderr.configure(f"worker-{slot}", text_name="worker")
    listener = socket.socket(fileno=descriptor)
    sys.setswitchinterval(SWITCH_S)
    return uvloop.run(_main(slot, listener))


if __name__ == "__main__":
    sys.exit(main())
