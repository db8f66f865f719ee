"""What supervisor, workers and observatory say to each other: JSON lines over pipes."""

import asyncio
import contextlib
import os
import select
import sys
import threading
import time
from typing import Any

import msgspec

from tidegate.errors import Problem

MAX_ORDER_BYTES = 16 * 1024 * 1024

ORPHANS_LEAVE_S = 8.0
"""How long after its supervisor a child can go on, whatever hangs in it."""


class Load(msgspec.Struct, frozen=True, tag="load"):
    """Open this configuration and run it: the first order. The observatory gets it again."""

    text: str | None
    flags: dict[str, dict[str, Any]]


class Prepare(msgspec.Struct, frozen=True, tag="prepare"):
    """To a worker: open this configuration beside the one that runs."""

    text: str | None
    flags: dict[str, dict[str, Any]]


class Commit(msgspec.Struct, frozen=True, tag="commit"):
    """To a worker: change over to what was prepared."""


class Discard(msgspec.Struct, frozen=True, tag="discard"):
    """To a worker: nothing comes of this reload; close what was prepared."""


class Stop(msgspec.Struct, frozen=True, tag="stop"):
    """Finish what is in flight and leave."""

    orphaned: bool = False
    """The supervisor is gone; do not take long."""


class State(msgspec.Struct, frozen=True, tag="state"):
    """To the observatory: how the rest is."""

    ready: bool
    reasons: tuple[str, ...] = ()
    """Why not."""
    remarks: tuple[str, ...] = ()
    """What is wrong all the same."""


class Ready(msgspec.Struct, frozen=True, tag="ready"):
    """A worker accepts; the observatory serves the admin port."""

    config: str
    port: int = 0


class Shown(msgspec.Struct, frozen=True, tag="shown"):
    """The observatory's `/readyz` says so from now on."""

    ready: bool


class Prepared(msgspec.Struct, frozen=True, tag="prepared"):
    """A worker has opened a configuration beside the one that runs, or could not."""

    problems: tuple[Problem, ...] = ()


class Loaded(msgspec.Struct, frozen=True, tag="loaded"):
    """This configuration runs now; with problems, it is still the one before."""

    config: str
    problems: tuple[Problem, ...] = ()


class Failed(msgspec.Struct, frozen=True, tag="failed"):
    """The process cannot start; it leaves."""

    problems: tuple[Problem, ...]


class Condition(msgspec.Struct, frozen=True, tag="condition"):
    """Something that readiness depends on has changed: empty means well."""

    reason: str = ""
    """Why the worker should get no traffic."""
    remark: str = ""
    """What is wrong without that."""


Order = Load | Prepare | Commit | Discard | Stop | State
Report = Ready | Shown | Prepared | Loaded | Failed | Condition

_encoder = msgspec.json.Encoder()
_orders = msgspec.json.Decoder(Order)
_reports = msgspec.json.Decoder(Report)


def encode(message: Order | Report) -> bytes:
    """Return a message as one line."""
    return _encoder.encode(message) + b"\n"


def decode_report(line: bytes) -> Report:
    """Return the report that a child's line holds.

    Raises:
        msgspec.MsgspecError: it holds none.
    """
    found: Report = _reports.decode(line)
    return found


class Line:
    """A child's line to the supervisor: orders in, reports out."""

    def __init__(self, reader: asyncio.StreamReader, reports: int) -> None:
        self._reader = reader
        self._reports = reports

    @classmethod
    async def open(cls) -> "Line":
        """Take over standard input and output.

        Output moves to another descriptor, so that what a plugin prints cannot be taken
        for a report: it goes to standard error.
        """
        reports = os.dup(1)
        os.dup2(2, 1)
        reader = asyncio.StreamReader(limit=MAX_ORDER_BYTES)
        loop = asyncio.get_running_loop()
        protocol = asyncio.StreamReaderProtocol(reader)
        await loop.connect_read_pipe(lambda: protocol, sys.stdin)
        threading.Thread(target=_leave_with_supervisor, name="orphan", daemon=True).start()
        return cls(reader, reports)

    async def order(self) -> Order:
        """Return the next order. When the supervisor is gone, that is to stop at once."""
        line = await self._reader.readline()
        if not line:
            return Stop(orphaned=True)
        found: Order = _orders.decode(line)
        return found

    def report(self, message: Report) -> None:
        """Say something to the supervisor, who may be gone."""
        with contextlib.suppress(BrokenPipeError):
            os.write(self._reports, encode(message))


def _leave_with_supervisor() -> None:
    """End a process that is still there long after its supervisor: its event loop may hang."""
    hang_up = select.poll()
    hang_up.register(0, 0)  # nothing but its end is of interest
    hang_up.poll()
    time.sleep(ORPHANS_LEAVE_S)
    os._exit(1)
