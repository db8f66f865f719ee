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
        self._came = 0  # in this turn
        self._company = False  # in the last turn in which anybody came, there were several

    async def clean(self, parts: Iterable[Part], size: int, deadline: Deadline) -> bool:
        """Return whether these parts, of so many bytes, were searched and nothing was found.

        False says nothing about them: they have to be searched by themselves. So it is for who seems
        to come alone.
        """
        loop = asyncio.get_running_loop()
        if not self._came:
            loop.call_soon(self._end_turn)
        self._came += 1
        if size > LARGEST or not (self._company or self._came > 1):
            return False
        waiting = _Waiting(parts, deadline, loop.create_future())
        self._waiting.append(waiting)
        self._bytes += size
        if self._bytes >= WINDOW:
            self._search_all()
        return await waiting.clean

    def _end_turn(self) -> None:
        self._company, self._came = self._came > 1, 0
        self._search_all()

    def _search_all(self) -> None:
        waiting, self._waiting, self._bytes = self._waiting, [], 0
        if not waiting:
            return
        try:
            every = chain.from_iterable(each.parts for each in waiting)
            clean = not self._search(every, waiting[0].deadline)
        except Exception:  # noqa: BLE001 - whoever it is about hears of it when searched alone
            clean = False
        for each in waiting:
            if not each.clean.done():
                each.clean.set_result(clean)
