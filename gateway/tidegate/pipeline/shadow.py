"""A second configuration beside the live one: asked about the same requests, without effect.

Its chain runs in a thread with an event loop of its own, after the live one has decided, so
that a policy in it that waits, hangs or burns is nobody's matter but its own. Nothing is
taken: policies of stage RESERVE are not opened. Nothing is edited but its own copy. Only
where it would have gone otherwise is there a record.
"""

import asyncio
import contextlib
import logging
import threading
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from msgspec.structs import replace

from tidegate.clock import Clock
from tidegate.config import Config
from tidegate.errors import ConfigError, Problem, place_of
from tidegate.exchange import Exchange, Request
from tidegate.pipeline.admission import Admission, admit
from tidegate.pipeline.host import Link
from tidegate.plugin import Stage
from tidegate.record import DecisionRecord, ModelRecord, PrincipalRecord, ShadowDifference
from tidegate.registry import Chosen, resolve

log = logging.getLogger(__name__)

MODE = "shadow_config"
"""Of its decisions in the record."""

MAX_PENDING = 64
MAX_PENDING_BYTES = 64 * 1024 * 1024
"""Of requests that wait for the shadow. Beyond, they are recorded as not evaluated."""

OPEN_S = 60.0
CLOSE_S = 5.0

LEAVES = "leaves"
NOT_EVALUATED = "not_evaluated"

T = TypeVar("T")
Open = Callable[[Chosen, Config, AsyncExitStack, Clock], Coroutine[Any, Any, Link]]


def read_shadow(config: Config) -> tuple[Config, list[Chosen]] | None:
    """Return the second configuration and its plugins, if `[shadow]` names one.

    It keeps its journal, which says where keys are, in the live one's place.

    Raises:
        ConfigError: it cannot be read; the paths begin with the file's name.
    """
    name = config.shadow.config
    if name is None:
        return None
    try:
        shadow, chosen = resolve(Path(name).read_text())
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "is not UTF-8"
        raise ConfigError([Problem("shadow.config", f"{name}: {reason}")]) from None
    except ConfigError as error:
        raise _within(name, error) from None
    if shadow.shadow.config is not None:
        message = f"{name}: has a [shadow] of its own; leave that out"
        raise ConfigError([Problem("shadow.config", message)])
    return replace(shadow, journal=config.journal), chosen


def _within(name: str, error: ConfigError) -> ConfigError:
    return ConfigError(
        [Problem(f"shadow.config: {name}: {p.path}", p.message) for p in error.problems]
    )


@dataclass(frozen=True, slots=True)
class Course:
    """What became of a request under one configuration, as far as the two are compared."""

    word: str
    """`leaves`, or who refused by which rule, or `answered`."""
    team: str
    principal: str
    sent: tuple[tuple[str, str], ...]
    """What edits made of it: each edit's pointer and rule."""
    model: str | None
    max_tokens: int | None


def course_of(admission: Admission) -> Course:
    """Return what came of an admission."""
    by, request = admission.refused_by, admission.request
    word = f"{by.plugin}:{by.rule}" if by is not None else LEAVES
    if by is None and admission.answer is not None:
        word = f"answered:{admission.answer.rule}"
    return Course(
        word,
        request.principal.team,
        request.principal.id,
        tuple((edit.pointer, edit.rule) for edit in admission.edits),
        request.view.model,
        request.view.max_tokens,
    )


def difference_of(live: Course, shadow: Course) -> tuple[str, str, str] | None:
    """Return what is different, and how it was and would be; None for nothing."""
    if live.word != shadow.word:
        what = "other_rule"
        if LEAVES in (live.word, shadow.word):
            what = "admitted" if shadow.word == LEAVES else "refused"
        return what, live.word, shadow.word
    if (live.team, live.principal) != (shadow.team, shadow.principal):
        return (
            "identity",
            f"{live.principal} of {live.team}",
            f"{shadow.principal} of {shadow.team}",
        )
    if live.word != LEAVES:
        return None
    if (live.model, live.max_tokens) != (shadow.model, shadow.max_tokens):
        return "changed", f"{live.model} {live.max_tokens}", f"{shadow.model} {shadow.max_tokens}"
    if live.sent != shadow.sent:
        return "changed", f"{len(live.sent)} edits", f"{len(shadow.sent)} edits"
    return None


@dataclass(frozen=True, slots=True)
class Job:
    """One request to ask the shadow about."""

    exchange: Exchange
    first: Request
    live: Course
    config: str
    worker: int


