"""Does all that `serve` does, short of listening."""

import asyncio
import ssl
import tempfile
from contextlib import AsyncExitStack
from pathlib import Path

import msgspec

from tidegate.clock import SystemClock
from tidegate.config import Config, read
from tidegate.errors import ConfigError, Problem
from tidegate.http.app import server_tls
from tidegate.http.pool import upstream_tls
from tidegate.pipeline import content
from tidegate.pipeline.generation import open_plugin
from tidegate.pipeline.shadow import read_shadow
from tidegate.pipeline.targets import open_targets
from tidegate.plugin import Reporting
from tidegate.registry import Chosen, choose


def check(text: str | None) -> tuple[Config, list[Problem]]:
    """Return the configuration if everything in it can be opened, and what to think about.

    Raises:
        ConfigError: with every problem of every part.
    """
    config, problems = read(text)
    chosen, more = choose(config)
    problems += more
    problems += _check_secrets(config)
    unusable, doubtful = asyncio.run(_open_each(config, chosen))
    problems += unusable
    problems += _check_shadow(config)
    if problems:
        raise ConfigError(list(dict.fromkeys(problems)))
    return config, doubtful


def _check_shadow(config: Config) -> list[Problem]:
    try:
        found = read_shadow(config)
    except ConfigError as error:
        return list(error.problems)
    if found is None:
        return []
    place = f"shadow.config: {config.shadow.config}: "
    unusable, _ = asyncio.run(_open_each(*found))
    return [Problem(place + p.path, p.message) for p in unusable]


def _check_secrets(config: Config) -> list[Problem]:
    found: list[Problem] = []
    try:
        open_targets(config)
    except ConfigError as error:
        found += error.problems
    try:
        server_tls(config.listen)
    except ConfigError as error:
        found += error.problems
    return found + _check_upstream_tls(config)


def _check_upstream_tls(config: Config) -> list[Problem]:
    found = []
    for path, upstream in config.upstream_paths:
        try:
            upstream_tls(upstream)
        except (OSError, ssl.SSLError) as error:
            found.append(Problem(f"{path}.ca_file", f"cannot be used: {error}"))
    return found


async def _open_each(config: Config, chosen: list[Chosen]) -> tuple[list[Problem], list[Problem]]:
    """Open each plugin, on a scratch directory: a check leaves nothing behind.

    Returns what is wrong, and what those that can be opened warn of.
    """
    found: list[Problem] = []
    doubtful: list[Problem] = []
    redacting = False
    with tempfile.TemporaryDirectory() as scratch:
        journal = msgspec.structs.replace(config.journal, dir=str(Path(scratch)))
        config = msgspec.structs.replace(config, journal=journal)
        for link in chosen:
            async with AsyncExitStack() as stack:
                try:
                    plugin = await open_plugin(link, config, stack, SystemClock())
                    redacting |= link.plugin.mode == "enforce" and content.redacts(plugin)
                except ConfigError as error:
                    found += error.problems
                    continue
                message = plugin.report().message if isinstance(plugin, Reporting) else ""
                if message:
                    doubtful.append(Problem(f"plugins.{link.plugin.label}", message))
    return found + content.check(config, redacting=redacting), doubtful
