"""A gateway with policies, four teams, a simulated upstream, and traffic of every kind."""

import asyncio
import contextlib
import json
import math
import os
import random
import signal
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp
from scrape import free_port

from tidegate.demo.caller import Caller, ask
from tidegate.demo.cast import Cast, Person, cast
from tidegate.demo.scenes import HAIKU, SCENES, SONNET
from tidegate.keys import digest
from tidegate.simulator import serve_simulator

AT_ONCE = 6
OPENMETRICS = {"accept": "application/openmetrics-text; version=1.0.0"}


def _chain(people: Cast, *, models: str, cap: int) -> str:
    keys = "\n".join(
        f'  {{ id = "{who.id}", team = "{who.team}", sha256 = "{digest(who.key)}" }},'
        for who in people
    )
    return f"""
[[plugins]]
use = "identify"
[plugins.config]
keys = [
{keys}
]
[[plugins]]
use = "models"
[plugins.config]
allow = [{models}]
teams.research.allow = ["*"]
[[plugins]]
use = "limits"
[plugins.config]
max_tokens = {cap}
over = "reject"
teams.data.over = "clamp"
teams.research.max_tokens = 32000
"""


def _live(people: Cast, work: Path, upstream: str, port: int, admin: int) -> str:
    return f"""
[listen]
port = {port}
workers = 2
[admin]
port = {admin}
[upstream]
url = "{upstream}"
credential = {{ env = "PREVIEW_UPSTREAM_KEY" }}
[journal]
dir = "{work / "journal"}"
[shadow]
config = "{work / "next.toml"}"
{_chain(people, models='"claude-haiku-*", "claude-sonnet-*", "sim-echo"', cap=8192)}
[[plugins]]
use = "limits"
name = "stricter"
mode = "shadow"
[plugins.config]
max_tokens = 900
[[plugins]]
use = "quota"
[plugins.config]
limits = [
  {{ name = "org-burst", scope = "org", per = "minute", requests = 6000 }},
  {{ name = "team-minute", scope = "team", per = "minute", requests = 220 }},
  {{ name = "team-day", scope = "team", per = "day", usd = 2.0, soft = 0.8 }},
  {{ name = "streams", scope = "team", concurrent = 10 }},
]
[[plugins]]
use = "redact"
[[plugins]]
use = "metrics"
[plugins.config]
models = ["claude-*", "sim-*"]
[[plugins]]
use = "usage"
"""


@dataclass(frozen=True, slots=True)
class World:
    """Where everything is kept while it runs."""

    work: Path

    @asynccontextmanager
    async def running(self) -> AsyncIterator["Gateway"]:
        """Run upstream and gateway."""
        people, port, admin = cast(), free_port(), free_port()
        stricter = _chain(people, models='"claude-haiku-*"', cap=1000)
        (self.work / "next.toml").write_text(stricter)
        file = self.work / "tidegate.toml"
        async with serve_simulator() as simulator:
            file.write_text(_live(people, self.work, simulator.url, port, admin))
            with (self.work / "gateway.log").open("wb") as log:
                process = await asyncio.create_subprocess_exec(
                    *(sys.executable, "-m", "tidegate", "serve", "--config", str(file)),
                    stdout=log,
                    stderr=log,
                    env={**os.environ, "PREVIEW_UPSTREAM_KEY": "none"},
                )
            gateway = Gateway(process, file, people, f"127.0.0.1:{port}", f"127.0.0.1:{admin}")
            try:
                await gateway.ready()
                yield gateway
            finally:
                with contextlib.suppress(ProcessLookupError):
                    process.send_signal(signal.SIGTERM)
                await process.wait()


