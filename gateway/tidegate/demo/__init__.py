"""The demo: a simulated upstream, the gateway in front of it, and a little mixed traffic.

It needs no key, no network and no configuration. The gateway runs as it always does, as
processes of its own; what the demo shows, it reads from the journal, as anybody could.
"""

import asyncio
import contextlib
import re
import signal
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tidegate.clock import SystemClock
from tidegate.demo import screen
from tidegate.demo.cast import cast
from tidegate.demo.gateway import Gateway, Places, check_port
from tidegate.demo.tally import Tally
from tidegate.demo.traffic import Traffic
from tidegate.errors import ConfigError, Problem
from tidegate.journal.verify import verify
from tidegate.simulator import serve_simulator

_UNITS = {"": 1, "s": 1, "m": 60, "h": 3600}
_DURATION = re.compile(r"(\d+(?:\.\d+)?)([smh]?)")

SHOW_EVERY_S = 1.0


@dataclass(slots=True)
class _Stop:
    """Set by Ctrl-C or SIGTERM; the second one is in a hurry."""

    asked: asyncio.Event
    hurry: asyncio.Event

    def ask(self) -> None:
        (self.hurry if self.asked.is_set() else self.asked).set()


def run(*, duration: str | None, port: int, admin_port: int, journal: str | None) -> int:
    """Run the demo for `duration` (such as `30s`), or until interrupted; return the exit code.

    Raises:
        ConfigError: a flag cannot be used, or the gateway does not start.
    """
    seconds = _seconds(duration)
    ports = check_port("--port", port), check_port("--admin-port", admin_port)
    with _directory(journal) as (work, directory):
        places = Places(work, directory, *ports)
        code = asyncio.run(_demo(places, seconds, temporary=journal is None))
    if journal is None:
        print(f"removed    {directory}; `--journal DIR` keeps one")
    return code


def _seconds(text: str | None) -> float | None:
    if text is None:
        return None
    match = _DURATION.fullmatch(text.strip())
    if match is None or not float(match[1]):
        raise ConfigError([Problem("--for", f"{text!r} is no time; write 30s, 5m or 1h")])
    return float(match[1]) * _UNITS[match[2]]


@contextlib.contextmanager
def _directory(journal: str | None) -> Iterator[tuple[Path, Path]]:
    """Give a directory to work in, and the journal's; what is temporary is removed."""
    with tempfile.TemporaryDirectory(prefix="tidegate-demo-", ignore_cleanup_errors=True) as name:
        work = Path(name)
        yield work, Path(journal) if journal is not None else work / "journal"


async def _demo(places: Places, seconds: float | None, *, temporary: bool) -> int:
    stop = _watch_signals()
    people = cast()
    screen.starting()
    async with serve_simulator() as simulator:
        gateway = await Gateway.start(places, simulator.url, people, stop.asked)
        if stop.asked.is_set():
            await gateway.stop(stop.hurry)
            return 130
        began = SystemClock().now()
        tally = Tally(places.journal, since=began)
        try:
            screen.welcome(places, people, temporary=temporary, seconds=seconds)
            await _play(Traffic(places.url, people), gateway, tally, stop, seconds)
        finally:
            code = await gateway.stop(stop.hurry)
    tally.read()
    report = verify(places.journal)
    screen.summary(tally, report, seconds=SystemClock().now() - began)
    if code:
        print(f"the gateway ended with {code}:\n  {gateway.last_words()}", file=sys.stderr)
    return 0 if code == 0 and report.sound and not report.open else 1


def _watch_signals() -> _Stop:
    stop = _Stop(asyncio.Event(), asyncio.Event())
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, stop.ask)
    return stop


async def _play(
    traffic: Traffic, gateway: Gateway, tally: Tally, stop: _Stop, seconds: float | None
) -> None:
    """Let traffic flow, and show it, until the time is up, Ctrl-C, or the gateway's end."""
    with screen.progress() as show:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(traffic.run(stop.asked, stop.hurry), name="traffic")
            tasks.create_task(_watch(gateway, stop), name="gateway")
            if seconds is not None:
                tasks.create_task(_until(seconds, stop.asked), name="time")
            while not stop.asked.is_set():
                await _until(SHOW_EVERY_S, stop.asked, expire=False)
                tally.read()
                if not show(tally):
                    stop.asked.set()  # nobody looks any more


async def _watch(gateway: Gateway, stop: _Stop) -> None:
    """End the demo if the gateway ends."""
    ended = asyncio.ensure_future(gateway.ended())
    asked = asyncio.ensure_future(stop.asked.wait())
    await asyncio.wait((ended, asked), return_when=asyncio.FIRST_COMPLETED)
    for future in (ended, asked):
        future.cancel()
    stop.asked.set()


async def _until(seconds: float, stop: asyncio.Event, *, expire: bool = True) -> None:
    """Wait for `stop`, for no longer than `seconds`; with `expire`, set it then."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await stop.wait()
    if expire:
        stop.set()
