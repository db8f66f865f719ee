"""Keeps an identity provider's keys at hand: fetched in the background, never for every token.

A copy is kept beside the journal, so that a reload or a restart does not need the provider.
Keys that could not be fetched anew are used for `stale_s`, and then not any more.
"""

import asyncio
import contextlib
import hashlib
import json
import logging
import os
import ssl
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import aiohttp

from tidegate.clock import Clock
from tidegate.errors import PluginError
from tidegate_plugins.identify.config import Issuer, url_problem
from tidegate_plugins.identify.key_set import KeySet, PublicKey, key_set

log = logging.getLogger(__name__)

MAX_BYTES = 256 * 1024
"""Of one answer of the provider."""

RETRY_S = 5.0
"""After a fetch that failed; doubled each time, up to `refresh_s`."""


class KeysUnavailable(Exception):
    """There are no keys, or only some that are too old."""


class Jwks:
    """The keys of one issuer."""

    def __init__(
        self,
        issuer: Issuer,
        clock: Clock,
        spawn: Callable[[Awaitable[None], str], None],
        state_dir: Path,
    ) -> None:
        self.keys = KeySet()
        self._issuer = issuer
        self._clock = clock
        self._spawn = spawn
        self._copy = state_dir / f"identify-{_name(issuer)}.jwks"
        self._tls = _tls(issuer)
        self._fetched_at: float | None = None
        self._asked_at: float | None = None
        self._fetching: asyncio.Future[None] | None = None
        self._failures = 0

    async def start(self) -> None:
        """Have keys if that is possible, and go on refreshing them."""
        self._restore()
        await self._fetch()
        self._spawn(self._refresh(), "jwks")

    async def find(self, kid: str | None, algorithm: str) -> PublicKey | None:
        """Return the key for a token, looking once more if it is not among those we have.

        Raises:
            KeysUnavailable: there are no keys that could be used.
        """
        found = self.keys.find(kid, algorithm) if self.fresh else None
        if found is None and self._may_ask():
            await self._fetch()
            found = self.keys.find(kid, algorithm)
        if not self.fresh:
            raise KeysUnavailable
        return found

    @property
    def fresh(self) -> bool:
        """Whether there are keys that are not too old."""
        at = self._fetched_at
        return at is not None and self._clock.now() - at <= self._issuer.stale_s

    def _may_ask(self) -> bool:
        """Whether a token may make us ask: whoever sends many gets one fetch in a while."""
        now, before = self._clock.now(), self._asked_at
        return (
            self._fetching is not None or before is None or now - before >= self._issuer.refetch_s
        )

    async def _fetch(self) -> None:
        """Fetch once, however many wait for it; one that stops waiting does not stop it."""
        if self._fetching is None:
            self._asked_at = self._clock.now()
            self._fetching = asyncio.get_running_loop().create_future()
            self._spawn(self._run(self._fetching), "jwks fetch")
        await asyncio.shield(self._fetching)

    async def _run(self, done: asyncio.Future[None]) -> None:
        try:
            self._take(await self._download())
        except (OSError, ValueError, TimeoutError, aiohttp.ClientError) as error:
            self._failures += 1
            log.error(  # noqa: TRY400 - where it happened says nothing; what happened does
                "identify: the keys of %s cannot be fetched: %s",
                self._issuer.issuer,
                str(error) or type(error).__name__,
            )
        finally:
            self._fetching = None
            if not done.done():
                done.set_result(None)

    def _take(self, document: Any) -> None:
        self.keys = key_set(document)
        self._fetched_at = self._clock.now()
        self._failures = 0
        self._keep(document)

    async def _refresh(self) -> None:
        """Fetch again and again; sooner after a failure."""
        while True:
            pause = self._issuer.refresh_s
            if self._failures:
                pause = min(pause, RETRY_S * 2 ** (self._failures - 1))
            await asyncio.sleep(pause)
            await self._fetch()

    async def _download(self) -> Any:
        timeout = aiohttp.ClientTimeout(total=self._issuer.timeout_s)
        async with (
            asyncio.timeout(self._issuer.timeout_s),
            aiohttp.ClientSession(
                timeout=timeout,
                connector=aiohttp.TCPConnector(ssl=self._tls),
                cookie_jar=aiohttp.DummyCookieJar(),
                headers={"accept": "application/json", "accept-encoding": "identity"},
                auto_decompress=False,
            ) as session,
        ):
            return await _json(session, await self._url(session))

    async def _url(self, session: aiohttp.ClientSession) -> str:
        """Return where the keys are (OpenID Connect Discovery 1.0, section 4)."""
        issuer = self._issuer.issuer
        if self._issuer.jwks_url:
            return self._issuer.jwks_url
        found = await _json(session, issuer.rstrip("/") + "/.well-known/openid-configuration")
        if not isinstance(found, dict) or found.get("issuer") != issuer:
            raise ValueError("its discovery document is about another issuer")
        url = found.get("jwks_uri")
        if not isinstance(url, str) or url_problem(url):
            raise ValueError("its discovery document names no https place of keys")
        return url

    # the copy

    def _restore(self) -> None:
        """Take the copy of an earlier run, if there is one that can be used."""
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            if self._copy.stat().st_mode & 0o022:
                raise ValueError("others could have written it")
            kept = json.loads(self._copy.read_bytes())
            keys, at = key_set(kept["jwks"]), float(kept["fetched_at"])
            if at <= self._clock.now():
                self.keys, self._fetched_at = keys, at

    def _keep(self, document: Any) -> None:
        """Write the copy, whole or not at all; the gateway can do without."""
        draft = self._copy.with_name(f".{self._copy.name}.{os.getpid()}")
        content = json.dumps({"fetched_at": self._fetched_at, "jwks": document})
        with contextlib.suppress(OSError):
            handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with os.fdopen(handle, "w") as file:
                file.write(content)
            draft.replace(self._copy)


async def _json(session: aiohttp.ClientSession, url: str) -> Any:
    """Return a document of the provider.

    Raises:
        ValueError: it is no answer with JSON, or too large.
        aiohttp.ClientError: there is no answer.
    """
    async with session.get(url, allow_redirects=False) as answer:
        if answer.status != 200:
            raise ValueError(f"{url} answers {answer.status}")
        content = bytearray()
        async for piece in answer.content.iter_any():
            content += piece
            if len(content) > MAX_BYTES:
                raise ValueError(f"{url} answers more than {MAX_BYTES} bytes")
    try:
        return json.loads(content)
    except (ValueError, RecursionError):
        raise ValueError(f"{url} does not answer JSON") from None


def _name(issuer: Issuer) -> str:
    return hashlib.sha256(f"{issuer.issuer}\n{issuer.jwks_url}".encode()).hexdigest()[:12]


def _tls(issuer: Issuer) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=issuer.ca_file)
    except OSError as error:  # ssl.SSLError is one
        raise PluginError(f"issuers: ca_file {issuer.ca_file}: cannot be used: {error}") from None
