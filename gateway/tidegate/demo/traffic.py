"""A little mixed traffic: every scene once, then as they come."""

import asyncio
import contextlib
import random
from collections.abc import Iterator

import aiohttp

from tidegate.demo.caller import Caller
from tidegate.demo.cast import Cast
from tidegate.demo.scenes import SCENES, Scene

AT_ONCE = 4
PAUSE_S = (0.05, 0.4)
FINISH_S = 5.0


class Traffic:
    """Plays scenes until it is told to stop."""

    def __init__(self, url: str, people: Cast) -> None:
        self._url = url
        self._people = people
        self._chance = random.Random()  # noqa: S311 - variety, not secrecy

    async def run(self, stop: asyncio.Event, hurry: asyncio.Event) -> None:
        """Play until `stop`; then let what is on its way finish, unless there is a hurry."""
        programme = self._programme()
        timeout = aiohttp.ClientTimeout(total=60)
        async with aiohttp.ClientSession(self._url, timeout=timeout) as session:
            caller = Caller(session, self._people, self._chance)
            loops = [
                asyncio.ensure_future(self._play(programme, caller, stop)) for _ in range(AT_ONCE)
            ]
            await stop.wait()
            rushed = asyncio.ensure_future(hurry.wait())
            whole = asyncio.gather(*loops)
            await asyncio.wait((whole, rushed), timeout=FINISH_S, return_when="FIRST_COMPLETED")
            rushed.cancel()
            for loop in loops:
                loop.cancel()
            await asyncio.gather(whole, rushed, return_exceptions=True)

    def _programme(self) -> Iterator[Scene]:
        yield from (scene for scene, _ in SCENES)
        scenes, weights = zip(*SCENES, strict=True)
        while True:
            yield self._chance.choices(scenes, weights)[0]

    async def _play(self, programme: Iterator[Scene], caller: Caller, stop: asyncio.Event) -> None:
        while not stop.is_set():
            scene = next(programme)
            with contextlib.suppress(aiohttp.ClientError, TimeoutError):
                await scene(caller)  # some end like this; the journal says how
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._chance.uniform(*PAUSE_S)):
                    await stop.wait()
