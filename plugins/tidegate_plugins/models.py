"""Which models may be asked for, by whom, wherever a request can name one.

`allow` and `deny` hold exact ids, globs and families. A team's own `allow` takes the place of
the general one; what is denied in general is denied to every team. `deny` wins. An alias
becomes the id it stands for before the request leaves. The list of models is answered here:
what this caller may use, and no more.
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Literal

import msgspec

from tidegate.errors import PluginError
from tidegate.exchange import Exchange, Request
from tidegate.plugin import (
    NOT_CONCERNED,
    Admit,
    Answer,
    Decision,
    Host,
    PluginConfig,
    PluginSpec,
    Refuse,
    Stage,
)
from tidegate.wire.body import Body, replacements
from tidegate.wire.memo import Memo
from tidegate.wire.routes import GOVERNED_BODIES
from tidegate.wire.routes import Kind as Route
from tidegate_plugins.model_ids import Pattern, canonical, pattern, shown
from tidegate_plugins.model_list import CATALOGUE, BadQuery, Entry, describe, known, page
from tidegate_plugins.places import Kind, Place, Unreadable, bad_request, dotted, places

REMEMBERED = 4096
MAX_REMEMBERED = 256
"""Characters of a model that is remembered; callers may make any number up, of any length."""

_SHOWN = 8
"""Patterns that a refusal names: enough to find the right one, not a catalogue."""


class Team(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`teams.<team>`: what differs for one team."""

    allow: tuple[str, ...] | None = None
    """In place of the general `allow`."""
    deny: tuple[str, ...] = ()
    """Besides the general `deny`."""
    aliases: dict[str, str] = {}
    """Besides the general ones, or in their place."""


class Config(PluginConfig, frozen=True):
    """Exact ids (`claude-sonnet-4-6`), globs (`claude-haiku-*`, `*`), `family:haiku`."""

    allow: tuple[str, ...] | None = None
    """Left away beside a `deny`: everything that is not denied."""
    deny: tuple[str, ...] = ()
    aliases: dict[str, str] = {}
    """`fast = "claude-haiku-4-5"`: a name that callers may send, and the id that leaves."""
    catalogue: dict[str, str] = {}
    """Further ids for the list of models, with the names to show."""
    listing: Literal["answer", "forward"] = "answer"
    """Who answers `GET /v1/models`: the gateway, or the upstream, with all that it has."""
    teams: dict[str, Team] = {}


class Ruling(msgspec.Struct, frozen=True):
    """What holds for one model as a caller wrote it."""

    target: str
    """The id that leaves."""
    allowed: bool
    rule: str
    admit: Admit
    """The decision on a request that runs nothing but this model, as it is."""


@dataclass(frozen=True, slots=True)
class Rules:
    """What holds for one team."""

    allow: tuple[Pattern, ...]
    deny: tuple[Pattern, ...]
    aliases: dict[str, str]
    _known: Memo[str, Ruling] = field(default_factory=lambda: Memo(REMEMBERED), compare=False)
    """By the model as written."""

    def ruling(self, model: str) -> Ruling:
        """Return what holds for a model; it is remembered, so that few rules cost what many do."""
        ruling = self._known.get(model)
        if ruling is None:
            target = self.target(model)
            allowed, rule = _weigh(model, target, self)
            ruling = Ruling(target, allowed, rule, Admit(rule=rule))
            if len(model) <= MAX_REMEMBERED:
                self._known.put(model, ruling)
        return ruling

    def target(self, model: str) -> str:
        """Return the id that leaves for a model as the caller wrote it."""
        plain = canonical(model)
        return model if plain is None else self.aliases.get(plain, model)

    def denied(self, model: str) -> str:
        """Return the rule that denies a name, or nothing."""
        plain = canonical(model) or ""
        return next((f"deny:{one.text}" for one in self.deny if one.denies(plain)), "")

    def verdict(self, model: str) -> tuple[bool, str]:
        """Return whether the model may be used, and the rule that says so."""
        plain = canonical(model)
        if plain is None:
            return False, "odd_id"
        if denied := self.denied(model):
            return False, denied
        for allowed in self.allow:
            if allowed.allows(plain):
                return True, f"allow:{allowed.text}"
        return False, "not_allowed"

    def servers_choice(self) -> tuple[bool, str]:
        """Whether the provider may pick: only where every model is as good as any other."""
        everything = any(allowed.text == "*" for allowed in self.allow)
        if everything and not self.deny:
            return True, "allow:*"
        return False, "not_allowed"

    def hint(self) -> str:
        """What the caller may ask for instead."""
        if not self.allow:
            return "no model is allowed"
        return f"allowed: {_listed(self.allow)}" + (
            f", but not {_listed(self.deny)}" if self.deny else ""
        )


