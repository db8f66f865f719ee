"""A store in Redis or Valkey: shared by any number of hosts, on the server's time.

Each operation is one script, which the server runs as a whole, and one round trip. A second one
follows where the server has forgotten the script, or where its clock has passed the edge of a
window that ours had not.
"""

import asyncio
from collections.abc import Iterable, Sequence
from importlib import resources
from typing import Any

import redis.asyncio as client
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as NoConnection
from redis.exceptions import RedisError
from redis.exceptions import TimeoutError as Late

from tidegate.clock import Clock
from tidegate_plugins.quota.stores import (
    GONE_S,
    Charge,
    Reply,
    Standing,
    StoreError,
    Take,
    standing,
)

CONNECTIONS = 32
"""Of one worker, at most."""

CLOCK_TRIES = 3
NS = 1_000_000_000


class RedisStore:
    """The store."""

    shared = True

    def __init__(
        self, url: str, password: str | None, prefix: str, clock: Clock, timeout_s: float
    ) -> None:
        self._clock = clock
        self._timeout_s = timeout_s
        self._ahead_s = 0.0
        """How much the server's clock is ahead of ours."""
        options: dict[str, Any] = {} if password is None else {"password": password}
        self._pool = client.BlockingConnectionPool.from_url(
            url,
            max_connections=CONNECTIONS,
            timeout=timeout_s,
            socket_timeout=timeout_s,
            socket_connect_timeout=timeout_s,
            # Sent again, a command could take effect twice: that is ours to decide.
            retry=Retry(NoBackoff(), 0),
            decode_responses=True,
            protocol=2,
            **options,
        )
        self._redis = client.Redis(connection_pool=self._pool)
        tag = f"{{{prefix}}}"  # in a cluster, keys with one tag are in one place
        self._keys = [f"{tag}:leases", f"{tag}:taken", f"{tag}:gone"]
        self._counters = f"{tag}:c:"
        self._probe = f"{tag}:probe"
        self._scripts = {name: self._redis.register_script(_script(name)) for name in SCRIPTS}

    async def reserve(self, lease: str, takes: Sequence[Take], lease_s: float) -> Reply:
        keys = [self._counters + take.counter for take in takes]
        for _ in range(CLOCK_TRIES):
            now = self._clock.now() + self._ahead_s
            slots = tuple(take.window.slot(now) for take in takes)
            arguments: list[str | int | float] = [lease, lease_s]
            for take, slot in zip(takes, slots, strict=True):
                arguments += (take.counter, *slot, take.amount, take.limit)
            word, clock, *fields = await self._run("reserve", keys, arguments)
            at = self._took_time(clock)
            if word != "clock":
                found = tuple(_standing(each, at) for each in fields[0])
                return Reply(word == "taken", at, slots, found)
        raise StoreError("the server's clock leaps")

    async def settle(
        self, lease: str, charges: Sequence[Charge], *, again: bool = False
    ) -> tuple[Standing, ...]:
        keys = [self._counters + charge.counter for charge in charges]
        arguments: list[str | int | float] = [lease, int(again)]
        for charge in charges:
            arguments += (charge.dies, charge.amount)
        clock, fields = await self._run("settle", keys, arguments)
        at = self._took_time(clock)
        return tuple(_standing(each, at) for each in fields)

    async def cancel(self, lease: str) -> None:
        await self._run("cancel", (), (lease,))

    async def renew(self, leases: Iterable[str], lease_s: float) -> None:
        await self._run("renew", (), (lease_s, *leases))

    async def read(self) -> dict[str, Standing]:
        at = self._took_time(await self._run("renew", (), (1,)))  # which lets leases expire
        found = {}
        try:
            async for key in self._redis.scan_iter(f"{self._counters}*", count=1000):
                name = key.removeprefix(self._counters)
                fields = await self._redis.hgetall(key)
                found[name] = _standing([str(x) for pair in fields.items() for x in pair], at)
        except (RedisError, OSError) as error:
            raise StoreError(_told(error)) from None
        return {name: each for name, each in found.items() if each.used or each.reserved}

    async def probe(self) -> None:
        try:
            async with asyncio.timeout(self._timeout_s):
                await self._redis.set(self._probe, "1", ex=60)
                seconds, micros = await self._redis.time()
        except (RedisError, OSError) as error:
            await self._drop()
            raise StoreError(_told(error)) from None
        self._took_time(f"{seconds}.{micros:06}")

    async def close(self) -> None:
        await self._redis.aclose()
        await self._pool.aclose()

    async def _run(
        self, name: str, counters: Sequence[str], arguments: Sequence[str | int | float]
    ) -> Any:
        try:
            async with asyncio.timeout(self._timeout_s):
                return await self._scripts[name](
                    keys=[*self._keys, *counters], args=[self._counters, GONE_S, *arguments]
                )
        except (RedisError, OSError) as error:
            await self._drop()
            raise StoreError(_told(error)) from None

    async def _drop(self) -> None:
        """Close idle connections: the next ones may find another server, after a failover."""
        await self._pool.disconnect(inuse_connections=False)

    def _took_time(self, clock: str) -> float:
        at = float(clock)
        self._ahead_s = at - self._clock.now()
        return at


SCRIPTS = ("reserve", "settle", "cancel", "renew")


def _script(name: str) -> str:
    folder = resources.files("tidegate_plugins.quota.stores")
    return (folder / "common.lua").read_text() + (folder / f"{name}.lua").read_text()


def _standing(fields: Sequence[str], now: float) -> Standing:
    slots: dict[int, list[int]] = {}
    for field, amount in zip(fields[::2], fields[1::2], strict=True):
        slots.setdefault(int(field[1:]), [0, 0])[field[0] == "r"] = int(amount)
    return standing([(dies, cell[0], cell[1]) for dies, cell in slots.items()], now)


def _told(error: Exception) -> str:
    """Return what went wrong, without the address, which may hold a password."""
    if isinstance(error, TimeoutError | Late):
        return "the server does not answer in time"
    if isinstance(error, NoConnection | OSError):
        return f"no connection to the server ({type(error).__name__})"
    return f"the server says: {str(error)[:200]}"