class Shadow:
    """The opened second configuration, and the thread it lives in."""

    def __init__(
        self, config: Config, report: Callable[[ShadowDifference], None] | None = None
    ) -> None:
        self.digest = config.digest
        self.report = report
        """Takes each difference, in the loop that opened it; set before the first request."""
        self._home = asyncio.get_running_loop()
        self._loop = asyncio.new_event_loop()
        self._stack = AsyncExitStack()
        self._chain: tuple[Link, ...] = ()
        self._tasks: set[asyncio.Task[None]] = set()
        self._pending = 0
        self._pending_bytes = 0
        self._idle = asyncio.Event()
        self._idle.set()
        self._thread = threading.Thread(target=self._run, name="shadow", daemon=True)

    @classmethod
    async def open(
        cls, config: Config, chosen: list[Chosen], clock: Clock, open_policy: Open
    ) -> "Shadow":
        """Open the chain in its thread.

        Raises:
            ConfigError: a policy cannot be opened.
        """
        shadow = cls(config)
        shadow._thread.start()
        try:
            async with asyncio.timeout(OPEN_S):
                await shadow._there(shadow._open(config, chosen, clock, open_policy))
        except ConfigError as error:
            await shadow.close()
            raise _within("a policy", error) from None
        except TimeoutError:
            await shadow.close()
            problem = Problem("shadow.config", f"its policies did not open in {OPEN_S:g} s")
            raise ConfigError([problem]) from None
        return shadow

    def compare(self, job: Job) -> None:
        """Ask the shadow about a request that the live chain has decided on. Costs a moment."""
        size = len(job.first.body.raw)
        if self._pending >= MAX_PENDING or self._pending_bytes + size > MAX_PENDING_BYTES:
            self._tell(_record(job, self.digest, (NOT_EVALUATED, job.live.word, NOT_EVALUATED), ()))
            return
        self._pending += 1
        self._pending_bytes += size
        self._idle.clear()
        self._loop.call_soon_threadsafe(self._begin, job)

    async def close(self) -> None:
        """Let what is under way finish, for a moment, and leave the thread to its end."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_S):
                await self._idle.wait()
                await self._there(self._stack.aclose())
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._loop.stop)

    # in its thread

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_forever()
        finally:
            self._loop.run_until_complete(self._leave())
            self._loop.close()

    async def _leave(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _open(
        self, config: Config, chosen: list[Chosen], clock: Clock, open_policy: Open
    ) -> None:
        self._chain = tuple([
            await open_policy(link, config, self._stack, clock)
            for link in chosen
            if link.spec.stage is not None and link.spec.stage is not Stage.RESERVE
        ])  # fmt: skip

    def _begin(self, job: Job) -> None:
        task = self._loop.create_task(self._ask(job))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _ask(self, job: Job) -> None:
        found: ShadowDifference | None = None
        try:
            admission = Admission(job.first)
            await admit(self._chain, job.exchange, admission)
            different = difference_of(job.live, course_of(admission))
            if different is not None:
                found = _record(job, self.digest, different, admission.decisions)
        except Exception as error:  # noqa: BLE001 - nothing of it may reach anybody
            log.error("shadow: %s (%s)", place_of(error), job.exchange.id)  # noqa: TRY400
            different = (NOT_EVALUATED, job.live.word, NOT_EVALUATED)
            found = _record(job, self.digest, different, ())
        with contextlib.suppress(RuntimeError):  # home is gone
            self._home.call_soon_threadsafe(self._done, len(job.first.body.raw), found)

    # at home

    def _done(self, size: int, found: ShadowDifference | None) -> None:
        self._pending -= 1
        self._pending_bytes -= size
        if not self._pending:
            self._idle.set()
        if found is not None:
            self._tell(found)

    def _tell(self, found: ShadowDifference) -> None:
        if self.report is not None:
            self.report(found)

    async def _there(self, work: Coroutine[Any, Any, T]) -> T:
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work, self._loop))


def _record(
    job: Job, digest: str, different: tuple[str, str, str], decisions: Any
) -> ShadowDifference:
    what, before, after = different
    return ShadowDifference(
        id=job.exchange.id,
        at=job.exchange.at,
        worker=job.worker,
        config=job.config,
        shadow=digest,
        principal=PrincipalRecord(job.live.principal, job.live.team),
        route=job.exchange.route.recorded,
        model=ModelRecord(asked=job.first.view.model),
        what=what,
        live=before,
        candidate=after,
        decisions=tuple(_relabelled(decision) for decision in decisions),
    )


def _relabelled(decision: DecisionRecord) -> DecisionRecord:
    return replace(decision, mode=MODE)
