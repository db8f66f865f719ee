"""`check_plugin`: the contract, run against any plugin.

from tidegate.testing import check_plugin
from my_plugin import plugin

def test_contract():
    check_plugin(plugin, {"words": ["hush"]})
"""

import asyncio
import logging
import secrets
import tempfile
from collections.abc import AsyncIterator, Awaitable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from tidegate.errors import PluginError
from tidegate.plugin import PluginSpec, Stage
from tidegate.testing.cases import make_cases
from tidegate.testing.fakes import Background, FakeClock, make_host
from tidegate.testing.observers import ObserverCheck
from tidegate.testing.policies import Held, PolicyCheck, content_secrets
from tidegate.testing.rules import spec_problems
from tidegate.testing.steps import OPENING_S, patiently


class ContractBroken(AssertionError):
    """A plugin does not keep the contract. `problems` lists everything that was found."""

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("\n".join(["the plugin breaks the contract:", *problems]))
        self.problems = tuple(problems)


def check_plugin(
    spec: PluginSpec[Any],
    config: Mapping[str, Any] | None = None,
    *,
    credential: str = "",
    documents: Iterable[Mapping[str, Any] | bytes] = (),
    clock: FakeClock | None = None,
    held: Held | None = None,
    forwards_credential: bool = False,
) -> None:
    """Run the contract against a plugin, in a scratch directory, without a network.

    A policy is asked about requests of every kind, alone and all together, and cancelled
    at each of its awaits; an observer is fed records of every kind, restarted and cut off.
    The check runs in a thread with an event loop of its own, so that any test may call it.

    Args:
        spec: what the entry point names.
        config: what a user would write under `[plugins.config]`; the default of the spec
            if left away. Choose one that admits something: a refusal shows less.
        credential: what the caller presents, for policies that ask for it; made up if
            empty. It must not turn up in anything the plugin says.
        documents: further request bodies to ask about, such as some that are refused.
        clock: a clock of your own; one that stands still if left away.
        held: tells how much the policy holds, given the opened policy. With it, anything
            that is never given back is found; without it, only what leads to a refusal.
        forwards_credential: what `Host.forwards_credential` says.

    Raises:
        ContractBroken: with all that was found.
    """
    check = _Check(
        spec,
        config,
        credential=credential or secrets.token_hex(16),
        documents=tuple(documents),
        clock=clock or FakeClock(),
        held=held,
        forwards_credential=forwards_credential,
    )
    with ThreadPoolExecutor(1) as pool:
        problems = pool.submit(asyncio.run, check.run()).result()
    if problems:
        raise ContractBroken(problems)


@dataclass(slots=True)
class _Check:
    spec: PluginSpec[Any]
    config: Mapping[str, Any] | None
    credential: str
    documents: tuple[Mapping[str, Any] | bytes, ...]
    clock: FakeClock
    held: Held | None
    forwards_credential: bool
    problems: list[str] = field(default_factory=list)

    async def run(self) -> list[str]:
        self.problems += spec_problems(self.spec)
        if self.problems:
            return self.problems
        converted = self._convert()
        if converted is None:
            return self.problems
        loggings: list[str] = []
        with tempfile.TemporaryDirectory() as scratch, _listening(loggings):
            await self._run_in(Path(scratch), converted)
        if any(secret in said for secret in content_secrets(self.credential) for said in loggings):
            self.problems.append("logs the caller's credential or content")
        return list(dict.fromkeys(self.problems))

    def _convert(self) -> Any:
        values = dict(self.spec.default if self.config is None else self.config)
        try:
            return msgspec.convert(values, self.spec.config)
        except msgspec.ValidationError as error:
            which = "its default configuration" if self.config is None else "the configuration"
            self.problems.append(f"does not take {which}: {error}")
            return None

    async def _run_in(self, scratch: Path, config: Any) -> None:
        def opener(name: str, state: bytes) -> AbstractAsyncContextManager[Any]:
            return self._open(scratch / name, config, state)

        others = asyncio.all_tasks()
        try:
            async with opener("twice", b""), opener("twice", b""):
                pass  # a reload opens the new generation while the old one is still in use
            await self._run_kind(opener)
        except _CannotOpen as error:
            self.problems.append(str(error))
        left = [task.get_coro() for task in asyncio.all_tasks() - others]
        if left:
            self.problems.append(f"leaves tasks behind when it is closed: {left}")

    async def _run_kind(self, opener: Any) -> None:
        stage = self.spec.stage
        if stage is None:
            await ObserverCheck(opener, self.problems).run()
            return
        async with opener("policy", b"") as policy:
            await self._policy_check(policy, stage).run()

    def _policy_check(self, policy: object, stage: Stage) -> PolicyCheck:
        cases = make_cases(self.credential, self.documents)
        hidden = content_secrets(self.credential)
        return PolicyCheck(
            policy, stage, cases, hidden, self.held, self.problems, self.spec.replayable
        )

    @asynccontextmanager
    async def _open(self, state_dir: Path, config: Any, state: bytes) -> AsyncIterator[Any]:
        state_dir.mkdir(exist_ok=True)
        background = Background()
        host = make_host(
            state_dir,
            clock=self.clock,
            background=background,
            forwards_credential=self.forwards_credential,
            state=state,
        )
        context = self.spec.open(config, host)
        try:
            plugin = await _opened(context.__aenter__())
            try:
                yield plugin
            finally:
                await _closed(context.__aexit__(None, None, None))
        finally:
            failed = await background.close()
            self.problems += [f"a task it spawned fails: {error!r}" for error in failed]


class _CannotOpen(Exception):
    """The plugin cannot be opened or closed; there is nothing more to check."""


async def _opened(entering: Awaitable[Any]) -> Any:
    try:
        return await patiently(_await(entering), OPENING_S)
    except PluginError as error:
        raise _CannotOpen(f"refuses its configuration: {error}") from error
    except Exception as error:
        raise _CannotOpen(f"cannot be opened: {error!r}") from error


async def _closed(leaving: Awaitable[Any]) -> None:
    try:
        await patiently(_await(leaving), OPENING_S)
    except Exception as error:
        raise _CannotOpen(f"cannot be closed: {error!r}") from error


async def _await(work: Awaitable[Any]) -> Any:
    return await work


class _Ear(logging.Handler):
    """Keeps what is logged as it would be written, tracebacks included."""

    def __init__(self, heard: list[str]) -> None:
        super().__init__()
        self._heard = heard

    def emit(self, record: logging.LogRecord) -> None:
        self._heard.append(self.format(record))


@contextmanager
def _listening(heard: list[str]) -> Iterator[None]:
    root = logging.getLogger()
    ear = _Ear(heard)
    level = root.level
    root.addHandler(ear)
    root.setLevel(logging.DEBUG)
    try:
        yield
    finally:
        root.setLevel(level)
        root.removeHandler(ear)
