"""What gives way: seen from outside, as the kernel has it."""

import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tidegate.scheduling import SLICE_NS, give_way


@pytest.fixture
def other() -> Iterator[int]:
    """Another process, which waits until it is let go of."""
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        yield process.pid


def test_a_process_is_nice_and_breaks_in_on_nobody(other: int) -> None:
    give_way(other, 3)
    assert os.getpriority(os.PRIO_PROCESS, other) == 3
    assert os.sched_getscheduler(other) == os.SCHED_BATCH
    assert slice_ns(Path(f"/proc/{other}/sched")) == SLICE_NS


def test_a_thread_gives_way_and_its_process_does_not() -> None:
    before = slice_ns(Path("/proc/thread-self/sched"))
    with ThreadPoolExecutor(1, initializer=give_way) as pool:
        assert pool.submit(os.sched_getscheduler, 0).result() == os.SCHED_BATCH
        assert pool.submit(slice_ns, Path("/proc/thread-self/sched")).result() == SLICE_NS
    assert os.sched_getscheduler(0) == os.SCHED_OTHER
    assert slice_ns(Path("/proc/thread-self/sched")) == before


def test_who_is_gone_is_no_error() -> None:
    with subprocess.Popen(["true"]) as gone:
        gone.wait()
    give_way(gone.pid, 3)


def slice_ns(sched: Path) -> int:
    """The slice that the kernel tells of."""
    try:
        fields = [line.split() for line in sched.read_text().splitlines()]
    except OSError:
        pytest.skip("this kernel does not tell of slices")
    found = [int(field[2]) for field in fields if field[:1] == ["se.slice"]]
    if not found or tuple(map(int, os.uname().release.split(".")[:2])) < (6, 12):
        pytest.skip("this kernel has no slices that can be set")
    return found[0]
