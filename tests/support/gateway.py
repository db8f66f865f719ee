"""A gateway's data plane in the test's own loop, and the gateway as its users run it."""

import asyncio
import contextlib
import json
import os
import signal
import socket
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from support.ports import free_port
from tidegate.clock import SystemClock
from tidegate.http.app import DataPlane
from tidegate.http.listen import bind
from tidegate.journal.reader import lines, segments
from tidegate.journal.writer import Writer
from tidegate.pipeline.generation import open_generation
from tidegate.registry import resolve


@dataclass
class Gateway:
    """A running data plane."""

    plane: DataPlane
    writer: Writer
    directory: Path
    port: int

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def held(self) -> int:
        """Bytes that wait in this process for clients to take them."""
        transports = [connection.transport for connection in self.plane._server.connections]
        return sum(t.get_write_buffer_size() for t in transports if t is not None)

    def records(self, kind: str = "exchange") -> list[dict[str, Any]]:
        """The journal's records of one kind, as written."""
        return read_records(self.directory, kind)

    async def exchanges(self, count: int = 1) -> list[dict[str, Any]]:
        """Wait until that many exchanges are written down."""
        async with asyncio.timeout(10):
            while len(found := self.records()) < count:
                await asyncio.sleep(0.005)
        return found

    async def exchange(self) -> dict[str, Any]:
        """Wait for the only exchange."""
        (found,) = await self.exchanges()
        return found


def read_records(directory: Path, kind: str) -> list[dict[str, Any]]:
    found = [json.loads(line) for s in segments(directory) for line in lines(s.path)]
    return [record for record in found if record["kind"] == kind]


@asynccontextmanager
async def gateway(
    directory: Path,
    upstream: str | None,
    toml: str = "",
    *,
    send_buffer_bytes: int = 0,
    **listen: Any,
) -> AsyncGenerator[Gateway, None]:
    """Run a data plane that forwards to `upstream`; `toml` adds to its configuration.

    `send_buffer_bytes` is what the kernel keeps for a client that takes nothing.
    """
    flags = {
        "listen": {"port": 0, **listen},
        "journal": {"dir": str(directory)},
    }
    if upstream is not None:
        flags["upstream"] = {"url": upstream}
    config, chosen = resolve(toml, flags)
    clock = SystemClock()
    directory.mkdir(parents=True, exist_ok=True)
    generation = await open_generation(config, chosen, clock=clock, worker=0)
    fsync = config.journal.durability == "fsync"
    writer = Writer(directory, "w0-1", clock, fsync=fsync)
    plane = DataPlane(generation, writer, clock, 0)
    (listener,) = bind(config)
    if send_buffer_bytes:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, send_buffer_bytes)
    await plane.listen(listener, config.listen)
    try:
        yield Gateway(plane, writer, directory, listener.getsockname()[1])
    finally:
        await plane.drain(0)
        writer.close()


@dataclass
class Process:
    """`tidegate serve` as a process tree."""

    process: asyncio.subprocess.Process
    directory: Path
    port: int
    admin_port: int
    log: Path

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def admin_url(self) -> str:
        return f"http://127.0.0.1:{self.admin_port}"

    def records(self, kind: str = "exchange") -> list[dict[str, Any]]:
        return read_records(self.directory, kind)

    def children(self) -> dict[int, str]:
        """The pids of workers and observatory, and what each is."""
        found = {}
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit():
                continue
            try:
                stat = (entry / "stat").read_text()
                command = (entry / "cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            if int(stat.rpartition(")")[2].split()[1]) == self.process.pid:
                found[int(entry.name)] = command[2].decode() if len(command) > 2 else ""
        return found

    def signal(self, number: int) -> None:
        # asyncio's own would look for the process first, and take its exit code from the watcher.
        if self.process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.process.pid, number)

    async def wait(self, timeout_s: float = 30) -> int:
        async with asyncio.timeout(timeout_s):
            return await self.process.wait()


@asynccontextmanager
async def serve(
    directory: Path,
    config: Path,
    *flags: str,
    env: dict[str, str] | None = None,
    ports: tuple[int, int] | None = None,
    start_s: float = 30,
) -> AsyncGenerator[Process, None]:
    """Run `tidegate serve --config CONFIG` until the end, and then kill what is left of it.

    `ports` are those for clients and for the admin; free ones if not given. Each run on the
    same journal has a log file of its own.
    """
    port, admin_port = ports or (free_port(), free_port())
    runs = len(list(directory.parent.glob(f"{directory.name}.*.log")))
    log = directory.with_name(f"{directory.name}.{runs}.log")
    arguments = ["serve", "--config", str(config), "--journal", str(directory)]
    arguments += ["--port", str(port), "--admin-port", str(admin_port), *flags]
    with log.open("ab") as output:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tidegate", *arguments,
            stdout=output, stderr=output, env={**os.environ, **(env or {})},
        )  # fmt: skip
    running = Process(process, directory, port, admin_port, log)
    try:
        await _ready(running, start_s)
        yield running
    finally:
        for pid in running.children():
            os.kill(pid, signal.SIGKILL)
        if process.returncode is None:
            process.kill()
        await process.wait()


async def _ready(running: Process, start_s: float) -> None:
    async with asyncio.timeout(start_s):
        while b"tidegate serves" not in running.log.read_bytes():
            if running.process.returncode is not None:
                raise AssertionError(
                    f"exit {running.process.returncode}\n{running.log.read_text()}"
                )
            await asyncio.sleep(0.05)
