"""Makes what was written durable: one fsync for all that wait."""

import asyncio
import os
from collections.abc import Callable

from tidegate.errors import JournalError


class GroupCommit:
    """Shares one fsync among all that wait for it."""

    def __init__(self, fd: Callable[[], int]) -> None:
        """`fd` tells which file is being written to."""
        self._fd = fd
        self._waiting: list[asyncio.Future[None]] = []
        self._task: asyncio.Task[None] | None = None

    async def wait(self) -> None:
        """Wait until all that was written by now survives a power cut.

        Raises:
            JournalError: the disk refused.
        """
        loop = asyncio.get_running_loop()
        future = loop.create_future()
        self._waiting.append(future)
        if self._task is None:
            self._task = loop.create_task(self._run(), name="journal commit")
        await future

    async def _run(self) -> None:
        while self._waiting:
            batch, self._waiting = self._waiting, []
            try:
                fd = os.dup(self._fd())  # the segment may be closed meanwhile
                try:
                    await asyncio.to_thread(os.fsync, fd)
                finally:
                    os.close(fd)
            except OSError as error:
                _settle(batch, JournalError(f"fsync: {error.strerror}"))
            else:
                _settle(batch, None)
        self._task = None


def _settle(batch: list[asyncio.Future[None]], error: JournalError | None) -> None:
    for future in batch:
        if future.done():
            continue
        if error is None:
            future.set_result(None)
        else:
            future.set_exception(error)
