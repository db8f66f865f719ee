"""Feeds an observer everything the contract promises: repeated, restarted, cut off."""

import asyncio
import inspect
import itertools
import re
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any

from tidegate.errors import Unavailable
from tidegate.plugin import Browsable, Page, Scrapable
from tidegate.record import Record
from tidegate.testing.records import sample_records
from tidegate.testing.steps import PATIENCE_S, patiently

Opener = Callable[[str, bytes], AbstractAsyncContextManager[Any]]
"""Opens the observer in the named scratch directory, with the state it left."""

PATHS = ("/", "/nowhere", "/../etc/passwd", "/\N{SNOWMAN}\0", "//", "")
QUERIES: tuple[dict[str, str], ...] = ({}, {"range": "\N{SNOWMAN}\0" + "x" * 500})
ACCEPTS = ("", "*/*", "text/plain;version=0.0.4", "application/openmetrics-text;version=1.0.0")


@dataclass(slots=True)
class ObserverCheck:
    """How to open an observer, and what was found so far."""

    open: Opener
    problems: list[str]

    async def run(self) -> None:
        """Feed everything; problems are appended."""
        records = sample_records()
        async with self.open("first", b"") as observer:
            if not self._is_observer(observer):
                return
            state = await self._feed(observer, records)
            again = await self._flush(observer)
            await self._scrape(observer)
            await self._browse(observer)
        async with self.open("first", state if again is None else again) as observer:
            await self._flush(observer)
            await self._feed(observer, records)  # at least once means: sometimes twice
            await self._scrape(observer)
        await self._compare_after_crash(records)

    def _is_observer(self, observer: object) -> bool:
        for name in ("on_record", "flush"):
            if not inspect.iscoroutinefunction(getattr(observer, name, None)):
                self.problems.append(f"opens no observer: `async def {name}` is missing")
                return False
        return True

    async def _feed(self, observer: Any, records: Sequence[Record]) -> bytes:
        """Feed records, then flush; return the state."""
        await self._take(observer, records)
        return await self._flush(observer) or b""

    async def _take(self, observer: Any, records: Sequence[Record]) -> None:
        for record in records:
            kind = type(record).__name__
            try:
                await patiently(observer.on_record(record))
            except TimeoutError:
                self._add(f"on_record({kind}) takes longer than {PATIENCE_S:g} s")
            except Exception as error:  # noqa: BLE001 - that is what is being found out
                self._add(f"on_record({kind}) raises {type(error).__name__}: {error}")

    async def _flush(self, observer: Any) -> bytes | None:
        """Return the state, or None if the destination does not answer, which is allowed."""
        try:
            state = await patiently(observer.flush())
        except Unavailable:
            return None
        except TimeoutError:
            self._add(f"flush takes longer than {PATIENCE_S:g} s")
            return None
        except Exception as error:  # noqa: BLE001 - that is what is being found out
            self._add(f"flush raises {type(error).__name__}: {error}")
            return None
        if type(state) is bytes:
            return state
        self._add(f"flush returns {type(state).__name__}, not bytes")
        return None

    async def _scrape(self, observer: Any) -> str:
        """Return the plain exposition, if the observer has one."""
        if not isinstance(observer, Scrapable):
            return ""
        text = ""
        for accept in ACCEPTS:
            try:
                answer = await asyncio.to_thread(observer.scrape, accept)
                body, content_type = answer
                text = text or body.decode()
            except Exception as error:  # noqa: BLE001 - that is what is being found out
                self._add(f"scrape({accept!r}) raises {type(error).__name__}: {error}")
                continue
            if not body or not content_type.isprintable() or "/" not in content_type:
                self._add(f"scrape({accept!r}) returns no exposition with its content type")
        return text

    async def _browse(self, observer: Any) -> None:
        """Ask for pages, of which an observer may have none; it may not fail."""
        if not isinstance(observer, Browsable):
            return
        for path, query in itertools.product(PATHS, QUERIES):
            try:
                page: object = await asyncio.to_thread(observer.page, path, query)
            except Exception as error:  # noqa: BLE001 - that is what is being found out
                self._add(f"page({path!r}) raises {type(error).__name__}: {error}")
                continue
            if page is not None and (type(page) is not Page or "/" not in page.content_type):
                self._add(f"page({path!r}) returns neither None nor a Page with its content type")

    async def _compare_after_crash(self, records: Sequence[Record]) -> None:
        """What came after the last flush comes again; it must be counted once all the same."""
        half = len(records) // 2
        async with self.open("whole", b"") as observer:
            await self._feed(observer, records[:half])
            await self._feed(observer, records[half:])
            whole = _counters(await self._scrape(observer))
        async with self.open("crash", b"") as observer:
            state = await self._feed(observer, records[:half])
            await self._take(observer, records[half:])
        async with self.open("crash", state) as observer:
            await self._feed(observer, records[half:])
            crashed = _counters(await self._scrape(observer))
        different = [line for line in crashed if line not in whole][:3]
        if different or len(crashed) != len(whole):
            self._add(f"counts otherwise after a crash and a restart: {different}")

    def _add(self, problem: str) -> None:
        if problem not in self.problems:
            self.problems.append(problem)


_COUNTED = re.compile(r"(?!process_|python_)[^{ ]+_(total|count|sum|bucket)[{ ]")
"""Samples that only grow with what is counted; those about the process itself do not."""


def _counters(exposition: str) -> set[str]:
    return {line for line in exposition.splitlines() if _COUNTED.match(line)}
