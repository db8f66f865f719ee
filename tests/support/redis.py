"""A real Redis on a free port, and a proxy in front of it that delays, hangs or turns elsewhere."""

import asyncio
import contextlib
import shutil
import signal
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from support.caches import unavailable
from support.ports import free_port

START_S = 20.0


@dataclass
class RedisServer:
    """One server; `start` after `stop` is a restart on the same port."""

    folder: Path
    port: int
    options: tuple[str, ...] = ()
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> None:
        self.process = subprocess.Popen(
            ["redis-server", "--port", str(self.port), "--bind", "127.0.0.1", "--save", "",
             "--dir", str(self.folder), *self.options],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )  # fmt: skip
        deadline = time.monotonic() + START_S
        while "PONG" not in self.say("PING"):
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise AssertionError("redis-server does not start")
            time.sleep(0.02)

    def stop(self) -> None:
        """Kill it: nothing is said to its clients."""
        if self.process is not None:
            self.process.send_signal(signal.SIGCONT)
            self.process.kill()
            self.process.wait()
            self.process = None

    def say(self, *words: str) -> str:
        """Send a command; return what redis-cli prints."""
        done = subprocess.run(
            ["redis-cli", "-p", str(self.port), *words], capture_output=True, text=True, check=False
        )
        return done.stdout + done.stderr


@contextmanager
def redis_server(folder: Path, *options: str) -> Iterator[RedisServer]:
    """Run a server until the end; skip the test where there is none."""
    if shutil.which("redis-server") is None:
        unavailable("redis-server is not installed")
    server = RedisServer(folder, free_port(), options)
    server.start()
    try:
        yield server
    finally:
        server.stop()


@dataclass
class Proxy:
    """Passes bytes on, each piece after `delay_s`; while `hangs` is set, none at all."""

    target: int
    port: int = 0
    delay_s: float = 0.0
    hangs: bool = False
    deaf: bool = False
    """While it is set, answers are swallowed: the server has done what nobody hears of."""
    pieces: int = 0
    """That came from clients."""
    writers: set[asyncio.StreamWriter] = field(default_factory=set)
    tasks: set[asyncio.Task[None]] = field(default_factory=set)

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def turn(self, target: int) -> None:
        """Lead to another server from now on, and end all connections."""
        self.target = target
        for writer in self.writers:
            writer.transport.abort()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self.tasks.add(task)
        try:
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self.target)
        except OSError:
            writer.transport.abort()
            return
        self.writers |= {writer, far_writer}
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.gather(
                self._pass(reader, far_writer, ours=True), self._pass(far_reader, writer)
            )
        for each in (writer, far_writer):
            self.writers.discard(each)
            each.transport.abort()
        self.tasks.discard(task)

    async def _pass(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, ours: bool = False
    ) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                self.pieces += ours
                if self.delay_s:
                    await asyncio.sleep(self.delay_s)
                while self.hangs:
                    await asyncio.sleep(0.01)
                if ours or not self.deaf:
                    writer.write(data)
        writer.transport.abort()


@asynccontextmanager
async def proxy(target: int) -> AsyncIterator[Proxy]:
    """Run a proxy to a port of this machine."""
    it = Proxy(target)
    server = await asyncio.start_server(it.serve, "127.0.0.1", 0)
    it.port = server.sockets[0].getsockname()[1]
    try:
        yield it
    finally:
        server.close()
        tasks = list(it.tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
