"""Who is it: a gateway key, or the caller's own credential under a pseudonym.

A gateway key is known by the SHA-256 of the whole presented value; the configuration holds
nothing that could be presented. With `forward = true` any other credential is let through
to the upstream, which judges it; here it is only told apart from others, by a digest keyed
with a secret of this deployment, so that a record does not help to guess the credential.
"""

import hashlib
import hmac
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

import msgspec

from tidegate.errors import PluginError
from tidegate.exchange import Credential, Exchange, Principal, Request
from tidegate.plugin import Admit, Decision, Host, PluginConfig, PluginSpec, Refuse, Stage
from tidegate_plugins.key_file import obtain

KEY_PREFIX = "tgk_"
"""Gateway keys begin with it; such a value is never taken for somebody else's credential."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:@+/-]{0,127}")
_SHA256 = re.compile(r"[0-9a-fA-F]{64}")
_PSEUDONYM = re.compile(r"cred-[0-9a-f]{12}")

Network = IPv4Network | IPv6Network


class Key(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One gateway key, as `tidegate keys new` prints it."""

    id: str
    """Whom usage is accounted to."""
    team: str
    sha256: str
    """Hex digest of the key."""
    expires: datetime | None = None
    """With an offset: `2027-01-31T00:00:00Z`."""
    networks: tuple[str, ...] = ()
    """Where it may be used from, such as `10.0.0.0/8`; anywhere if empty."""


class Config(PluginConfig, frozen=True):
    """Gateway keys, or the callers' own credentials, or both."""

    keys: tuple[Key, ...] = ()
    forward: bool = False
    """Let the caller's own credential through to the upstream."""
    teams: dict[str, str] = {}
    """With `forward`: the team of a principal, `"cred-…" = "search"`."""
    default_team: str = "none"
    """With `forward`: the team of those not listed."""


@dataclass(frozen=True, slots=True)
class Known:
    """A key as it is looked up."""

    digest: str
    principal: Principal
    expires: float | None
    networks: tuple[Network, ...]


def digest(value: str) -> str:
    """Return the digest a key is known by: SHA-256 of its UTF-8, in hex (`tidegate.keys`)."""
    return hashlib.sha256(_octets(value)).hexdigest()


def _octets(value: str) -> bytes:
    # A header may hold bytes that are no UTF-8; they reach us as surrogates.
    return value.encode("utf-8", "surrogatepass")


class Identify:
    """The policy."""

    def __init__(self, config: Config, now: Callable[[], float], secret: bytes | None) -> None:
        self._keys = _known(config.keys)
        self._now = now
        self._secret = secret
        self._teams = config.teams
        self._default_team = config.default_team

    async def admit(self, exchange: Exchange, request: Request) -> Decision:
        """Admit with a principal, or refuse with what to do about it."""
        credential = request.credential
        if credential is None or not credential.value:
            return _refuse(
                "no_credential",
                "no credential: send a key in `x-api-key` or as `Authorization: Bearer …`",
            )
        known = self._find(credential)
        if known is not None:
            return self._admit_key(known, exchange.peer)
        if self._secret is not None and not credential.value.startswith(KEY_PREFIX):
            principal = self._pseudonym(credential, self._secret)
            return Admit(principal=principal, forwards_credential=True, rule="forward")
        return _refuse(
            "unknown_key",
            "this gateway does not know the key: check that it is complete, "
            "or ask the gateway's operators for a new one",
        )

    def _find(self, credential: Credential) -> Known | None:
        """Look the key up. What timing could tell is a digest's prefix, which helps nobody."""
        presented = digest(credential.value)
        known = self._keys.get(presented)
        if known is None or not hmac.compare_digest(known.digest, presented):
            return None
        return known

    def _admit_key(self, known: Known, peer: str) -> Decision:
        who = known.principal.id
        if known.expires is not None and self._now() >= known.expires:
            return _refuse(
                "expired_key",
                f"the key {who} has expired: ask the gateway's operators for a new one",
            )
        if known.networks and not _within(peer, known.networks):
            return _refuse(
                "wrong_network",
                f"the key {who} may not be used from this address: call from one of its "
                "networks, or ask the gateway's operators to add yours",
            )
        return Admit(principal=known.principal, consumes_credential=True, rule="key")

    def _pseudonym(self, credential: Credential, secret: bytes) -> Principal:
        keyed = hmac.digest(secret, _octets(credential.value), "sha256").hex()
        name = f"cred-{keyed[:12]}"
        team = self._teams.get(name, self._default_team)
        return Principal(id=name, team=team, labels={"credential": "forwarded"})


