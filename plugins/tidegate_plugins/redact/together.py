"""What comes at once is searched at once, as long as it is small: mostly there is nothing in any of it.

A call of the engine takes as long as a search of some kilobytes, and its tables push all else out of
the caches. Under load, many requests and answers have their turn one after the other.
"""

import asyncio
from collections.abc import Callable, Iterable
from itertools import chain
from typing import NamedTuple

from tidegate_plugins.redact.scan import Deadline, Hit
from tidegate_plugins.redact.search import WINDOW
from tidegate_plugins.redact.sieve import LARGEST
from tidegate_plugins.redact.walk import Part

BUSY_S = 0.001
"""Who comes this long after the last one need not wait for others, if that one had no company."""

Search = Callable[[Iterable[Part], Deadline], list[Hit]]


class _Waiting(NamedTuple):
    parts: Iterable[Part]
    deadline: Deadline
    clean: "asyncio.Future[bool]"


class Together:
    """Searches at the end of the event loop's turn what came in it. For one event loop."""

    def __init__(self, search: Search) -> None:
        self._search = search
        self._waiting: list[_Waiting] = []
        self._bytes = 0
        self._last_s = 0.0
        self._company = False  # of the last one that waited

    async def clean(self, parts: Iterable[Part], size: int, deadline: Deadline) -> bool:
        """Return whether these parts, of so many bytes, were searched and nothing was found.

        False says nothing about them: they have to be searched by themselves.
        """
        loop = asyncio.get_running_loop()
        now = loop.time()
        busy = self._company or now - self._last_s < BUSY_S
        self._last_s = now
        if not busy or size > LARGEST:
            return False
        if not self._waiting:
            loop.call_soon(self._search_all)
        waiting = _Waiting(parts, deadline, loop.create_future())
        self._waiting.append(waiting)
        self._bytes += size
        if self._bytes >= WINDOW:
            self._search_all()
        return await waiting.clean

    def _search_all(self) -> None:
        waiting, self._waiting, self._bytes = self._waiting, [], 0
        if not waiting:
            return
        self._company = len(waiting) > 1
        try:
            every = chain.from_iterable(each.parts for each in waiting)
            clean = not self._search(every, waiting[0].deadline)
        except Exception:  # noqa: BLE001 - whoever it is about hears of it when searched alone
            clean = False
        for each in waiting:
            if not each.clean.done():
                each.clean.set_result(clean)
