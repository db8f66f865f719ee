"""How much one request may ask for: output tokens, thinking, effort, a task's budget.

Only `max_tokens` is ever clamped, or put in where it is absent. The others are part of what the provider caches and of
what the model does, and lowering them behind the caller's back would surprise both.
"""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import msgspec

from tidegate.errors import PluginError
from tidegate.exchange import Exchange, Request
from tidegate.plugin import (
    ADMIT,
    NOT_CONCERNED,
    Admit,
    Decision,
    Host,
    PluginSpec,
    Refuse,
    Stage,
)
from tidegate.wire.body import Body, insertion, replacements
from tidegate.wire.routes import Kind as Route
from tidegate_plugins.caps import Caps, Config, Rules, compile_rules
from tidegate_plugins.model_ids import shown
from tidegate_plugins.places import Json, Kind, Place, Unreadable, bad_request, dotted, places

EFFORTS = ("low", "medium", "high", "xhigh", "max")
INTERLEAVED = "interleaved-thinking-"
"""The beta under which `budget_tokens` may exceed `max_tokens` (messages-api sheet, 2.6)."""
UNSAID_EFFORT = "high"
"""What the API takes where a request says nothing."""


@dataclass(frozen=True, slots=True)
class Clamp:
    """A `max_tokens` to lower, or to put in."""

    pointer: str
    cap: int
    absent: bool = False


Clamps = dict[str, Clamp]
"""By pointer."""


class Refused(Exception):
    """Carries the refusal out of the checks."""

    def __init__(self, refusal: Refuse) -> None:
        super().__init__(refusal.rule)
        self.refusal = refusal


def _refuse(pointer: str, message: str, rule: str) -> Refused:
    return Refused(bad_request(pointer, message, rule))


class Pass(msgspec.Struct, frozen=True):
    """One run of a model: the request, or a fallback, which inherits what it does not say."""

    place: Place
    document: Json
    caps: Caps
    """What applies to its model."""
    interleaved: bool = False
    """Thinking may go on between tool calls, and its budget beyond one `max_tokens`."""

    def find(self, key: str) -> tuple[Any, str, bool]:
        """Return the value that counts, its pointer, and whether it was inherited."""
        own = self.place.holder.get(key)
        if own is not None or self.place.kind is Kind.REQUEST:
            return own, f"{self.place.pointer}/{key}", False
        if self.place.kind is Kind.TOOL:
            return None, f"{self.place.pointer}/{key}", False
        return self.document.get(key), f"/{key}", True

    @property
    def model(self) -> object:
        """The id as written; a wrong type finds the general caps."""
        return self.place.holder.get("model")


class Limits:
    """The policy."""

    def __init__(self, config: Config) -> None:
        self._general, self._teams = compile_rules(config)

    async def admit(self, exchange: Exchange, request: Request) -> Decision:
        """Refuse what asks for too much, or lower its `max_tokens`."""
        if exchange.route.kind is not Route.MESSAGES:
            return NOT_CONCERNED  # nothing else produces tokens
        rules = self._teams.get(request.principal.team, self._general)
        interleaved = INTERLEAVED in exchange.headers.get("anthropic-beta", "")
        try:
            clamps = _check(request.body, rules, interleaved=interleaved)
        except Refused as refused:
            return refused.refusal
        except Unreadable as unreadable:
            return unreadable.refusal()
        return _clamped(request.body, clamps) if clamps else ADMIT


def _check(body: Body, rules: Rules, *, interleaved: bool) -> Clamps:
    """Check every run. The request comes first, as its clamp is what fallbacks inherit."""
    clamps: Clamps = {}
    document = body.frame
    for place in places(body):
        if place.kind is Kind.SERVERS_CHOICE:
            continue
        caps = rules.caps(place.holder.get("model"))
        run = Pass(place, document, caps, interleaved)
        clamp = _max_tokens(run, rules, clamps)
        if place.kind is not Kind.TOOL:
            _thinking(run, clamp)
            _output_config(run)
        if clamp is not None:
            clamps[clamp.pointer] = clamp
    if body.mentions("output_config"):
        _messages(body.document, rules)
    return clamps


def _max_tokens(run: Pass, rules: Rules, clamps: Clamps) -> Clamp | None:
    """Return the clamp that this run is under: its own, or the request's that it inherits."""
    value, pointer, inherited = run.find("max_tokens")
    if value is None and run.place.kind is Kind.TOOL:
        return None
    if run.place.kind is Kind.REQUEST and "max_tokens" not in run.document:
        return _absent(run)
    lowered = clamps.get(pointer)
    if lowered is None or not lowered.absent:
        _integer(value, pointer)
    if lowered is not None:
        value = lowered.cap
    cap = run.caps.max_tokens
    if cap is None or value <= cap:
        return lowered
    if inherited:  # lowering the request for the sake of a fallback would not be fair
        pointer = f"{run.place.pointer}/max_tokens"
    elif rules.clamp:
        return Clamp(pointer, cap)
    raise _refuse(pointer, _at_most(cap, run.model), "max_tokens")


