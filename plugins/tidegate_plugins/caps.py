"""What the policy `limits` is configured with, and which cap counts.

The most specific one, each field on its own: a team's models, the team, models, the
general one; among models the exact id, then the glob with the longest literal beginning.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from msgspec import Meta

from tidegate.plugin import PluginConfig
from tidegate.wire.memo import Memo
from tidegate_plugins.model_ids import Pattern, canonical, pattern

REMEMBERED = 4096
"""Models whose caps are remembered; callers may make any number up."""

Tokens = Annotated[int, Meta(ge=1)]
Effort = Literal["low", "medium", "high", "xhigh", "max"]
Over = Literal["reject", "clamp"]


class Caps(PluginConfig, frozen=True):
    """What may be asked for at most; nothing said, no cap."""

    max_tokens: Tokens | None = None
    default_max_tokens: Tokens | None = None
    """Put into requests that say no `max_tokens`; never more than the cap."""
    budget_tokens: Tokens | None = None
    """`thinking.budget_tokens`."""
    effort: Effort | None = None
    """`output_config.effort`. Below `high`, requests must name their effort."""
    task_budget: Tokens | None = None
    """`output_config.task_budget`."""


class Team(Caps, frozen=True):
    """`teams.<team>`: what differs for one team."""

    models: dict[str, Caps] = {}
    """By model id or glob."""
    over: Over | None = None


class Config(Caps, frozen=True):
    """Caps for everybody, by model, and by team."""

    models: dict[str, Caps] = {}
    """By model id or glob."""
    over: Over = "reject"
    """What happens to a `max_tokens` above the cap."""
    teams: dict[str, Team] = {}


@dataclass(frozen=True, slots=True)
class Layer:
    """Caps of one section of the file: its models, and itself."""

    models: tuple[tuple[Pattern, Caps], ...]
    caps: Caps

    def of(self, model: str | None) -> Iterator[Caps]:
        """Yield what applies to a canonical id, the most specific first."""
        if model is not None:
            fit = [item for item in self.models if item[0].allows(model)]
            fit.sort(key=lambda item: item[0].rank(model), reverse=True)
            for _, caps in fit:
                yield caps
        yield self.caps


@dataclass(frozen=True, slots=True)
class Rules:
    """What holds for one team."""

    layers: tuple[Layer, ...]
    clamp: bool
    _known: Memo[str | None, Caps] = field(default_factory=lambda: Memo(REMEMBERED), compare=False)
    """By canonical id."""

    def caps(self, model: object) -> Caps:
        """Return what applies to a model as written: each cap by the most specific that has it."""
        plain = canonical(model)
        caps = self._known.get(plain)
        if caps is None:
            caps = self._merged(plain)
            self._known.put(plain, caps)
        return caps

    def _merged(self, plain: str | None) -> Caps:
        said: dict[str, Any] = {}
        for layer in self.layers:
            for caps in layer.of(plain):
                for name in Caps.__struct_fields__:
                    if said.get(name) is None:
                        said[name] = getattr(caps, name)
        return Caps(**said)


def compile_rules(config: Config) -> tuple[Rules, dict[str, Rules]]:
    """Return the rules for everybody, and those of the teams that have their own.

    Raises:
        PluginError: a name under `models` is no id or glob.
    """
    general = Layer(_patterns(config.models, "models"), config)
    teams = {
        name: Rules(
            (Layer(_patterns(team.models, f"teams.{name}.models"), team), general),
            (team.over or config.over) == "clamp",
        )
        for name, team in config.teams.items()
    }
    return Rules((general,), config.over == "clamp"), teams


def _patterns(models: dict[str, Caps], where: str) -> tuple[tuple[Pattern, Caps], ...]:
    return tuple((pattern(text, where), caps) for text, caps in models.items())
