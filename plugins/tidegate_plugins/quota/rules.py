"""Limits, made ready: which of them a request falls under, and which counters those are."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from math import ceil
from typing import NamedTuple
from urllib.parse import quote

from tidegate.errors import PluginError
from tidegate.exchange import Request
from tidegate.wire.memo import Memo
from tidegate_plugins.model_ids import canonical, pattern, undated
from tidegate_plugins.quota.amounts import Amounts
from tidegate_plugins.quota.config import Config, Limit, zone_of
from tidegate_plugins.quota.stores import Take
from tidegate_plugins.quota.windows import Always, Calendar, Rolling, Window

NONE = "none"
"""What a label is that a caller does not have: counted, so that nobody slips through."""

Reader = Callable[[Request], str]
Test = Callable[[Request], bool]


class Rule(NamedTuple):
    """One measure of one limit."""

    limit: Limit
    measure: str
    most: int
    soft: int | None
    """Amount from which on requests are marked."""
    window: Window
    prefix: str
    """Of its counters."""
    header: str
    """What the names of its headers begin with."""


class Subject(NamedTuple):
    """Whom a counter is about: scopes and their values."""

    values: tuple[tuple[str, str], ...]


Place = tuple[Rule, Subject, str]
"""A rule that requests of one kind fall under, and the counter."""

REMEMBERED = 4096


class Hit(NamedTuple):
    """A rule that a request falls under, and what it takes there."""

    rule: Rule
    subject: Subject
    take: Take


@dataclass(frozen=True, slots=True)
class Ready:
    """A limit with what its rules have in common."""

    tests: tuple[Test, ...]
    scopes: tuple[tuple[str, Reader], ...]
    rules: tuple[Rule, ...]

    def places(self, request: Request) -> list[Place]:
        """Return where a request counts; nowhere if it does not fall under this limit."""
        if not all(test(request) for test in self.tests):
            return []
        subject = Subject(tuple((scope, read(request)) for scope, read in self.scopes))
        key = counter_key(subject)
        return [(rule, subject, rule.prefix + key) for rule in self.rules]


class Rules:
    """All limits. What they say of one caller and model is remembered."""

    def __init__(self, config: Config, name: str) -> None:
        """Make the limits of a plugin instance ready.

        Raises:
            PluginError: a model's glob is none, or a filter is empty.
        """
        self._limits = tuple(_ready(limit, config, name) for limit in config.limits)
        self._known: Memo[object, tuple[Place, ...]] = Memo(REMEMBERED)
        rules = [rule for ready in self._limits for rule in ready.rules]
        self.priced = any(rule.measure == "usd" for rule in rules)

    def hits(self, request: Request, amounts: Amounts) -> list[Hit]:
        """Return what a request takes, and where."""
        principal = request.principal
        labels = tuple(principal.labels.items()) if principal.labels else ()
        key = (principal.team, principal.id, request.view.model, labels)
        places = self._known.get(key)
        if places is None:
            found = (ready.places(request) for ready in self._limits)
            places = tuple(place for each in found for place in each)
            self._known.put(key, places)
        return [
            Hit(rule, subject, Take(counter, rule.window, amounts[rule.measure], rule.most))
            for rule, subject, counter in places
        ]


def counter_key(subject: Subject) -> str:
    """Return the last part of a counter's name, without a space or a slash."""
    return ",".join(f"{scope}={quote(value, safe='')}" for scope, value in subject.values)


def _ready(limit: Limit, config: Config, name: str) -> Ready:
    scopes = tuple((scope, _reader(scope)) for scope in limit.scopes if scope != "org")
    rules = tuple(
        Rule(
            limit=limit,
            measure=measure,
            most=most,
            soft=None if limit.soft is None else ceil(Decimal(repr(limit.soft)) * most),
            window=_window(limit, config, measure),
            prefix=f"{name}/{limit.name}/{measure}/{_when(limit)}/",
            header=f"x-tidegate-limit-{measure.replace('_', '-')}",
        )
        for measure, most in limit.amounts().items()
    )
    return Ready(tuple(_tests(limit)), scopes, rules)


def _when(limit: Limit) -> str:
    return f"{'rolling-' if limit.rolling else ''}{limit.per or 'always'}"


def _window(limit: Limit, config: Config, measure: str) -> Window:
    if measure == "concurrent" or limit.per is None:
        return Always()
    if limit.rolling:
        return Rolling(limit.per)
    return Calendar(limit.per, zone_of(limit.zone or config.zone))


def _tests(limit: Limit) -> list[Test]:
    tests: list[Test] = []
    if limit.match is not None:
        tests.append(_test(limit.scopes[0], limit.match, f"{limit.name}: match"))
    for scope in ("team", "key", "model"):
        wanted = getattr(limit, scope)
        if wanted is not None:
            tests.append(_test(scope, wanted, f"{limit.name}: {scope}"))
    for label, wanted in limit.labels.items():
        tests.append(_test(f"label:{label}", wanted, f"{limit.name}: labels.{label}"))
    return tests


def _test(scope: str, wanted: str, where: str) -> Test:
    if not wanted:
        raise PluginError(f"{where}: is empty; write a name, or `*` for any characters")
    read = _reader(scope)
    if scope == "model":
        allowed = pattern(wanted, where)
        return lambda request: allowed.allows(read(request))
    if "*" not in wanted:
        return lambda request: read(request) == wanted
    glob = re.compile(".*".join(map(re.escape, wanted.split("*"))), re.DOTALL)
    return lambda request: glob.fullmatch(read(request)) is not None


def _reader(scope: str) -> Reader:
    if scope == "team":
        return lambda request: request.principal.team
    if scope == "key":
        return lambda request: request.principal.id
    if scope == "model":
        return _model
    label = scope.partition(":")[2] or "user"
    return lambda request: request.principal.labels.get(label, NONE)


def _model(request: Request) -> str:
    """Return the model as limits count it: a dated snapshot and `[1m]` are no other model."""
    plain = canonical(request.view.model)
    return "odd" if plain is None else undated(plain)
