"""The gateway of the demo: `tidegate serve` with a file, as anybody would run it."""

import asyncio
import contextlib
import os
import secrets
import socket
import sys
from dataclasses import dataclass
from pathlib import Path

import aiohttp

from tidegate.demo.cast import UPSTREAM_KEY_VARIABLE, Cast, configuration
from tidegate.errors import ConfigError, Problem

HOST = "127.0.0.1"
START_S = 60.0
STOP_S = 15.0
_LAST_WORDS = 12


@dataclass(frozen=True, slots=True)
class Places:
    """Where everything is."""

    work: Path
    journal: Path
    port: int
    admin_port: int

    @property
    def url(self) -> str:
        """Where clients connect."""
        return f"http://{HOST}:{self.port}"

    @property
    def admin_url(self) -> str:
        """Where metrics are read."""
        return f"http://{HOST}:{self.admin_port}"

    @property
    def log(self) -> Path:
        """What the gateway's processes say."""
        return self.work / "gateway.log"


def check_port(flag: str, port: int) -> int:
    """Return the port, or one that is free for 0.

    Raises:
        ConfigError: it cannot be had; the message says which flag to change.
    """
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except (OSError, OverflowError) as error:
            reason = getattr(error, "strerror", None) or "ports are from 0 to 65535"
            message = f"{HOST} port {port}: {reason}; give another, or 0 for any that is free"
            raise ConfigError([Problem(flag, message)]) from None
        found: int = probe.getsockname()[1]
        return found


class Gateway:
    """The running gateway."""

    def __init__(self, process: asyncio.subprocess.Process, log: Path) -> None:
        self._process = process
        self._log = log

    @classmethod
    async def start(
        cls, places: Places, upstream: str, people: Cast, stop: asyncio.Event
    ) -> "Gateway":
        """Start it and wait until it accepts requests, or until `stop`.

        Raises:
            ConfigError: it does not start; the messages are its own.
        """
        text = configuration(people, upstream, places.journal, places.port, places.admin_port)
        file = places.work / "tidegate.toml"
        file.write_text(text)
        with places.log.open("wb") as log:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "tidegate", "serve", "--config", str(file)),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, UPSTREAM_KEY_VARIABLE: secrets.token_hex(16)},
                start_new_session=True,  # Ctrl-C is for the demo to pass on
            )
        gateway = cls(process, places.log)
        try:
            async with asyncio.timeout(START_S):
                await gateway._ready(f"{places.admin_url}/readyz", stop)
        except BaseException:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
            raise
        return gateway

    async def _ready(self, url: str, stop: asyncio.Event) -> None:
        async with aiohttp.ClientSession() as session:
            while not stop.is_set():
                if self._process.returncode is not None:
                    raise ConfigError([Problem("the gateway did not start", self.last_words())])
                with contextlib.suppress(aiohttp.ClientError):
                    async with session.get(url) as answer:
                        if answer.status == 200:
                            return
                await asyncio.sleep(0.1)

    def last_words(self) -> str:
        """Return the end of what its processes said."""
        lines = self._log.read_text(errors="replace").splitlines()
        return "\n  ".join(lines[-_LAST_WORDS:]) or "it said nothing"

    async def ended(self) -> int:
        """Return the exit code, once there is one."""
        return await self._process.wait()

    async def stop(self, hurry: asyncio.Event) -> int:
        """Let it drain, for no longer than `STOP_S`, or `hurry`; return the exit code."""
        ended = asyncio.ensure_future(self._process.wait())
        if self._process.returncode is None:
            self._process.terminate()
        hurried = asyncio.ensure_future(hurry.wait())
        await asyncio.wait((ended, hurried), timeout=STOP_S, return_when=asyncio.FIRST_COMPLETED)
        hurried.cancel()
        if not ended.done():
            # The second signal: it stops at once, and takes its processes with it.
            self._process.terminate()
            await asyncio.wait((ended,), timeout=STOP_S)
        if not ended.done():
            self._process.kill()
        return await ended
