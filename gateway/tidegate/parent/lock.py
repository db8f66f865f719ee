"""The hold on a journal: one gateway at a time writes there."""

import contextlib
import fcntl
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from tidegate.control import ORPHANS_LEAVE_S
from tidegate.errors import ConfigError, Problem

WAIT_S = ORPHANS_LEAVE_S + 2
"""How long the workers of a supervisor that was killed may take to leave."""

LOOK_S = 0.1


@contextlib.contextmanager
def held(directory: Path, announce: Callable[[str], None]) -> Iterator[int]:
    """Hold the journal, as a descriptor that children inherit: orphans hold it, too.

    Raises:
        ConfigError: the directory cannot be used, or another gateway uses it.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
        fd = os.open(directory / "lock", os.O_RDWR | os.O_CREAT, 0o640)
    except OSError as error:
        raise ConfigError([Problem("journal.dir", f"{directory}: {error.strerror}")]) from None
    try:
        _take(fd, directory, announce)
        yield fd
    finally:
        os.close(fd)


def _take(fd: int, directory: Path, announce: Callable[[str], None]) -> None:
    deadline: float | None = None
    while not _try(fd):
        owner = os.pread(fd, 32, 0).decode(errors="replace").strip()
        if deadline is None and not _lives(owner):
            announce(f"waiting for what process {owner} has left in {directory}")
            deadline = time.monotonic() + WAIT_S
        if deadline is None or time.monotonic() > deadline:
            message = f"{directory} is in use by another gateway (process {owner}); give this one a directory of its own"
            raise ConfigError([Problem("journal.dir", message)])
        time.sleep(LOOK_S)
    with contextlib.suppress(OSError):  # a full disk: then the name is missing, not the lock
        os.ftruncate(fd, 0)
        os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)


def _try(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _lives(owner: str) -> bool:
    """Whether the supervisor that took the lock is there; otherwise only its children are."""
    if not owner.isdigit() or int(owner) == os.getpid():
        return False
    try:
        os.kill(int(owner), 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
