"""Commands that plugins bring: entry points of the group `tidegate.commands`.

Each names a function `add(commands)`, which adds one parser of the entry point's name to
argparse's subparsers and sets its default `run`: options in, exit code out. Only the
command that was asked for is imported. What help says of the others is the first line of
their module's docstring, read without running any of it.
"""

import ast
from importlib.abc import InspectLoader
from importlib.machinery import PathFinder
from importlib.metadata import EntryPoint, entry_points

from tidegate.cli.parser import Commands
from tidegate.errors import ConfigError, Problem

GROUP = "tidegate.commands"


def add(commands: Commands, asked: str) -> None:
    """Add the commands that are installed; the gateway's own names are taken.

    Raises:
        ConfigError: the command that was asked for cannot be loaded.
    """
    if asked in commands.choices:
        return
    for name, point in sorted(installed().items()):
        if name in commands.choices:
            continue
        if name == asked:
            _load(commands, point)
        else:
            commands.add_parser(name, help=_summary(point).replace("%", "%%"))


def installed() -> dict[str, EntryPoint]:
    """Return every installed command's entry point, by name."""
    return {point.name: point for point in entry_points(group=GROUP)}


def _load(commands: Commands, point: EntryPoint) -> None:
    try:
        point.load()(commands)
    except Exception as error:  # noqa: BLE001 - a plugin's module may raise anything
        raise _unusable(point, str(error) or type(error).__name__) from None
    if point.name not in commands.choices:
        raise _unusable(point, "it adds no command of that name")


def _unusable(point: EntryPoint, reason: str) -> ConfigError:
    message = f"cannot be loaded: {reason} ({point.value})"
    return ConfigError([Problem(f"command {point.name}", message)])


def _summary(point: EntryPoint) -> str:
    try:
        text = ast.get_docstring(ast.parse(_source(point.module))) or ""
    except Exception as error:  # noqa: BLE001 - whatever is wrong there, help goes on
        return f"(cannot be loaded: {error})"
    line = text.partition("\n")[0].removesuffix(".")
    return line[:1].lower() + line[1:]


def _source(module: str) -> str:
    """Return a module's text; unlike importlib's own way, without importing its parents."""
    path, name = None, ""
    loader: object = None
    for part in module.split("."):
        name = f"{name}.{part}" if name else part
        spec = PathFinder.find_spec(name, path)
        if spec is None:
            raise LookupError(f"there is no module {name}")
        path, loader = spec.submodule_search_locations, spec.loader
    if not isinstance(loader, InspectLoader):
        return ""
    return loader.get_source(name) or ""
