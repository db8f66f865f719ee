"""What operators write about identity, and what is wrong with it."""

from datetime import datetime
from urllib.parse import urlsplit

import msgspec

from tidegate.plugin import PluginConfig
from tidegate_plugins.identify.names import LETTERS, NAME, PSEUDONYM, network_problems

SYMMETRIC = ("HS256", "HS384", "HS512", "none")


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


class Issuer(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An identity provider whose tokens are accepted (OpenID Connect, RFC 7519)."""

    issuer: str
    """The claim `iss`, exactly."""
    audience: tuple[str, ...]
    """One of them has to be in the claim `aud`."""
    jwks_url: str = ""
    """Where its keys are; found by OpenID Connect Discovery if empty."""
    algorithms: tuple[str, ...] = ("RS256", "ES256")
    leeway_s: float = 60
    """How far clocks may differ."""
    principal: str = "sub"
    """The claim that names the caller."""
    prefix: str = ""
    """Put before that name, so that nobody is called like somebody else."""
    team: str = ""
    """The claim that tells the team, or groups; `a.b` is `b` in `a`."""
    teams: dict[str, str] = {}
    """Values of that claim and their teams; the first that fits counts."""
    default_team: str = ""
    """The team of those who have none; if empty they are refused, or `none` without `team`."""
    labels: dict[str, str] = {}
    """Names of labels, and the claims that they are taken from."""
    ca_file: str | None = None
    timeout_s: float = 5
    """For one fetch of the keys."""
    refresh_s: float = 300
    """How often they are fetched anew."""
    refetch_s: float = 30
    """How often at most because of a token whose key is not among them."""
    stale_s: float = 86_400
    """How long they are used when the provider does not answer."""


class Trusted(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Headers in which a mesh, or a proxy that terminates mTLS, says who is calling."""

    networks: tuple[str, ...]
    """Where that proxy connects from. The headers count from nowhere else."""
    principal: str = ""
    """The header with the caller's name."""
    team: str = ""
    """The header with the caller's team."""
    certificate: str = ""
    """The header with the client's certificate, `x-forwarded-client-cert`, in place of `principal`."""
    field: str = "URI"
    """What of the certificate is the name: `URI` or `DNS`."""
    prefix: str = ""
    teams: dict[str, str] = {}
    """Globs of names and their teams; the first that fits counts."""
    default_team: str = ""
    """The team of the others; they are refused if it is empty."""


class Reference(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where a secret is."""

    env: str = ""
    file: str = ""


class Config(PluginConfig, frozen=True):
    """Gateway keys, tokens of identity providers, headers of a mesh, the callers' own credentials."""

    keys: tuple[Key, ...] = ()
    key_files: tuple[str, ...] = ()
    """Files with further keys, directories of `*.toml`, or globs. Read again on a reload."""
    issuers: tuple[Issuer, ...] = ()
    trusted: Trusted | None = None
    forward: bool = False
    """Let the caller's own credential through to the upstream."""
    forward_key: Reference | None = None
    """HMAC key of the pseudonyms; made once and kept beside the journal if not given."""
    teams: dict[str, str] = {}
    """With `forward`: the team of a principal, `"cred-…" = "search"`."""
    default_team: str = "none"
    """With `forward`: the team of those not listed."""


def problems_of(config: Config, *, forwards: bool) -> list[str]:
    """Return everything that is wrong, but for the keys."""
    problems = _issuer_list_problems(config.issuers)
    if config.trusted is not None:
        problems += [f"trusted: {problem}" for problem in _trusted_problems(config.trusted)]
    problems += _forward_problems(config)
    if config.forward and not forwards:
        problems.append(
            "forward: nobody would check what callers present, as the upstream is sent the "
            'gateway\'s own credential; use keys, or upstream.credential = "forward"'
        )
    return problems


def _issuer_list_problems(issuers: tuple[Issuer, ...]) -> list[str]:
    problems: list[str] = []
    for index, issuer in enumerate(issuers):
        where = f"issuers[{index}]"
        problems += [f"{where}.{problem}" for problem in _issuer_problems(issuer)]
        for earlier, other in enumerate(issuers[:index]):
            if other.issuer == issuer.issuer:
                problems.append(f"{where}.issuer: is issuers[{earlier}] already")
            elif other.prefix == issuer.prefix:
                problems.append(
                    f"{where}.prefix: the same as that of issuers[{earlier}]: two people could "
                    'get one name; give one of them a prefix such as "partner:"'
                )
    return problems


def _issuer_problems(issuer: Issuer) -> list[str]:
    problems = [
        f"{key}: {problem}"
        for key, url in (("issuer", issuer.issuer), ("jwks_url", issuer.jwks_url))
        if (url or key == "issuer") and (problem := url_problem(url))
    ]
    if not issuer.audience or not all(issuer.audience):
        problems.append("audience: name whom its tokens are for; others would be accepted too")
    symmetric = [name for name in issuer.algorithms if name in SYMMETRIC]
    if symmetric or not issuer.algorithms:
        what = symmetric[0] if symmetric else "nothing"
        problems.append(f"algorithms: {what} proves nothing; use RS256, ES256, EdDSA or the like")
    if not issuer.principal:
        problems.append("principal: name the claim that tells who it is")
    positive = ("timeout_s", "refresh_s", "refetch_s", "stale_s")
    problems += [f"{key}: must be above 0" for key in positive if getattr(issuer, key) <= 0]
    if not 0 <= issuer.leeway_s <= 300:
        problems.append("leeway_s: must be from 0 to 300")
    if issuer.teams and not issuer.team:
        problems.append("team: name the claim that `teams` is about")
    return problems + _team_problems((issuer.default_team, *issuer.teams.values()))


def url_problem(url: str) -> str:
    """Return what is wrong with the URL of an identity provider, or nothing."""
    parts = urlsplit(url)
    if parts.scheme == "http" and parts.hostname in ("127.0.0.1", "::1", "localhost"):
        return ""
    if parts.scheme != "https" or not parts.hostname or parts.username:
        return "must be https://host[/path]"
    return ""


def _team_problems(teams: tuple[str, ...]) -> list[str]:
    return [
        f"team {team[:40]!a}: must be {LETTERS}"
        for team in sorted({*teams})
        if team and not NAME.fullmatch(team)
    ]


_NOT_FOR_NAMES = frozenset(("authorization", "x-api-key", "cookie", "host", "connection"))


def _trusted_problems(trusted: Trusted) -> list[str]:
    problems = network_problems(trusted.networks)
    if not trusted.networks:
        problems.append("networks: name where the proxy connects from")
    if bool(trusted.principal) == bool(trusted.certificate):
        problems.append("name one header: `principal`, or `certificate`")
    for name in filter(None, (trusted.principal, trusted.team, trusted.certificate)):
        lowered = name.lower()
        token = lowered.replace("-", "").replace("_", "")
        if not (token.isascii() and token.isalnum()):
            problems.append(f"{name[:40]!a} is not the name of a header")
        elif lowered in _NOT_FOR_NAMES or lowered.startswith(("anthropic-", "content-")):
            problems.append(f"{name[:40]!a} has another meaning")
    if trusted.field not in ("URI", "DNS"):
        problems.append("field: must be URI or DNS")
    if trusted.team and (trusted.teams or trusted.default_team):
        problems.append("team: the header tells it; leave out `teams` and `default_team`")
    if not (trusted.team or trusted.teams or trusted.default_team):
        problems.append("name a team: by a header (`team`), by `teams`, or `default_team`")
    return problems + _team_problems((trusted.default_team, *trusted.teams.values()))


def _forward_problems(config: Config) -> list[str]:
    if not config.forward:
        problems = []
        if config.teams:
            problems.append("teams: only used with forward = true; a key names its team")
        if config.forward_key is not None:
            problems.append("forward_key: only used with forward = true")
        return problems
    problems = [
        f"teams.{name[:40]!a}: must be cred- and 12 hex digits, as the journal shows it"
        for name in config.teams
        if not PSEUDONYM.fullmatch(name)
    ]
    reference = config.forward_key
    if reference is not None and bool(reference.env) == bool(reference.file):
        problems.append('forward_key: name one place: { env = "NAME" } or { file = "PATH" }')
    if not config.default_team:
        problems.append("default_team: must not be empty")
    return problems + _team_problems((config.default_team, *config.teams.values()))
