"""Secrets never leave: every string of a request is searched, and what is found replaced.

`README.md` beside this module says what is searched, what is left alone, and how well.
"""

import asyncio
import contextlib
import hashlib
import os
from collections.abc import AsyncIterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from tidegate.clock import Clock
from tidegate.errors import PluginError
from tidegate.exchange import Exchange, Principal, Request
from tidegate.plugin import ADMIT, Admit, Decision, Host, Note, PluginSpec, Refuse, Stage
from tidegate.scheduling import give_way
from tidegate.wire.memo import Memo
from tidegate.wire.transcript import Transcript
from tidegate_plugins.redact import keys, ruleset
from tidegate_plugins.redact.clean import cleaned
from tidegate_plugins.redact.config import RedactConfig
from tidegate_plugins.redact.engine import (
    CATALOGUE,
    Engine,
    EngineTimeout,
    Kingfisher,
    shared_kingfisher,
)
from tidegate_plugins.redact.pins import Pins, RuleSet
from tidegate_plugins.redact.placeholder import digest, placeholder
from tidegate_plugins.redact.scan import Deadline, Scanner
from tidegate_plugins.redact.together import Together
from tidegate_plugins.redact.verdict import Rulebook, decide, findings
from tidegate_plugins.redact.walk import parts, whole


@dataclass(frozen=True, slots=True)
class Redact:
    """The policy: searches a body in time, inline or in a thread, and decides."""

    config: RedactConfig
    scanner: Scanner
    book: Rulebook
    pool: ThreadPoolExecutor
    clock: Clock
    together: Together
    pins: Pins | None = None
    """Where conversations keep their rule set."""

    async def admit(self, exchange: Exchange, request: Request) -> Decision:
        """Decide on one body. Without a body there is nothing to decide."""
        if not request.body.raw:
            return ADMIT
        deadline = self._deadline()
        try:
            size = self.scanner.unknown_bytes(request.body)
            if size <= self.config.inline_bytes:
                if await self._is_clean(request, size, deadline):
                    return decide(self.book, request.body, (), request.principal.team)
                return self.evaluate(request, deadline, exchange.client.session)
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(
                self.pool, self.evaluate, request, deadline, exchange.client.session
            )
        except EngineTimeout:
            return self._late()

    async def _is_clean(self, request: Request, size: int, deadline: Deadline) -> bool:
        if self.pins is not None:  # others may be searched by other rules
            return False
        found = parts(request.body, self.scanner.is_clean)
        return await self.together.clean(found, size, deadline)

    def evaluate(self, request: Request, deadline: Deadline, session: str = "") -> Decision:
        """Search and decide, in whatever thread this is called.

        Raises:
            EngineTimeout: the time is up; nothing is known.
        """
        deadline.left()
        scanner, book = self.scanner, self.book
        if self.pins is not None:
            rules = self.pins.find(session)
            scanner, book = rules.scanner, rules.book
        hits = scanner.scan_body(request.body, deadline)
        return decide(book, request.body, hits, request.principal.team, deadline.left)

    @property
    def inspects(self) -> bool:
        """Whether answers are searched, too."""
        return self.config.responses == "detect"

    async def inspect(
        self, exchange: Exchange, principal: Principal, answer: Transcript
    ) -> tuple[Note, ...]:
        """Say what there is in an answer. It has been passed on: nothing can be done about it."""
        deadline = self._deadline()
        try:
            if answer.bytes <= self.config.inline_bytes:
                found = (whole(answer.document, "answer"),)
                if await self.together.clean(found, answer.bytes, deadline):
                    return ()
                return self.search(answer, principal.team, deadline)
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(
                self.pool, self.search, answer, principal.team, deadline
            )
        except EngineTimeout:
            return (Note("deadline", "not_evaluated"),)

    def search(self, answer: Transcript, team: str, deadline: Deadline) -> tuple[Note, ...]:
        """Search an answer, in whatever thread this is called.

        Raises:
            EngineTimeout: the time is up; nothing is known.
        """
        deadline.left()
        hits = self.scanner.scan(answer.document, deadline, "answer")
        return findings(self.book, hits, team)

    @property
    def redacts(self) -> bool:
        """Whether requests leave without their secrets: else none are kept, either."""
        return self.config.action in ("mask", "block")

    async def clean(self, document: Mapping[str, Any], principal: Principal) -> dict[str, Any]:
        """Return a copy of what is kept, without its secrets.

        Raises:
            EngineTimeout: the time is up; nothing is known.
        """
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(
            self.pool, cleaned, self.book, self.scanner, document, self._deadline()
        )

    def _deadline(self) -> Deadline:
        at_ns = self.clock.monotonic_ns() + self.config.deadline_ms * 1_000_000
        return Deadline(self.clock, at_ns, self.config.window_timeout_ms / 1000)

    def _late(self) -> Decision:
        notes = (Note("deadline", "not_evaluated"),)
        if self.config.on_timeout == "admit":
            return Admit(notes=notes, rule="deadline")
        return Refuse(
            status=503,
            error_type="api_error",
            message=(
                "the request could not be searched for secrets within "
                f"{self.config.deadline_ms} ms; send it again, or send less"
            ),
            rule="deadline",
            retry_after_s=1,
            notes=notes,
        )


