"""Budgets and rate limits: reserved on admission, settled with what was really used."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from tidegate.clock import Clock
from tidegate.errors import PluginError
from tidegate.plugin import Host, PluginSpec, Stage
from tidegate_plugins import prices
from tidegate_plugins.quota.config import Config, Secret
from tidegate_plugins.quota.guarded import Guarded
from tidegate_plugins.quota.policy import Quota
from tidegate_plugins.quota.rules import Rules
from tidegate_plugins.quota.stores import Store
from tidegate_plugins.quota.stores.memory import Book, MemoryStore
from tidegate_plugins.quota.stores.sqlite import SqliteStore

FILE = "quota.sqlite"

_books: dict[tuple[Path, str], Book] = {}
"""By place and instance: a reload must not forget what was used."""


def open_store(config: Config, state_dir: Path, book: Book, time: Clock) -> Store:
    """Return the store that a configuration names; nothing is connected yet.

    Raises:
        PluginError: there is no such store.
    """
    kind, _, place = config.store.partition(":")
    if config.store == "memory":
        return MemoryStore(book, time)
    if kind == "sqlite":
        path = Path(place) if place else state_dir / FILE
        if not path.parent.is_dir():
            raise PluginError(f"store: there is no directory {path.parent}; make it")
        return SqliteStore(path, time, config.timeout_s)
    if kind in ("redis", "rediss", "unix"):
        return _redis(config, time)
    raise PluginError(
        f"store: {config.store[:80]!r} is none; write memory, sqlite, sqlite:PATH or "
        "redis://HOST:PORT/DB"
    )


def _redis(config: Config, time: Clock) -> Store:
    try:
        from tidegate_plugins.quota.stores.redis import RedisStore  # noqa: PLC0415 - an extra
    except ModuleNotFoundError as error:
        raise PluginError(
            f"store: needs the package {error.name}: install tidegate[redis]"
        ) from None
    try:
        return RedisStore(
            config.store, _password(config.password), config.prefix, time, config.timeout_s
        )
    except ValueError as error:
        raise PluginError(f"store: {error}; write redis://HOST:PORT/DB") from None


def _password(secret: Secret | None) -> str | None:
    if secret is None:
        return None
    if secret.env:
        value = os.environ.get(secret.env)
        if not value:
            raise PluginError(f"password: the environment has no {secret.env}")
        return value
    try:
        return Path(secret.file).read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise PluginError(f"password: {secret.file}: {error}") from None


@asynccontextmanager
async def _open(config: Config, host: Host) -> AsyncIterator[Quota]:
    table = prices.load(config.prices)
    rules = Rules(config, host.name)
    place = (host.state_dir.absolute(), host.name)
    book = _books.setdefault(place, Book())
    store = open_store(config, host.state_dir, book, host.clock)
    guarded = Guarded(store, host.clock, config.lease_s)
    book.users += 1
    try:
        await guarded.look()
        host.spawn(guarded.watch(), "watch")
        await asyncio.sleep(0)  # let it begin: a task cancelled before is a coroutine never awaited
        yield Quota(host, rules, table, guarded)
    finally:
        await guarded.close()
        book.users -= 1
        if not book.users:
            _books.pop(place, None)


plugin: PluginSpec[Config] = PluginSpec(
    config=Config,
    open=_open,
    stage=Stage.RESERVE,
    summary="Budgets and rate limits by organization, team, key, label and model.",
    default={"store": "memory", "limits": [{"name": "org", "scope": "org", "concurrent": 1000}]},
)
