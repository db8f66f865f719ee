"""Who is it: a gateway key, a token, a header of the mesh, or the caller's own credential.

A gateway key is known by the SHA-256 of the whole presented value; the configuration holds
nothing that could be presented. With `forward = true` any other credential is let through
to the upstream, which judges it; here it is only told apart from others.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from msgspec.structs import replace

from tidegate.errors import PluginError
from tidegate.exchange import Credential, Exchange, Principal, Request
from tidegate.plugin import Admit, Decision, Host, Note, PluginSpec, Refuse, Stage
from tidegate_plugins.identify import config as configuration
from tidegate_plugins.identify import key_files, keyring
from tidegate_plugins.identify.config import Config, Issuer
from tidegate_plugins.identify.jwks import Jwks
from tidegate_plugins.identify.key_set import FAMILIES, algorithms
from tidegate_plugins.identify.keyring import PREFIX, Keyring, Known
from tidegate_plugins.identify.names import within
from tidegate_plugins.identify.pseudonyms import Pseudonyms, secret_of
from tidegate_plugins.identify.refusals import unauthenticated
from tidegate_plugins.identify.tokens import Tokens
from tidegate_plugins.identify.trusted import Ignored, TrustedHeaders


@dataclass(frozen=True, slots=True)
class Ways:
    """The ways to be known here; those that are not configured are None."""

    keys: Keyring
    tokens: Tokens | None
    trusted: TrustedHeaders | None
    pseudonyms: Pseudonyms | None


class Identify:
    """The policy."""

    def __init__(self, ways: Ways, now: Callable[[], float]) -> None:
        self._ways = ways
        self._now = now

    async def admit(self, exchange: Exchange, request: Request) -> Decision:
        """Admit with a principal, or refuse with what to do about it."""
        trusted = self._ways.trusted
        if trusted is None:
            return await self._by_credential(exchange, request.credential)
        found = trusted.read(exchange)
        if isinstance(found, Refuse):
            return found
        if isinstance(found, Principal):
            decision: Decision = Admit(
                principal=found,
                consumes_credential=self._is_ours(request.credential),
                rule="trusted_headers",
            )
        else:
            decision = await self._by_credential(exchange, request.credential)
        if isinstance(found, Ignored):
            decision = _noted(decision, Note("trusted_headers", "ignored"))
        if isinstance(decision, Admit):
            return replace(decision, consumes_headers=trusted.names)
        return decision

    async def _by_credential(self, exchange: Exchange, credential: Credential | None) -> Decision:
        if credential is None or not credential.value:
            return unauthenticated(
                "no_credential",
                "no credential: send a key in `x-api-key` or as `Authorization: Bearer …`",
            )
        ways, value = self._ways, credential.value
        known = ways.keys.find(value)
        if known is not None:
            return self._admit_key(known, exchange.peer)
        if not value.startswith(PREFIX):
            if ways.tokens is not None and ways.tokens.concerns(value):
                return _admit_token(await ways.tokens.read(value))
            if ways.pseudonyms is not None:
                principal = ways.pseudonyms.principal(value)
                return Admit(principal=principal, forwards_credential=True, rule="forward")
        return unauthenticated(
            "unknown_key",
            "this gateway does not know the key: check that it is complete, "
            "or ask the gateway's operators for a new one",
        )

    def _admit_key(self, known: Known, peer: str) -> Decision:
        who = known.principal.id
        if known.expires is not None and self._now() >= known.expires:
            return unauthenticated(
                "expired_key",
                f"the key {who} has expired: ask the gateway's operators for a new one",
            )
        if known.networks and not within(peer, known.networks):
            return unauthenticated(
                "wrong_network",
                f"the key {who} may not be used from this address: call from one of its "
                "networks, or ask the gateway's operators to add yours",
            )
        return known.admit

    def _is_ours(self, credential: Credential | None) -> bool:
        """Whether a credential that was not needed is for this gateway all the same."""
        if credential is None:
            return False
        value = credential.value
        ways = self._ways
        is_token = ways.tokens is not None and ways.tokens.concerns(value)
        return is_token or value.startswith(PREFIX) or ways.keys.find(value) is not None


def _admit_token(found: Principal | Refuse) -> Decision:
    if isinstance(found, Refuse):
        return found
    return Admit(principal=found, consumes_credential=True, rule="token")


def _noted(decision: Decision, note: Note) -> Decision:
    return replace(decision, notes=(*decision.notes, note))


@asynccontextmanager
async def _open(config: Config, host: Host) -> AsyncIterator[Identify]:
    keys = _keys(config, forwards=host.forwards_credential)
    taken = keys.ids
    pseudonyms = None
    if config.forward:
        pseudonyms = Pseudonyms(config, secret_of(config.forward_key, host.state_dir))
    trusted = None if config.trusted is None else TrustedHeaders(config.trusted, taken)
    tokens = await _tokens(config.issuers, host, taken) if config.issuers else None
    yield Identify(Ways(keys, tokens, trusted, pseudonyms), host.clock.now)


def _keys(config: Config, *, forwards: bool) -> Keyring:
    """Return every key.

    Raises:
        PluginError: with everything that is wrong with the configuration and its files.
    """
    placed, problems = key_files.keys_of(config)
    problems += keyring.problems_of(placed)
    problems += configuration.problems_of(config, forwards=forwards)
    if not (problems or placed or config.issuers or config.trusted or config.forward):
        problems.append(
            "keys: nobody could come in; add a key (`tidegate keys new`) or forward = true"
        )
    if problems:
        raise PluginError("\n".join(problems))
    return Keyring(each.key for each in placed)


async def _tokens(issuers: tuple[Issuer, ...], host: Host, taken: frozenset[str]) -> Tokens:
    """Return what accepts tokens, with keys at hand if their issuers answer.

    Raises:
        PluginError: a package is missing, or an algorithm is unknown.
    """
    algorithms()
    unknown = [name for issuer in issuers for name in issuer.algorithms if name not in FAMILIES]
    if unknown:
        raise PluginError(
            f"issuers: no algorithm is {unknown[0][:40]!a}; use {', '.join(FAMILIES)}"
        )
    sources = [Jwks(issuer, host.clock, host.spawn, host.state_dir) for issuer in issuers]
    await asyncio.gather(*(source.start() for source in sources))
    return Tokens(list(zip(issuers, sources, strict=True)), host.clock, taken)


plugin: PluginSpec[Config] = PluginSpec(
    config=Config,
    open=_open,
    stage=Stage.IDENTIFY,
    summary="Tells callers apart by gateway key, token, mesh header or their own credential.",
)