@dataclass(slots=True)
class Gateway:
    """A running gateway, and those who use it."""

    process: asyncio.subprocess.Process
    file: Path
    people: Cast
    address: str
    admin: str

    @property
    def metrics(self) -> str:
        """Where they are scraped."""
        return f"http://{self.admin}/metrics"

    async def ready(self) -> None:
        """Wait until it accepts requests."""
        async with asyncio.timeout(60), aiohttp.ClientSession() as session:
            while self.process.returncode is None:
                with contextlib.suppress(aiohttp.ClientError):
                    async with session.get(f"http://{self.admin}/readyz") as answer:
                        if answer.status == 200:
                            return
                await asyncio.sleep(0.1)
        raise SystemExit((self.file.parent / "gateway.log").read_text())

    async def exposition(self) -> str:
        """Return what would be scraped now."""
        async with (
            aiohttp.ClientSession() as session,
            session.get(self.metrics, headers=OPENMETRICS) as answer,
        ):
            return await answer.text()

    async def play(self, seconds: float) -> None:
        """Let traffic flow, in waves; reload the configuration on the way, first a broken one."""
        ends = time.monotonic() + seconds
        chance = random.Random(7)  # noqa: S311 - variety, not secrecy
        async with aiohttp.ClientSession(f"http://{self.address}") as session:
            caller = Caller(session, self.people, chance)
            async with asyncio.TaskGroup() as tasks:
                for _ in range(AT_ONCE):
                    tasks.create_task(_play(caller, ends))
                tasks.create_task(_odd(session, self.people.search, ends))
                tasks.create_task(self._reload(seconds))

    async def _reload(self, seconds: float) -> None:
        good = self.file.read_text()
        for text, at in ((good + "\nbroken =", 0.4), (good + "\n# newer\n", 0.2)):
            await asyncio.sleep(seconds * at)
            self.file.write_text(text)
            self.process.send_signal(signal.SIGHUP)


async def _play(caller: Caller, ends: float) -> None:
    scenes, weights = zip(*SCENES, (burst, 1), (limited, 1), (unpriced, 1), (slow, 1), strict=True)
    while time.monotonic() < ends:
        (scene,) = caller.chance.choices(scenes, weights)
        with contextlib.suppress(aiohttp.ClientError, TimeoutError):
            async with asyncio.timeout(20):
                await scene(caller)
        wave = 1.2 + math.sin(time.monotonic() / 70)
        await asyncio.sleep(caller.chance.uniform(0.1, 0.5) * wave)


async def burst(caller: Caller) -> None:
    """More at once than team data may have: its quota refuses some."""
    document = ask(SONNET, "When does the gate open?", stream=True)
    asked = (caller.post(caller.people.data, document, simulate="pace_ms=40") for _ in range(14))
    await asyncio.gather(*asked)


async def limited(caller: Caller) -> None:
    """The provider has had enough."""
    await caller.post(caller.people.web, ask(SONNET, "And now?"), simulate="error=429")


async def unpriced(caller: Caller) -> None:
    """A model that no price table knows."""
    await caller.post(caller.people.research, ask("sim-echo", "How deep is it?"))


async def slow(caller: Caller) -> None:
    """A stream that stands still for a while."""
    document = ask(HAIKU, "Tell me of the tides.", stream=True)
    pace = caller.chance.choice((300, 700, 1500))
    await caller.post(caller.people.search, document, simulate=f"pace_ms={pace}, events=4")


async def _odd(session: aiohttp.ClientSession, who: Person, ends: float) -> None:
    """Send what no client of the API sends."""
    raw = json.dumps(ask(HAIKU, "?"))
    common = {"x-api-key": who.key, "anthropic-version": "2023-06-01"}
    as_json = common | {"content-type": "application/json"}
    odd: list[tuple[str, dict[str, str]]] = [
        (raw, as_json | {"authorization": "Bearer another"}),
        (raw, as_json | {"x-http-method-override": "PUT"}),
        (raw[:-2], as_json),
        (raw.replace("model", "mod\x00el"), as_json),
        (raw, common | {"content-type": "text/plain"}),
    ]
    while time.monotonic() < ends:
        for body, headers in odd:
            with contextlib.suppress(aiohttp.ClientError):
                async with session.post("/v1/messages", data=body, headers=headers) as answer:
                    await answer.read()
            await asyncio.sleep(7)