def _absent(run: Pass) -> Clamp | None:
    """Return what to put in; without a default the API's own rule stands, which requires it."""
    default, cap = run.caps.default_max_tokens, run.caps.max_tokens
    if default is None:
        raise _refuse("/max_tokens", "field required", "max_tokens")
    return Clamp("/max_tokens", default if cap is None else min(default, cap), absent=True)


def _thinking(run: Pass, clamp: Clamp | None) -> None:
    thinking, pointer, _ = run.find("thinking")
    if thinking is None:
        return
    budget = _member(thinking, pointer, "budget_tokens")
    if budget is None:
        return
    pointer += "/budget_tokens"
    _integer(budget, pointer)
    cap = run.caps.budget_tokens
    if cap is not None and budget > cap:
        raise _refuse(pointer, _at_most(cap, run.model), "budget_tokens")
    if clamp is not None and budget >= clamp.cap and not run.interleaved:
        why = f"max_tokens is {clamp.cap} here, and this has to be less; set both lower"
        raise _refuse(pointer, why, "budget_tokens")


def _output_config(run: Pass) -> None:
    config, pointer, _ = run.find("output_config")
    effort = _member(config, pointer, "effort")
    _effort(effort, f"{pointer}/effort", run.caps, run.model)
    if config is None:
        return
    budget = _member(config, pointer, "task_budget")
    pointer += "/task_budget"
    for name in ("total", "remaining"):
        tokens = _member(budget, pointer, name)
        if tokens is None:
            continue
        _integer(tokens, f"{pointer}/{name}")
        cap = run.caps.task_budget
        if cap is not None and tokens > cap:
            raise _refuse(f"{pointer}/{name}", _at_most(cap, run.model), "task_budget")


def _effort(effort: object, pointer: str, caps: Caps, model: object) -> None:
    cap = caps.effort
    if cap is None:
        return
    asked = UNSAID_EFFORT if effort is None else effort
    if asked not in EFFORTS:
        raise _refuse(pointer, f"must be one of {', '.join(EFFORTS)}", "effort")
    if EFFORTS.index(asked) > EFFORTS.index(cap):
        unsaid = f", and saying nothing means {UNSAID_EFFORT}" if effort is None else ""
        raise _refuse(pointer, f"at most {cap} is allowed for {shown(model)}{unsaid}", "effort")


def _messages(document: Json, rules: Rules) -> None:
    """System messages inside the conversation can raise the effort again."""
    messages, model = document.get("messages"), document.get("model")
    caps = rules.caps(model)
    for index, message in enumerate(messages if type(messages) is list else ()):
        config = message.get("output_config") if type(message) is dict else None
        if config is not None:
            pointer = f"/messages/{index}/output_config"
            effort = _member(config, pointer, "effort")
            if effort is not None:
                _effort(effort, f"{pointer}/effort", caps, model)


def _member(value: object, pointer: str, key: str) -> Any:
    if value is None:
        return None
    if type(value) is not dict:
        raise Unreadable(pointer, "must be an object")
    return value.get(key)


def _integer(value: object, pointer: str) -> None:
    if type(value) is not int:  # a bool, 8192.0 or "8192" could count for less elsewhere
        raise Unreadable(pointer, "must be an integer")


def _at_most(cap: int, model: object) -> str:
    return f"at most {cap} is allowed for {shown(model)}; ask for less"


def _clamped(body: Body, clamps: Clamps) -> Admit:
    lowered = {one.pointer: one.cap for one in clamps.values() if not one.absent}
    absent = [one.cap for one in clamps.values() if one.absent]
    put_in = [insertion(body, "", "max_tokens", cap, "default_max_tokens") for cap in absent]
    return Admit(
        edits=(*put_in, *replacements(body, lowered, "max_tokens")),
        rule="default_max_tokens" if put_in else "max_tokens",
        headers=tuple(_announced(clamps)),
    )


def _announced(clamps: Clamps) -> Iterator[tuple[str, str]]:
    top = clamps.get("/max_tokens")
    if top is not None:
        yield "x-tidegate-max-tokens", str(top.cap)
    elsewhere = [f"{dotted(c.pointer)}={c.cap}" for c in clamps.values() if c is not top]
    if elsewhere:  # a header is no place for a long list; the record has every edit
        yield "x-tidegate-clamped", ", ".join(elsewhere[:8])


@asynccontextmanager
async def _open(config: Config, _host: Host) -> AsyncIterator[Limits]:
    if config in (Config(), Config(over="clamp")):
        raise PluginError("limits: no limit is set; write one, such as max_tokens = 8192")
    yield Limits(config)


plugin: PluginSpec[Config] = PluginSpec(
    config=Config,
    open=_open,
    stage=Stage.AUTHORIZE,
    replayable=True,
    summary="Caps max_tokens, thinking budgets, effort and task budgets, by model and team.",
)
