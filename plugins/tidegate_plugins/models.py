"""Which models may be asked for, by whom, wherever a request can name one.

`allow` and `deny` hold exact ids and globs. A team's own `allow` takes the place of the
general one; what is denied in general is denied to every team. `deny` wins.
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

import msgspec

from tidegate.errors import PluginError
from tidegate.exchange import Exchange, Request
from tidegate.plugin import ADMIT, Admit, Decision, Host, PluginConfig, PluginSpec, Refuse, Stage
from tidegate.wire.routes import GOVERNED_BODIES
from tidegate.wire.routes import Kind as Route
from tidegate_plugins.model_ids import Pattern, canonical, pattern, shown
from tidegate_plugins.places import Kind, Place, Unreadable, dotted, places

_SHOWN = 8
"""Patterns that a refusal names: enough to find the right one, not a catalogue."""


class Team(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`teams.<team>`: what differs for one team."""

    allow: tuple[str, ...] | None = None
    """In place of the general `allow`."""
    deny: tuple[str, ...] = ()
    """Besides the general `deny`."""


class Config(PluginConfig, frozen=True):
    """Exact model ids (`claude-sonnet-4-6`) or globs (`claude-haiku-*`, `*`)."""

    allow: tuple[str, ...] | None = None
    """Left away beside a `deny`: everything that is not denied."""
    deny: tuple[str, ...] = ()
    teams: dict[str, Team] = {}


@dataclass(frozen=True, slots=True)
class Rules:
    """What holds for one team."""

    allow: tuple[Pattern, ...]
    deny: tuple[Pattern, ...]

    def verdict(self, model: object) -> tuple[bool, str]:
        """Return whether the model may be used, and the rule that says so."""
        plain = canonical(model)
        if plain is None:
            return False, "odd_id"
        for denied in self.deny:
            if denied.denies(plain):
                return False, f"deny:{denied.text}"
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
        general = _rules(config.allow, config.deny, "")
        self._general = general
        self._teams = {
            name: _team(general, team, f"teams.{name}.") for name, team in config.teams.items()
        }

    async def admit(self, exchange: Exchange, request: Request) -> Decision:
        """Refuse if any model that the request could run is not allowed."""
        team = request.principal.team
        rules = self._teams.get(team, self._general)
        kind = exchange.route.kind
        if kind is Route.MODEL:
            model = exchange.route.path.removeprefix("/v1/models/")
            allowed, rule = rules.verdict(model)
            return Admit(rule=rule) if allowed else _refusal(model, "", rule, rules, team)
        if kind not in GOVERNED_BODIES:
            return ADMIT
        try:
            return _decide(request.body.document, rules, team)
        except Unreadable as error:
            return error.refusal()


def _decide(document: dict[str, object], rules: Rules, team: str) -> Decision:
    first = ""
    for place in places(document):
        if place.kind is Kind.SERVERS_CHOICE:
            model: object = "default"
            pointer = place.pointer
            allowed, rule = rules.servers_choice()
        else:
            model = _model(place)
            pointer = f"{place.pointer}/model"
            allowed, rule = rules.verdict(model)
        if not allowed:
            return _refusal(model, pointer, rule, rules, team)
        first = first or rule
    return Admit(rule=first)


def _model(place: Place) -> str:
    model = place.holder.get("model")
    if type(model) is not str:
        raise Unreadable(f"{place.pointer}/model", "must be a string, the id of a model")
    return model


def _refusal(model: object, pointer: str, rule: str, rules: Rules, team: str) -> Refuse:
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


def _rules(allow: Sequence[str] | None, deny: Sequence[str], where: str) -> Rules:
    allowed = ("*",) if allow is None else allow
    return Rules(
        tuple(pattern(text, f"{where}allow[{i}]") for i, text in enumerate(allowed)),
        tuple(pattern(text, f"{where}deny[{i}]", ignore_case=True) for i, text in enumerate(deny)),
    )


def _team(general: Rules, team: Team, where: str) -> Rules:
    own = _rules(team.allow, team.deny, where)
    allow = general.allow if team.allow is None else own.allow
    return Rules(allow, general.deny + own.deny)


@asynccontextmanager
async def _open(config: Config, _host: Host) -> AsyncIterator[Models]:
    if config == Config():
        raise PluginError('models: no rules; write which models may be used: allow = ["…"]')
    if config.allow is None and not config.deny:
        # Teams alone say nothing about everybody else, and "everything" is a poor guess.
        raise PluginError("models: write a general allow (may be empty) beside teams")
    yield Models(config)


plugin: PluginSpec[Config] = PluginSpec(
    config=Config,
    open=_open,
    stage=Stage.AUTHORIZE,
    replayable=True,
    summary="Allows models by exact id or glob, per team, wherever a request can name one.",
)
