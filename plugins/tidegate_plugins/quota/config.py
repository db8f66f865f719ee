"""What users write for the plugin: a store, prices, and limits."""

import re
from datetime import UTC, tzinfo
from decimal import Decimal
from typing import Annotated
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec

from tidegate.plugin import PluginConfig
from tidegate_plugins.quota.windows import Per

NANO = 1_000_000_000
_SCOPE = re.compile(r"org|team|key|model|label(:[a-z0-9][a-z0-9_.-]*)?")

Amount = Annotated[int, msgspec.Meta(ge=0)]
Seconds = Annotated[float, msgspec.Meta(gt=0)]
Name = Annotated[str, msgspec.Meta(pattern="^[a-z0-9][a-z0-9_.-]{0,63}$")]


class Secret(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where a password is: an environment variable, or a file."""

    env: str = ""
    file: str = ""

    def __post_init__(self) -> None:
        if bool(self.env) == bool(self.file):
            raise ValueError("give either `env` or `file`")


class Limit(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How much of what, for whom, in which time."""

    name: Name
    scope: str | tuple[str, ...]
    """What is counted apart: `org`, `team`, `key`, `model`, `label:NAME`, or several of them."""
    match: str | None = None
    """Only these teams (keys, …) of the first scope; `*` for any characters."""
    team: str | None = None
    key: str | None = None
    model: str | None = None
    labels: dict[str, str] = {}
    """Only requests of that team, key, model and labels; `*` for any characters."""
    per: Per | None = None
    rolling: bool = False
    """The last minute, hour, … (a month: 30 days) in place of the calendar's."""
    zone: str | None = None
    requests: Amount | None = None
    input_tokens: Amount | None = None
    """The whole prompt, cache reads and writes included."""
    output_tokens: Amount | None = None
    tokens: Amount | None = None
    """Both."""
    usd: Annotated[float, msgspec.Meta(ge=0)] | None = None
    concurrent: Amount | None = None
    soft: Annotated[float, msgspec.Meta(gt=0, le=1)] | None = None
    """Share of the limit from which on each request is marked."""

    def __post_init__(self) -> None:
        for scope in self.scopes:
            if not _SCOPE.fullmatch(scope):
                raise ValueError(
                    f"scope: {scope!r} is none of org, team, key, model, label, label:NAME"
                )
        if len(set(self.scopes)) != len(self.scopes) or not self.scopes:
            raise ValueError("scope: name each once, and at least one")
        if self.match is not None and self.scopes[0] == "org":
            raise ValueError("match: there is only one organization; use team, key or model")
        self._check_measures()
        if self.zone is not None:
            zone_of(self.zone)

    def _check_measures(self) -> None:
        windowed = [name for name in WINDOWED if getattr(self, name) is not None]
        if not windowed and self.concurrent is None:
            raise ValueError(f"limits nothing; give one of {', '.join(WINDOWED)}, concurrent")
        if windowed and self.per is None:
            raise ValueError(f"{windowed[0]} needs `per`: minute, hour, day, week or month")
        if not windowed and (self.per is not None or self.rolling):
            raise ValueError("concurrent has no window; leave `per` and `rolling` away")
        if self.usd is not None:
            nanodollars(self.usd)
        if self.rolling and self.zone is not None:
            raise ValueError("a rolling window has no zone")

    @property
    def scopes(self) -> tuple[str, ...]:
        """The scopes, also where only one is written."""
        return (self.scope,) if isinstance(self.scope, str) else self.scope

    def amounts(self) -> dict[str, int]:
        """Return what is limited, by measure; dollars in nanodollars."""
        found = {name: getattr(self, name) for name in (*WINDOWED, "concurrent")}
        given = {name: value for name, value in found.items() if value is not None}
        if self.usd is not None:
            given["usd"] = nanodollars(self.usd)
        return given


WINDOWED = ("requests", "input_tokens", "output_tokens", "tokens", "usd")


class Config(PluginConfig, frozen=True):
    """Budgets and rate limits, and where they are counted."""

    limits: Annotated[tuple[Limit, ...], msgspec.Meta(min_length=1)]
    store: str = "sqlite"
    """`memory`, `sqlite` (a file beside the journal), `sqlite:PATH`, `redis://HOST:PORT/DB`,
    `rediss://…` or `unix://PATH`."""
    password: Secret | None = None
    """Of a Redis store."""
    prefix: Name = "tidegate"
    """Of all keys in a Redis store; gateways with the same prefix share their limits."""
    timeout_s: Seconds = 1.0
    """How long the store may take for one operation."""
    prices: str | None = None
    """A file that adds to the shipped price table and overrides it."""
    zone: str = "UTC"
    """Time zone of the calendar, for limits that name no other."""
    lease_s: Annotated[float, msgspec.Meta(ge=3)] = 60.0
    """How long a reservation outlives its worker."""

    def __post_init__(self) -> None:
        names = [limit.name for limit in self.limits]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"two limits are called {name!r}")
        zone_of(self.zone)


def nanodollars(dollars: float) -> int:
    """Return dollars, as they are written, in nanodollars.

    Raises:
        ValueError: it has more decimals.
    """
    nano = Decimal(repr(dollars)) * NANO
    if not nano.is_finite() or nano != int(nano):
        raise ValueError(f"usd: {dollars} has more than 9 decimals")
    return int(nano)


def zone_of(name: str) -> tzinfo:
    """Return a time zone.

    Raises:
        ValueError: there is none of that name on this machine.
    """
    try:
        return UTC if name == "UTC" else ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError(f"zone: there is no {name!r}; write one such as Europe/Berlin") from None