def _refuse(rule: str, message: str) -> Refuse:
    return Refuse(status=401, error_type="authentication_error", message=message, rule=rule)


def _within(peer: str, networks: tuple[Network, ...]) -> bool:
    try:
        address: IPv4Address | IPv6Address = ip_address(peer)
    except ValueError:
        return False
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped  # an IPv4 caller on a dual-stack socket
    return any(address in network for network in networks)


def _known(keys: tuple[Key, ...]) -> dict[str, Known]:
    return {
        key.sha256.lower(): Known(
            digest=key.sha256.lower(),
            principal=Principal(id=key.id, team=key.team, labels={"credential": "gateway"}),
            expires=None if key.expires is None else key.expires.timestamp(),
            networks=tuple(ip_network(network) for network in key.networks),
        )
        for key in keys
    }


def _check(config: Config, *, forwards: bool) -> None:
    """Raise one `PluginError` with everything that is wrong with the configuration."""
    problems = [*_key_problems(config.keys), *_forward_problems(config)]
    if config.forward and not forwards:
        problems.append(
            "forward: nobody would check what callers present, as the upstream is sent the "
            'gateway\'s own credential; use keys, or upstream.credential = "forward"'
        )
    if problems:
        raise PluginError("\n".join(problems))


def _key_problems(keys: tuple[Key, ...]) -> list[str]:
    problems: list[str] = []
    ids: set[str] = set()
    digests: dict[str, str] = {}
    for index, key in enumerate(keys):
        where = f"keys[{index}] ({key.id[:40]!a})"
        problems += [f"{where}: {problem}" for problem in _entry_problems(key)]
        if key.id in ids:
            problems.append(f"{where}: the id is taken by an earlier key")
        ids.add(key.id)
        first = digests.setdefault(key.sha256.lower(), key.id)
        if first != key.id:
            problems.append(f"{where}: the same sha256 as {first[:40]!a}; make a key for each")
    return problems


def _entry_problems(key: Key) -> list[str]:
    problems: list[str] = []
    if not _NAME.fullmatch(key.id) or _PSEUDONYM.fullmatch(key.id):
        problems.append("id must be letters, digits and . _ : @ + / -, and no cred-… name")
    if not _NAME.fullmatch(key.team):
        problems.append("team must be letters, digits and . _ : @ + / -")
    if not _SHA256.fullmatch(key.sha256):
        problems.append("sha256 must be 64 hex digits, as `tidegate keys new` prints them")
    if key.expires is not None and key.expires.tzinfo is None:
        problems.append("expires needs an offset, such as 2027-01-31T00:00:00Z")
    for network in key.networks:
        try:
            ip_network(network)
        except ValueError as error:
            problems.append(f"networks: {error}")
    return problems


def _forward_problems(config: Config) -> list[str]:
    if not config.forward:
        if not config.keys:
            return ["keys: nobody could come in; add a key (`tidegate keys new`) or forward = true"]
        return ["teams: only used with forward = true; a key names its team"] * bool(config.teams)
    problems = [
        f"teams.{name[:40]!a}: must be cred- and 12 hex digits, as the journal shows it"
        for name in config.teams
        if not _PSEUDONYM.fullmatch(name)
    ]
    problems += [
        f"team {team[:40]!a}: must be letters, digits and . _ : @ + / -"
        for team in sorted({config.default_team, *config.teams.values()})
        if not _NAME.fullmatch(team)
    ]
    return problems


@asynccontextmanager
async def _open(config: Config, host: Host) -> AsyncIterator[Identify]:
    _check(config, forwards=host.forwards_credential)
    secret = obtain(host.state_dir / "identify.key") if config.forward else None
    yield Identify(config, host.clock.now, secret)


plugin: PluginSpec[Config] = PluginSpec(
    config=Config,
    open=_open,
    stage=Stage.IDENTIFY,
    summary="Tells callers apart by gateway key, or by their own credential under a pseudonym.",
)