@contextlib.asynccontextmanager
async def open_redact(config: RedactConfig, host: Host) -> AsyncIterator[Redact]:
    """Open the plugin: the key, the rules, the engine, and threads for large bodies."""
    rules = ruleset.load(config.pii)
    key = keys.load(config.key, host.state_dir)
    engine = await asyncio.to_thread(shared_kingfisher, rules, cache_dir(config, host.state_dir))
    book = Rulebook(
        config, key, rules.groups(), f"rules-{rules.version()}.key-{keys.identify(key)}"
    )
    check_names(config, rules.groups(), engine)
    found = scanner(engine, key, config.memo_entries)
    pool = ThreadPoolExecutor(config.threads, f"redact-{host.name}", initializer=give_way)
    pins = None
    if config.pin == "session":
        rules_name = f"{book.version}.config-{_digest(config)}"
        pins = Pins(host.state_dir, RuleSet(rules_name, found, book), config.pin_sessions)
    try:
        yield Redact(config, found, book, pool, host.clock, Together(found.scan_parts), pins)
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _digest(config: RedactConfig) -> str:
    return hashlib.sha256(msgspec.json.encode(config, order="sorted")).hexdigest()[:8]


def cache_dir(config: RedactConfig, state_dir: Path) -> Path:
    """Return where compiled rules are kept: as configured, or in the user's cache.

    The user's, as compiling takes seconds and every journal has the same rules, also if it can
    only be read, as in an image that brings them; the state directory where there is none.
    """
    if config.cache_dir:
        return Path(config.cache_dir)
    own = state_dir / "redact-rules"
    try:
        cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        shared = cache / "tidegate" / "redact-rules"
        if not own.exists():
            shared.mkdir(mode=0o700, parents=True, exist_ok=True)
            return shared if os.access(shared, os.W_OK) or any(shared.iterdir()) else own
    except (OSError, RuntimeError):  # no home, or one that cannot be written
        return own
    return own


def scanner(engine: Engine, key: bytes, memo_entries: int) -> Scanner:
    """Return a scanner whose placeholders are made with `key`."""

    def cover(label: str, secret: bytes) -> bytes:
        return placeholder(label, digest(key, secret))

    return Scanner(engine, cover, Memo(memo_entries), Memo(memo_entries // 2))


def check_names(config: RedactConfig, groups: dict[str, str], engine: Kingfisher) -> None:
    """Refuse names of rules that do not exist: they would silently do nothing.

    Raises:
        PluginError: names one of them.
    """
    rules = {*groups, *(name for name, _ in engine.names.values())}
    known = {*rules, *groups.values(), CATALOGUE}
    named = {*config.actions, *(name for team in config.teams.values() for name in team.actions)}
    for name in sorted((named - known) | (set(config.allow.rules) - rules)):
        raise PluginError(f"there is no rule {name!r}; `tidegate redact rules` lists them")


plugin = PluginSpec(
    config=RedactConfig,
    open=open_redact,
    stage=Stage.TRANSFORM,
    summary="Replace secrets in requests, everywhere, and change nothing else.",
)
