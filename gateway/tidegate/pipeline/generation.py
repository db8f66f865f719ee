"""A configuration in use: opened whole, leased by each exchange for its whole life."""

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

from tidegate import __version__
from tidegate.clock import Clock
from tidegate.config import Config
from tidegate.errors import ConfigError, PluginError, Problem
from tidegate.pipeline import content
from tidegate.pipeline.host import Link
from tidegate.pipeline.shadow import Shadow, read_shadow
from tidegate.pipeline.targets import Target, open_targets
from tidegate.pipeline.timeout import Timeout
from tidegate.plugin import Host, Inspector, Policy
from tidegate.registry import Chosen

log = logging.getLogger(__name__)


class Generation:
    """One opened configuration: its chain, its upstreams, and who still uses it."""

    def __init__(
        self,
        config: Config,
        chain: tuple[Link, ...],
        targets: tuple[Target, ...],
        stack: AsyncExitStack,
    ) -> None:
        self.config = config
        self.digest = config.digest
        self.chain = chain
        self.inspectors = tuple(link for link in chain if _inspects(link.policy))
        """Those of the chain that want to see answers."""
        self.redactors = content.redactors(chain) if config.journal.content == "redacted" else ()
        """Those that take secrets out of what is kept; none where nothing is kept."""
        self.targets = targets
        """The upstreams, in the order in which they are tried."""
        self.shadow: Shadow | None = None
        """The second configuration, if there is one."""
        self.stack = stack
        """What is to be closed with it; others may add their part."""
        self.leases = 0
        """Exchanges that still run under it."""
        self._retired = False
        self._idle = asyncio.Event()
        self._idle.set()

    def lease(self) -> None:
        """Keep everything open until `release`."""
        self.leases += 1
        self._idle.clear()

    def release(self) -> None:
        """Give one lease back."""
        self.leases -= 1
        if not self.leases:
            self._idle.set()

    async def retire(self) -> None:
        """Wait for the last lease, then close everything."""
        while self.leases:
            await self._idle.wait()
        await self.stack.aclose()


def _inspects(policy: Policy) -> bool:
    return isinstance(policy, Inspector) and policy.inspects


async def open_generation(
    config: Config, chosen: Sequence[Chosen], *, clock: Clock, worker: int
) -> Generation:
    """Open every policy of the configuration, in order.

    Raises:
        ConfigError: one of them cannot be opened; those before it are closed again.
    """
    targets = open_targets(config)
    async with AsyncExitStack() as stack:
        policies = [link for link in chosen if link.spec.stage is not None]
        chain = [await open_policy(link, config, stack, clock, worker) for link in policies]
        redacting = bool(content.redactors(chain))
        if problems := content.check(config, redacting=redacting):
            raise ConfigError(problems)
        shadow = await _open_shadow(config, stack, clock)
        generation = Generation(config, tuple(chain), targets, stack.pop_all())
        generation.shadow = shadow
        return generation
    raise AssertionError("unreachable")  # the stack suppresses nothing


async def _open_shadow(config: Config, stack: AsyncExitStack, clock: Clock) -> Shadow | None:
    found = read_shadow(config)
    if found is None:
        return None
    shadow = await Shadow.open(*found, clock, open_policy)
    stack.push_async_callback(shadow.close)
    return shadow


async def open_policy(
    link: Chosen, config: Config, stack: AsyncExitStack, clock: Clock, worker: int = 0
) -> Link:
    """Open one policy on `stack`; return it as a link of the chain.

    Raises:
        ConfigError: it cannot be opened, or is none.
    """
    plugin = link.plugin
    policy = await open_plugin(link, config, stack, clock, worker=worker)
    if not isinstance(policy, Policy) or link.spec.stage is None:
        message = f"`{plugin.label}` has a stage but opens no policy: it lacks `admit`"
        raise ConfigError([Problem(f"plugins.{plugin.label}", message)])
    return Link(
        name=plugin.label,
        policy=policy,
        stage=link.spec.stage,
        shadow=plugin.mode == "shadow",
        admit_on_error=plugin.on_error == "admit",
        timeout=Timeout(plugin.timeout_s),
    )


async def open_plugin(
    link: Chosen,
    config: Config,
    stack: AsyncExitStack,
    clock: Clock,
    *,
    worker: int = 0,
    **given: Any,
) -> object:
    """Open one plugin on `stack`, with the tasks it spawns; `given` are further fields of its host.

    Raises:
        ConfigError: it cannot be opened; the message is the plugin's own.
    """
    name = link.plugin.label
    tasks = await stack.enter_async_context(_tasks(name))
    state_dir = Path(config.journal.dir)
    host = Host(
        name=name,
        clock=clock,
        spawn=tasks.spawn,
        state_dir=state_dir,
        worker=worker,
        workers=config.listen.workers,
        forwards_credential=any(upstream.forwards for upstream in config.targets),
        info=(("version", __version__),),
        **({"digest": lambda: config.digest} | given),
    )
    try:
        return await stack.enter_async_context(link.spec.open(link.config, host))
    except PluginError as error:
        raise ConfigError([Problem(f"plugins.{name}", str(error))]) from error
    except Exception as error:
        log.exception("plugin %s cannot be opened", name)
        message = f"cannot be opened: {type(error).__name__}: {error}"
        raise ConfigError([Problem(f"plugins.{name}", message)]) from error


class _Tasks:
    """What a plugin runs in the background."""

    def __init__(self, owner: str) -> None:
        self._owner = owner
        self._running: set[asyncio.Task[None]] = set()

    def spawn(self, work: Awaitable[None], name: str) -> None:
        task = asyncio.ensure_future(self._guard(work, name))
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    async def _guard(self, work: Awaitable[None], name: str) -> None:
        try:
            await work
        except Exception:
            log.exception("plugin %s: its task `%s` failed", self._owner, name)

    async def close(self) -> None:
        for task in self._running:
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)


@asynccontextmanager
async def _tasks(owner: str) -> AsyncGenerator[_Tasks, None]:
    tasks = _Tasks(owner)
    try:
        yield tasks
    finally:
        await tasks.close()
