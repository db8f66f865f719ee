"""What a token says, once its signature has been checked: for whom, how long, who (RFC 7519)."""

from collections.abc import Mapping
from typing import Any, cast

from tidegate.exchange import Principal
from tidegate.plugin import Refuse
from tidegate_plugins.identify.config import Issuer
from tidegate_plugins.identify.names import CLAIMED, NAME, PSEUDONYM
from tidegate_plugins.identify.refusals import unauthenticated

MAX_LABEL = 200
GENERIC = "this gateway does not accept the token: sign in again, or ask the gateway's operators for access"
"""What is said whatever is wrong with a token; the record's rule tells."""

EXPIRED = "the token has expired: sign in again"

Claims = Mapping[str, Any]


def timely(claims: Claims, issuer: Issuer, now: float) -> Refuse | None:
    """Return a refusal if the token is not valid now, or for somebody else."""
    leeway = issuer.leeway_s
    expires, begins, issued = (claims.get(name) for name in ("exp", "nbf", "iat"))
    begun = [at for at in (begins, issued) if at is not None]
    if not all(map(_is_number, (expires, *begun))):
        return unauthenticated("bad_claim", GENERIC)
    if now >= cast("float", expires) + leeway:
        return unauthenticated("expired_token", EXPIRED)
    if any(now + leeway < at for at in begun):
        return unauthenticated("not_yet_valid", GENERIC)
    audience = claims.get("aud")
    meant = audience if isinstance(audience, list) else [audience]
    if claims.get("iss") != issuer.issuer or not any(each in issuer.audience for each in meant):
        return unauthenticated("wrong_audience", GENERIC)
    return None


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and abs(value) < 1e15


def principal_of(claims: Claims, issuer: Issuer, taken: frozenset[str]) -> Principal | Refuse:
    """Return who it is, or the refusal of somebody without a usable name or team."""
    subject = claim(claims, issuer.principal)
    name = issuer.prefix + subject if isinstance(subject, str) and subject else ""
    if not CLAIMED.fullmatch(name) or PSEUDONYM.fullmatch(name):
        return unauthenticated("bad_claim", GENERIC)
    if name in taken:
        return unauthenticated("name_taken", GENERIC)
    team = team_of(claims, issuer)
    if not NAME.fullmatch(team):
        return Refuse(
            status=403,
            error_type="permission_error",
            message="you belong to no team that may use this gateway: ask the gateway's operators",
            rule="no_team",
        )
    return Principal(id=name, team=team, labels={"credential": "token", **_labels(claims, issuer)})


def team_of(claims: Claims, issuer: Issuer) -> str:
    """Return the team, or nothing."""
    if not issuer.team:
        return issuer.default_team or "none"
    found = claim(claims, issuer.team)
    values = [
        value for value in (found if isinstance(found, list) else [found]) if isinstance(value, str)
    ]
    if issuer.teams:
        mapped = (team for value, team in issuer.teams.items() if value in values)
        return next(mapped, issuer.default_team)
    # Which of several groups is the team, only `teams` could tell.
    return values[0] if len(values) == 1 else issuer.default_team


def _labels(claims: Claims, issuer: Issuer) -> dict[str, str]:
    found = {name: claim(claims, path) for name, path in issuer.labels.items()}
    return {name: value[:MAX_LABEL] for name, value in found.items() if isinstance(value, str)}


def claim(claims: Claims, path: str) -> Any:
    """Return a claim by its name, or by its path within others: `realm_access.roles`."""
    if path in claims:
        return claims[path]
    value: Any = claims
    for part in path.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    return value
