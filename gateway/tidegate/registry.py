"""Finds plugins by name: entry points of the group `tidegate.plugins`.

Installed is not enabled: only what the configuration names is imported.
"""

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from typing import Any

import msgspec

from tidegate.config import Config, Flags, Plugin, is_loopback, read
from tidegate.errors import ConfigError, Problem
from tidegate.plugin import LoadedPlugin, PluginConfig, PluginSpec, Stage
from tidegate.tables import convert

GROUP = "tidegate.plugins"


@dataclass(frozen=True, slots=True)
class Chosen:
    """A plugin of the configuration, found and its own configuration converted."""

    plugin: Plugin
    spec: PluginSpec[Any]
    config: PluginConfig


def installed() -> dict[str, EntryPoint]:
    """Return every installed plugin's entry point, by name."""
    return {point.name: point for point in entry_points(group=GROUP)}


def load(name: str, found: Mapping[str, EntryPoint] | None = None) -> PluginSpec[Any]:
    """Import one plugin; `found` is what is `installed`, where that is known.

    Raises:
        LookupError: none of that name is installed.
        TypeError: the entry point does not name a `PluginSpec`.
        Exception: whatever its module raises on import.
    """
    points = installed() if found is None else found
    if name not in points:
        close = difflib.get_close_matches(name, points, n=1)
        hint = f"did you mean `{close[0]}`?" if close else f"installed are {', '.join(points)}"
        raise LookupError(f"no plugin `{name}` is installed; {hint}")
    spec = points[name].load()
    if not isinstance(spec, PluginSpec):
        raise TypeError(f"the entry point of `{name}` is not a PluginSpec: {points[name].value}")
    return spec


def loaded(chosen: Sequence[Chosen]) -> tuple[LoadedPlugin, ...]:
    """Return what there is to say of plugins that are in use."""
    points = installed()
    found = []
    for plugin, stage in ((link.plugin, link.spec.stage) for link in chosen):
        kind = "observer" if stage is None else stage.name.lower()
        package = points[plugin.use].dist
        version = package.version if package is not None else ""
        found.append(LoadedPlugin(plugin.label, plugin.use, kind, plugin.mode, version))
    return tuple(found)


def resolve(text: str | None, flags: Flags | None = None) -> tuple[Config, list[Chosen]]:
    """Return a configuration and its plugins, ready to be opened.

    Raises:
        ConfigError: with every problem of the file and of every plugin.
    """
    config, problems = read(text, flags)
    chosen, more = choose(config)
    if problems or more:
        raise ConfigError([*problems, *more])
    return config, chosen


def choose(config: Config) -> tuple[list[Chosen], list[Problem]]:
    """Return the plugins that `config` names, in its order, and what is wrong with them.

    Those that are off are checked and left out.
    """
    problems: list[Problem] = []
    chosen = []
    points = installed()
    for index, plugin in enumerate(config.plugins):
        found = _choose_one(plugin, points, f"plugins[{index}]", problems)
        if found is not None and plugin.mode != "off":
            chosen.append(found)
    problems += _check_order(config.plugins, chosen)
    problems += _check_exposure(config, chosen)
    return chosen, problems


def _choose_one(
    plugin: Plugin, points: Mapping[str, EntryPoint], path: str, problems: list[Problem]
) -> Chosen | None:
    try:
        spec = load(plugin.use, points)
    except Exception as error:  # noqa: BLE001 - a plugin's module may raise anything
        problems.append(Problem(f"{path}.use", str(error) or type(error).__name__))
        return None
    values = plugin.config or spec.default
    converted = convert(values, spec.config, f"{path}.config", problems)
    if spec.stage is None and plugin.mode == "shadow":
        message = "an observer decides nothing; use `off` or leave it out"
        problems.append(Problem(f"{path}.mode", message))
    return None if converted is None else Chosen(plugin, spec, converted)


def _check_order(plugins: Sequence[Plugin], chosen: Sequence[Chosen]) -> list[Problem]:
    found = []
    reached: Chosen | None = None
    for link in chosen:
        stage = link.spec.stage
        if stage is None:
            continue
        if reached is not None and stage < (reached.spec.stage or 0):
            index = plugins.index(link.plugin)
            message = (
                f"`{link.plugin.label}` ({stage.name}) must come before "
                f"`{reached.plugin.label}` ({Stage(reached.spec.stage or 0).name})"
            )
            found.append(Problem(f"plugins[{index}]", message))
        else:
            reached = link
    return found


def _check_exposure(config: Config, chosen: Sequence[Chosen]) -> list[Problem]:
    """An open port without identity is an open door."""
    if is_loopback(config.listen.host):
        return []
    stages = [(link.spec.stage, link.plugin.mode) for link in chosen]
    if (Stage.IDENTIFY, "enforce") in stages:
        return []
    message = (
        f"{config.listen.host} is not a loopback address, and no identity plugin is configured: "
        "anyone could use this gateway. Make a key with `tidegate keys new --team TEAM` and add "
        'what it prints under [[plugins]] use = "identify"'
    )
    return [Problem("listen.host", message)]


def schema() -> dict[str, Any]:
    """Return the JSON Schema of the configuration, with that of every installed plugin."""
    names = sorted(installed())
    types = [Config, *(load(name).config for name in names)]
    (whole, *plugins), components = msgspec.json.schema_components(
        types, ref_template="#/$defs/{name}"
    )
    definitions = dict(components)
    table = definitions["Plugin"]
    table["allOf"] = [
        {
            "if": {"properties": {"use": {"const": name}}},
            "then": {"properties": {"config": reference}},
        }
        for name, reference in zip(names, plugins, strict=True)
    ]
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "tidegate configuration",
        **whole,
        "$defs": definitions,
    }
