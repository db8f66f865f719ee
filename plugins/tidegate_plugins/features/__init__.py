"""What of the API may be used, by whom: endpoints, betas, server tools, sources, tiers.

A request that uses something it may not is refused whole, with the field named: taking a
header or a field out would leave its other half behind, which the API does not accept.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from tidegate.errors import PluginError
from tidegate.exchange import Exchange, Request
from tidegate.plugin import ADMIT, Admit, Decision, Host, PluginSpec, Refuse, Stage
from tidegate.wire.routes import BATCH_KINDS, CLOSED, FILE_KINDS, GOVERNED_BODIES, Kind
from tidegate_plugins.features.config import Area, Config, Rules
from tidegate_plugins.features.known import BETAS
from tidegate_plugins.features.rules import AREAS, Words, compile_area
from tidegate_plugins.features.uses import Use, tool_kind, uses
from tidegate_plugins.model_ids import shown
from tidegate_plugins.places import dotted


@dataclass(frozen=True, slots=True)
class Ruling:
    """What holds for one team."""

    areas: dict[str, Words]
    stream: str | None

    def refusal(self, use: Use, team: str) -> Refuse | None:
        """Return the refusal of one use, or None."""
        words = self.areas.get(use.area)
        if words is None:
            return None
        names = _names(use)
        rule = words.refuses(names)
        return None if rule is None else _refuse(use, rule, names, team)


class Features:
    """The policy."""

    def __init__(self, config: Config) -> None:
        self._general = _ruling(config, None, "")
        self._teams = {
            name: _ruling(config, team, f"teams.{name}.") for name, team in config.teams.items()
        }

    async def admit(self, exchange: Exchange, request: Request) -> Decision:
        """Refuse if the request uses anything that it may not."""
        team = request.principal.team
        ruling = self._teams.get(team, self._general)
        kind = exchange.route.kind
        refusal = self._at_all(exchange, ruling, team)
        if refusal is not None:
            return refusal
        if kind not in GOVERNED_BODIES:
            return Admit(opens=True, rule="endpoints") if kind in CLOSED else ADMIT
        for use in uses(request.body):
            refusal = ruling.refusal(use, team)
            if refusal is not None:
                return refusal
        return _stream(exchange, request, ruling) or ADMIT

    def _at_all(self, exchange: Exchange, ruling: Ruling, team: str) -> Refuse | None:
        """Judge what does not stand in the body: the endpoint and the headers."""
        found = [Use("endpoints", _endpoint(exchange), "")]
        found += [Use("betas", value, "") for value in betas(exchange)]
        found += [Use("headers", name, "") for name in ACCOUNT_HEADERS if name in exchange.headers]
        return next((no for use in found if (no := ruling.refusal(use, team)) is not None), None)


ACCOUNT_HEADERS = ("anthropic-workspace-id", "anthropic-user-profile-id")


def betas(exchange: Exchange) -> list[str]:
    """Return the values of `anthropic-beta`, of all its lines."""
    if "anthropic-beta" not in exchange.headers:
        return []
    return [beta.strip() for beta in exchange.headers["anthropic-beta"].split(",") if beta.strip()]


def _endpoint(exchange: Exchange) -> str:
    """The endpoint's name for rules; a request of a batch is one of the batch's endpoint."""
    kind = exchange.route.kind
    if kind in BATCH_KINDS or exchange.route.path == "/v1/messages/batches":
        return "batches"
    if kind in FILE_KINDS:
        return "files"
    return "models" if kind is Kind.MODEL else kind.value


def _stream(exchange: Exchange, request: Request, ruling: Ruling) -> Refuse | None:
    if ruling.stream is None or exchange.route.path != "/v1/messages":
        return None
    if request.view.stream == (ruling.stream == "required"):
        return None
    wanted = "true" if ruling.stream == "required" else "false"
    return Refuse(
        status=400,
        error_type="invalid_request_error",
        message=f"stream: must be {wanted} here",
        rule=f"stream:{ruling.stream}",
        pointer="/stream",
    )


def _names(use: Use) -> tuple[str, ...]:
    """Everything by which a rule may mean this use."""
    if use.area == "tools":
        kind = tool_kind(use.value)
        return use.value, kind.family, kind.runs
    if use.area == "betas" and use.value not in BETAS:
        return use.value, "unknown"
    return (use.value,)


_SAID = {
    "endpoints": "the endpoint",
    "betas": "anthropic-beta: the value",
    "tools": "the tool type",
    "fields": "the field",
    "mcp_hosts": "an MCP server at",
    "url_hosts": "fetching from",
    "url_schemes": "a URL with the scheme",
    "sources": "a source of the type",
    "skills": "the skill",
    "service_tiers": "the service tier",
    "speeds": "the speed",
    "inference_geos": "the geography",
    "headers": "the header",
}


def _refuse(use: Use, rule: str, names: tuple[str, ...], team: str) -> Refuse:
    where = f"{dotted(use.pointer)}: " if use.pointer else ""
    runs = f" (run by the {names[2]})" if use.area == "tools" and names[2] != "unknown" else ""
    value = ascii(use.value)[:80]
    return Refuse(
        status=403,
        error_type="permission_error",
        message=f"{where}{_SAID[use.area]} {value}{runs} is not allowed here for team {shown(team)}",
        rule=f"{use.area}:{rule}",
        pointer=use.pointer,
    )


def _ruling(config: Config, team: Rules | None, where: str) -> Ruling:
    areas = {}
    for name in AREAS:
        own = getattr(team, name) if team is not None else None
        area: Area | None = own if own is not None else getattr(config, name)
        words = compile_area(name, area, f"{where if own is not None else ''}{name}")
        if words is not None:
            areas[name] = words
    stream = team.stream if team is not None and team.stream is not None else config.stream
    return Ruling(areas, stream)


@asynccontextmanager
async def _open(config: Config, _host: Host) -> AsyncIterator[Features]:
    if config == Config():
        raise PluginError('features: no rules; write one, such as tools.deny = ["server"]')
    yield Features(config)


plugin: PluginSpec[Config] = PluginSpec(
    config=Config,
    open=_open,
    stage=Stage.AUTHORIZE,
    replayable=True,
    summary="Decides what of the API may be used: endpoints, betas, server tools, URLs, tiers.",
)
