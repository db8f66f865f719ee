"""One reload, step by step: either everybody runs the new configuration in the end, or nobody.

1. Each worker opens it beside the one it serves with. Nothing has changed yet.
2. The observatory changes over; where that fails, it goes back by itself.
3. Each worker changes over, which cannot fail any more.
"""

import enum
import logging
import time
from collections.abc import Callable, Iterable, Sequence

from tidegate.config import Config, Flags, load
from tidegate.control import Commit, Discard, Load, Prepare
from tidegate.errors import ConfigError, Problem
from tidegate.parent.children import Child, Children

log = logging.getLogger(__name__)

ANSWER_S = 60.0
"""How long opening a configuration may take."""

FIXED = {
    "listen": ("host", "port", "workers", "tls_cert", "tls_key"),
    "admin": ("host", "port"),
    "journal": ("dir", "durability"),
    "log": ("format",),
}
"""What belongs to sockets and files that outlive a generation."""


def read_changed(text: str | None, flags: Flags, now: Config) -> Config:
    """Return the configuration of `text`, if a running gateway can change over to it.

    Raises:
        ConfigError: with every problem that shows without opening anything.
    """
    config = load(text, flags)
    problems = [
        Problem(f"{table}.{key}", f"cannot change while the gateway runs (it is {old!r}); restart")
        for table, keys in FIXED.items()
        for key in keys
        if (old := getattr(getattr(now, table), key)) != getattr(getattr(config, table), key)
    ]
    if problems:
        raise ConfigError(problems)
    return config


class Reloads:
    """What runs now, and how to change over to something else."""

    def __init__(
        self,
        config: Config,
        load: Load,
        children: Children,
        complain: Callable[[Iterable[Problem]], None],
    ) -> None:
        self.config = config
        self.load = load
        """The order that new children start with: what runs now, never what was refused."""
        self._children = children
        self._complain = complain
        self._current: Reload | None = None

    @property
    def running(self) -> bool:
        """Whether one is under way."""
        return self._current is not None

    def left_s(self) -> float | None:
        """Return how long to wait for an answer, if one is awaited."""
        return None if self._current is None else self._current.left_s()

    def begin(
        self, read_text: Callable[[], str | None], workers: Sequence[Child], observatory: Child
    ) -> None:
        """Begin to change over to the configuration as it is now."""
        try:
            text = read_text()
            config = read_changed(text, self.load.flags, self.config)
        except ConfigError as error:
            for child in workers:
                self._children.order(child, Discard())
            self._failed(error.problems)
            return
        log.info("reloading")
        fresh = Load(text, self.load.flags)
        self._current = Reload(config, fresh, self.load, workers, observatory)
        self._current.begin(self._children)

    def answered(self, child: Child, problems: Sequence[Problem]) -> None:
        """Take in what a child says of it."""
        if self._current is not None:
            self._current.answered(child, problems)

    def lost(self, child: Child) -> None:
        """Take in that a child has died; perhaps it was the new configuration."""
        self.answered(child, [Problem(child.name, "died while it opened the configuration")])

    def advance(self) -> None:
        """Take the next step, if the last one is over."""
        current = self._current
        if current is None:
            return
        current.advance(self._children)
        if current.step is Step.DONE:
            self.config, self.load, self._current = current.config, current.load, None
        elif current.step is Step.FAILED:
            self._current = None
            self._failed(dict.fromkeys(current.problems))

    def _failed(self, problems: Iterable[Problem]) -> None:
        self._complain(problems)
        log.error("reload: nothing has changed")


class Step(enum.Enum):
    """How far it is."""

    WORKERS = enum.auto()
    OBSERVATORY = enum.auto()
    DONE = enum.auto()
    FAILED = enum.auto()


class Reload:
    """One attempt to change over."""

    def __init__(
        self, config: Config, load: Load, before: Load, workers: Sequence[Child], observatory: Child
    ) -> None:
        self.config = config
        self.load = load
        self.problems: list[Problem] = []
        self.step = Step.WORKERS
        self._before = before
        self._workers = workers
        self._observatory = observatory
        self._prepared: set[int] = set()
        self._waiting: set[Child] = set()
        self._deadline = 0.0

    def begin(self, children: Children) -> None:
        """Let each worker open the configuration."""
        running = [child for child in self._workers if child.ready]
        for child in running:
            children.order(child, Prepare(self.load.text, self.load.flags))
            self._prepared.add(child.process.pid if child.process is not None else 0)
        self._wait_for(running)

    def answered(self, child: Child, problems: Sequence[Problem]) -> None:
        """Take in what a child says of it."""
        if child in self._waiting:
            self._waiting.discard(child)
            self.problems += problems

    def left_s(self) -> float:
        """Return how long to wait for an answer."""
        return max(0.0, self._deadline - time.monotonic())

    def advance(self, children: Children) -> None:
        """Take the next step, if the last one is over."""
        if self._waiting and self.left_s():
            return
        silent = [Problem(c.name, f"did not open it in {ANSWER_S:g} s") for c in self._waiting]
        self.problems += silent
        if self.problems:
            self._fail(children, silent=bool(silent))
        elif self.step is Step.WORKERS and self._observatory.ready:
            self.step = Step.OBSERVATORY
            children.order(self._observatory, self.load)
            self._wait_for([self._observatory])
        else:
            self._commit(children)

    def _wait_for(self, children: Sequence[Child]) -> None:
        self._waiting = set(children)
        self._deadline = time.monotonic() + ANSWER_S

    def _fail(self, children: Children, *, silent: bool) -> None:
        if self.step is Step.OBSERVATORY and silent:
            children.order(self._observatory, self._before)
        for child in self._workers:
            children.order(child, Discard())
        self.step = Step.FAILED

    def _commit(self, children: Children) -> None:
        for child in self._workers:
            if child.process is not None and child.process.pid not in self._prepared:
                # It was born meanwhile, with the configuration before.
                children.order(child, Prepare(self.load.text, self.load.flags))
            children.order(child, Commit())
        self.step = Step.DONE