def _listed(patterns: Sequence[Pattern]) -> str:
    more = len(patterns) - _SHOWN
    listed = ", ".join(item.text for item in patterns[:_SHOWN])
    return f"{listed} and {more} more" if more > 0 else listed


class Models:
    """The policy."""

    def __init__(self, config: Config) -> None:
        general = _rules(config.allow, config.deny, config.aliases, "")
        self._general = general
        self._teams = {
            name: _team(general, config.aliases, team, f"teams.{name}.")
            for name, team in config.teams.items()
        }
        self._answers = config.listing == "answer"
        self._extra = tuple(Entry(id_, shown_) for id_, shown_ in config.catalogue.items())

    async def admit(self, exchange: Exchange, request: Request) -> Decision:
        """Refuse if any model that the request could run is not allowed."""
        team = request.principal.team
        rules = self._teams.get(team, self._general)
        kind = exchange.route.kind
        if kind is Route.MODEL:
            return self._one(exchange.route.path.removeprefix("/v1/models/"), rules, team)
        if kind is Route.MODELS:
            return self._list(exchange.route.query, rules)
        if kind not in GOVERNED_BODIES:
            return NOT_CONCERNED
        try:
            return _decide(request.body, rules, team)
        except Unreadable as error:
            return error.refusal()

    def _one(self, model: str, rules: Rules, team: str) -> Decision:
        target = rules.target(model)
        allowed, rule = _weigh(model, target, rules)
        if not allowed:
            return _refusal(model, "", rule, rules, team)
        entry = next((entry for entry in listed(rules, self._extra) if entry.id == model), None)
        entry = entry or known(canonical(target) or "")
        if entry is None or not self._answers:
            return Admit(rule=rule)
        return Answer(body=msgspec.json.encode(describe(entry)), rule=rule)

    def _list(self, query: str, rules: Rules) -> Decision:
        if not self._answers:
            return NOT_CONCERNED
        try:
            return Answer(body=page(listed(rules, self._extra), query), rule="list")
        except BadQuery as error:
            return bad_request("", str(error), "query")


def listed(rules: Rules, extra: Sequence[Entry]) -> list[Entry]:
    """Return what a caller may use: aliases, configured ids, and what the catalogue has."""
    aliases = [Entry(name, f"{name} ({target})") for name, target in sorted(rules.aliases.items())]
    exact = [
        Entry(one.text, one.text) for one in rules.allow if one.glob is None and not one.family
    ]
    found = {entry.id: entry for entry in (*aliases, *extra, *CATALOGUE)}
    for entry in exact:
        if known(entry.id) is None:
            found.setdefault(entry.id, entry)
    return [entry for name, entry in found.items() if _weigh(name, rules.target(name), rules)[0]]


def _weigh(model: str, target: str, rules: Rules) -> tuple[bool, str]:
    """Weigh what was asked and what will leave: an alias must not get past a `deny`."""
    allowed, rule = rules.verdict(target)
    if allowed and target != model:
        denied = rules.denied(model)
        return (False, denied) if denied else (True, f"alias:{canonical(model)}")
    return allowed, rule


