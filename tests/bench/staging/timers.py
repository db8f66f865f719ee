"""Timers around functions of the gateway, put there from outside: its code is not changed.

A timer counts the CPU time of its function and thread: what another timer measures within is not
in it, nor what is waited for, nor whatever else the machine does.
"""

import asyncio
import importlib
import sys
import threading
import time
from collections.abc import Callable, Coroutine, Generator
from dataclasses import replace
from functools import wraps
from typing import Any

STAGES: tuple[tuple[str, str], ...] = (
    ("client: head and body read (aiohttp)", "aiohttp.web_protocol:RequestHandler.data_received"),
    ("exchange: ids, route, trace", "tidegate.http.request:exchange_of"),
    ("head: credential, checks", "tidegate.http.head:head_of"),
    ("parse, view", "tidegate.pipeline.admission:read_in_turns"),
    ("outline", "tidegate.wire.outline:_outline"),
    ("outline", "tidegate.wire.outline:_look"),
    ("redact: walk, digests, memory", "tidegate_plugins.redact:Redact.evaluate"),
    ("redact: walk, digests, memory", "tidegate_plugins.redact.together:Together._search_all"),
    ("redact: the engine", "tidegate_plugins.redact.engine:Kingfisher.find"),
    ("redact: look at the answer", "tidegate_plugins.redact:Redact.search"),
    ("final check", "tidegate.pipeline.admission:still_says"),
    ("target", "tidegate.http.sending:target_of"),
    ("journal: make records", "tidegate.pipeline.conclude:intent_of"),
    ("journal: make records", "tidegate.pipeline.conclude:record_of"),
    ("journal: encode, link, write", "tidegate.journal.writer:Writer.append"),
    ("journal: encode, link, write", "tidegate.journal.writer:Writer.append_or_keep"),
    ("connect: take and give back", "tidegate.http.pool:Pool.reuse"),
    ("connect: take and give back", "tidegate.http.pool:Pool.put_back"),
    ("connect: open", "tidegate.http.pool:Pool.connect"),
    ("head: to the upstream", "tidegate.http.sending:request_head"),
    ("send to the upstream", "tidegate.http.upstream:Connection.send"),
    ("relay: follow the answer", "tidegate.http.upstream:Connection.data_received"),
    ("relay: head of the answer", "tidegate.http.relay:Relay.head"),
    ("relay: write to the client", "tidegate.http.relay:Relay.data"),
    ("relay: write to the client", "tidegate.http.relay:Relay.ended"),
    ("meter", "tidegate.wire.meter:StreamMeter.feed"),
    ("meter", "tidegate.wire.meter:StreamMeter.finish"),
    ("meter", "tidegate.wire.meter:JsonMeter.feed"),
    ("meter", "tidegate.wire.meter:JsonMeter.finish"),
    ("settle what was reserved", "tidegate.pipeline.conclude:settle"),
)
"""In the order of the table. What is not there any more is said, and goes without."""


class _Stack(threading.local):
    """What is being timed in this thread: for each, how long others in it took, in ns."""

    def __init__(self) -> None:
        self.within: list[int] = []


_stack = _Stack()
samples: dict[str, list[int]] = {}
"""Own times in ns, by stage."""


def install() -> list[str]:
    """Put all timers in place; return what was not found."""
    return [path for stage, path in STAGES if not _install(stage, path)]


def _install(stage: str, path: str) -> bool:
    module_name, _, name = path.partition(":")
    try:
        holder: Any = importlib.import_module(module_name)
        *owner, last = name.split(".")
        for each in owner:
            holder = getattr(holder, each)
        plain = getattr(holder, last)
    except (ImportError, AttributeError):
        return False
    measured = _timed(stage, plain)
    setattr(holder, last, measured)
    if not owner:
        _replace_everywhere(plain, measured)
    return True


def _replace_everywhere(plain: object, measured: object) -> None:
    """A function that others have imported by name is theirs as well."""
    for name, module in list(sys.modules.items()):
        if name.startswith("tidegate"):
            for key, value in list(vars(module).items()):
                if value is plain:
                    setattr(module, key, measured)


def _timed(stage: str, plain: Callable[..., Any]) -> Callable[..., Any]:
    taken = samples.setdefault(stage, [])

    @wraps(plain)
    def measured(*given: Any, **named: Any) -> Any:
        began = _enter()
        try:
            result = plain(*given, **named)
        finally:
            taken.append(_leave(began))
        if asyncio.iscoroutine(result):
            taken.pop()
            return Stepped(stage, result)
        return result

    return measured


def _enter() -> int:
    _stack.within.append(0)
    return time.thread_time_ns()


def _leave(began: int) -> int:
    took = time.thread_time_ns() - began
    within = _stack.within.pop()
    if _stack.within:
        _stack.within[-1] += took
    return took - within


class Stepped(Coroutine[Any, Any, Any]):
    """A coroutine whose steps are timed; what it waits for is not in it."""

    def __init__(self, stage: str, plain: Coroutine[Any, Any, Any]) -> None:
        self._plain = plain
        self._taken = samples.setdefault(stage, [])
        self._own_ns = 0

    def send(self, value: Any) -> Any:
        return self._step(self._plain.send, value)

    def throw(self, error: Any, *more: Any) -> Any:
        return self._step(self._plain.throw, error, *more)

    def close(self) -> None:
        self._plain.close()

    def __await__(self) -> Generator[Any, Any, Any]:
        step, given = self.send, None
        while True:
            try:
                awaited = step(given)
            except StopIteration as done:
                return done.value
            try:
                step, given = self.send, (yield awaited)
            except BaseException as error:
                step, given = self.throw, error

    def _step(self, step: Callable[..., Any], *given: Any) -> Any:
        began = _enter()
        try:
            return step(*given)
        finally:
            self._own_ns += _leave(began)
            if getattr(self._plain, "cr_frame", None) is None:  # it is over
                self._taken.append(self._own_ns)


class TimedPolicy:
    """A policy whose decisions are timed."""

    def __init__(self, name: str, policy: Any) -> None:
        self._policy = policy
        self.admit = _timed(f"policy {name}", policy.admit)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._policy, name)


def time_policies(generation: Any) -> None:
    """Time each policy of a chain."""
    generation.chain = tuple(
        replace(link, policy=TimedPolicy(link.name, link.policy)) for link in generation.chain
    )


def taken() -> dict[str, list[int]]:
    """Return, by stage, how often it came and how many ns it took in all; begin anew."""
    found = {stage: [len(times), sum(times)] for stage, times in samples.items() if times}
    for times in samples.values():
        times.clear()
    return found


def own_cost_ns() -> tuple[float, float]:
    """Return what a timer adds to its stage's figure with each call, and what it costs in all."""
    count, name = 5_000, "a timer"
    measured = _timed(name, lambda: None)
    began = time.thread_time_ns()
    for _ in range(count):
        measured()
    whole = time.thread_time_ns() - began
    return sum(samples.pop(name)) / count, whole / count
