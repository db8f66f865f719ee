"""Who has the core first: what nobody waits for gives way to what somebody waits for."""

import contextlib
import ctypes
import os
import platform
import struct

SLICE_NS = 20_000_000
"""How long it may run at a time: longer than the kernel gives others, by whom it is then interrupted
as soon as they have something to do, and not at the next tick. What each gets in the end is the same.
Woken 300 times a second beside something that only computes, p99 until it ran: 0.12 ms, not 3.3."""

_SCHED_SETATTR = {"x86_64": 314, "aarch64": 274}
"""The system call's number: the C library has no function for it before glibc 2.41."""
_ATTRIBUTES = struct.Struct("=IIQiIQQQ")
"""`struct sched_attr`, version 0 (sched_setattr(2)); its `sched_runtime` is the slice from Linux 6.12 on,
and before that means nothing."""


def give_way(thread: int = 0, niceness: int = 0) -> None:
    """Let a thread not break in on others when it wakes, and be interrupted when they do.

    For the supervisor, who lets the observatory be nice as well, and for threads of plugins.

    Args:
        thread: its id, that of a process for its first one, 0 for the caller's own.
        niceness: 0 leaves it its whole share of a core that is full.
    """
    with contextlib.suppress(
        OSError, AttributeError
    ):  # not allowed, or not Linux: it runs all the same
        if niceness:
            os.setpriority(os.PRIO_PROCESS, thread, niceness)
        os.sched_setscheduler(thread, os.SCHED_BATCH, os.sched_param(0))
        _set_slice(thread, os.getpriority(os.PRIO_PROCESS, thread))


def _set_slice(thread: int, niceness: int) -> None:
    number = _SCHED_SETATTR.get(platform.machine())
    if number is not None:
        packed = _ATTRIBUTES.pack(_ATTRIBUTES.size, os.SCHED_BATCH, 0, niceness, 0, SLICE_NS, 0, 0)
        ctypes.CDLL(None).syscall(number, thread, packed, 0)