def _decide(body: Body, rules: Rules, team: str) -> Decision:
    first: Ruling | None = None
    resolved: dict[str, str] = {}
    for place in places(body):
        model, pointer, ruling = _ruling(place, rules)
        if not ruling.allowed:
            return _refusal(model, pointer, ruling.rule, rules, team)
        if ruling.target != model:
            resolved[pointer] = ruling.target
        first = first or ruling
    if first is None:
        raise AssertionError("a request is a place itself")
    return _resolved(body, resolved, first.rule) if resolved else first.admit


def _ruling(place: Place, rules: Rules) -> tuple[str, str, Ruling]:
    """Return the model that is run at a place, the pointer to it, and what holds for it."""
    if place.kind is Kind.SERVERS_CHOICE:
        allowed, rule = rules.servers_choice()
        return "default", place.pointer, Ruling("default", allowed, rule, Admit(rule=rule))
    model = _model(place)
    return model, f"{place.pointer}/model", rules.ruling(model)


def _resolved(body: Body, resolved: dict[str, str], rule: str) -> Admit:
    top = resolved.get("/model")
    headers = (("x-tidegate-model", top),) if top else ()
    return Admit(edits=replacements(body, resolved, "alias"), rule=rule, headers=headers)


def _model(place: Place) -> str:
    model = place.holder.get("model")
    if type(model) is not str:
        raise Unreadable(f"{place.pointer}/model", "must be a string, the id of a model")
    return model


def _refusal(model: str, pointer: str, rule: str, rules: Rules, team: str) -> Refuse:
    where = f" ({dotted(pointer)})" if pointer.count("/") > 1 or model == "default" else ""
    why = f"is not allowed here for team {shown(team)}; {rules.hint()}"
    if rule == "odd_id":
        why = "is not the id of a model: ids are letters, digits and . _ : @ / -"
    return Refuse(
        status=404,
        error_type="not_found_error",
        message=f"model: {shown(model)}{where} {why}",
        rule=rule,
        pointer=pointer,
    )


def _rules(
    allow: Sequence[str] | None, deny: Sequence[str], aliases: dict[str, str], where: str
) -> Rules:
    allowed = ("*",) if allow is None else allow
    for name, target in aliases.items():
        _check_alias(name, target, aliases, f"{where}aliases")
    return Rules(
        tuple(pattern(text, f"{where}allow[{i}]") for i, text in enumerate(allowed)),
        tuple(pattern(text, f"{where}deny[{i}]", ignore_case=True) for i, text in enumerate(deny)),
        aliases,
    )


def _check_alias(name: str, target: str, aliases: dict[str, str], where: str) -> None:
    if canonical(name) != name:
        raise PluginError(f"{where}: {name[:80]!a} cannot be a name for a model")
    if canonical(target) is None:
        raise PluginError(f"{where}.{name}: {target[:80]!a} is not the id of a model")
    if target in aliases:
        raise PluginError(f"{where}.{name}: {target} is an alias itself; name the model")


def _team(general: Rules, aliases: dict[str, str], team: Team, where: str) -> Rules:
    own = _rules(team.allow, team.deny, {**aliases, **team.aliases}, where)
    allow = general.allow if team.allow is None else own.allow
    return Rules(allow, general.deny + own.deny, own.aliases)


@asynccontextmanager
async def _open(config: Config, _host: Host) -> AsyncIterator[Models]:
    if config == Config():
        raise PluginError('models: no rules; write which models may be used: allow = ["…"]')
    if config.allow is None and not config.deny and not config.aliases:
        # Teams alone say nothing about everybody else, and "everything" is a poor guess.
        raise PluginError("models: write a general allow (may be empty) beside teams")
    yield Models(config)


plugin: PluginSpec[Config] = PluginSpec(
    config=Config,
    open=_open,
    stage=Stage.AUTHORIZE,
    replayable=True,
    summary="Allows models by id, glob or family, per team; resolves aliases; lists models.",
)
