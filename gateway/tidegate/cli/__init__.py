"""The command line: parses, calls, prints. No logic of its own."""

import argparse
import json
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tidegate import __version__
from tidegate.cli import conformance, journal, plugged, policy
from tidegate.cli.files import text_of
from tidegate.cli.parser import Commands, Parser
from tidegate.cli.parser import command as declare
from tidegate.config import Config, Flags, read
from tidegate.errors import ConfigError, PluginError

DESCRIPTION = """\
tidegate forwards Messages API traffic: it identifies the caller, enforces policy, redacts
secrets, passes answers through byte for byte, and writes down what happened.
"""

EPILOG = """\
first steps:
  tidegate demo                   see it at work: no key, no network, no configuration
  tidegate serve                  forward to api.anthropic.com with the caller's own key
  tidegate keys new --team web    make a gateway key
  tidegate check tidegate.toml    find every mistake in a configuration
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; return the exit code."""
    given = sys.argv[1:] if arguments is None else list(arguments)
    try:
        options = _parser(given).parse_args(given)
        code: int = options.run(options)
    except ConfigError as error:
        for problem in error.problems:
            print(f"error: {problem}", file=sys.stderr)
        return 2
    except PluginError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:  # somebody piped us into `head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 0
    except KeyboardInterrupt:
        return 130
    return code


def _parser(arguments: Sequence[str] = ()) -> Parser:
    parser = Parser(
        prog="tidegate",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"tidegate {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    _add_serve(commands)
    _add_check(commands)
    _add_plugins(commands)
    _add_schema(commands)
    _add_demo(commands)
    _add_simulator(commands)
    conformance.add(commands)
    journal.add(commands)
    policy.add(commands)
    plugged.add(commands, arguments[0] if arguments else "")
    return parser


# serve and check


def _add_serve(commands: Commands) -> None:
    command = declare(commands, "serve", _serve, SERVE)
    command.add_argument("--config", metavar="FILE", type=Path, help="TOML; see `tidegate schema`")
    command.add_argument("--host", help="where clients connect (127.0.0.1)")
    command.add_argument("--port", type=int, help="(8080; 0 picks one)")
    command.add_argument("--admin-host", help="where metrics are read (127.0.0.1)")
    command.add_argument("--admin-port", type=int, help="(9464)")
    command.add_argument("--upstream", metavar="URL", help="(https://api.anthropic.com)")
    command.add_argument("--workers", type=int, metavar="N", help="processes that serve (1)")
    command.add_argument("--journal", metavar="DIR", help="(./tidegate-journal)")


SERVE = """\
serve traffic until interrupted

Without a file: forwards with the caller's own credential, redacts secrets, writes a
journal, serves metrics. Flags win over the file. SIGHUP reloads the file, SIGTERM drains:
streams in flight finish first; a second signal does not wait for them.
"""


def _serve(options: argparse.Namespace) -> int:
    from tidegate import stderr  # noqa: PLC0415 - other commands start faster without
    from tidegate.supervisor import Supervisor  # noqa: PLC0415

    flags = _flags(options)
    config = _config(text_of(options.config), flags)
    os.environ[stderr.FORMAT_VARIABLE] = config.log.format
    stderr.configure("supervisor")
    announce = _announce if config.log.format == "text" else logging.getLogger("tidegate").info
    supervisor = Supervisor(config, lambda: text_of(options.config), flags, announce=announce)
    return supervisor.run()


def _config(text: str | None, flags: Flags) -> Config:
    """Return the configuration; its plugins are looked at where they run, which takes a second.

    Raises:
        ConfigError: with what is wrong with the plugins, too.
    """
    from tidegate.registry import resolve  # noqa: PLC0415

    config, problems = read(text, flags)
    return resolve(text, flags)[0] if problems else config


def _announce(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _flags(options: argparse.Namespace) -> Flags:
    """Return the flags that were given, by the table and key they stand for."""
    given: list[tuple[str, str, Any]] = [
        ("listen", "host", options.host),
        ("listen", "port", options.port),
        ("listen", "workers", options.workers),
        ("admin", "host", options.admin_host),
        ("admin", "port", options.admin_port),
        ("upstream", "url", options.upstream),
        ("journal", "dir", options.journal),
    ]
    flags: Flags = {}
    for table, key, value in given:
        if value is not None:
            flags.setdefault(table, {})[key] = value
    return flags


def _add_check(commands: Commands) -> None:
    command = declare(commands, "check", _check, CHECK)
    command.add_argument("file", type=Path)


CHECK = """\
find every mistake in a configuration

Does all that `serve` does, short of listening: reads the file, opens every plugin, reads
secrets and certificates. Exit code 0, or 2 with every error and its path. A warning is no
error: what does not answer now, or works otherwise than one may think.
"""


def _check(options: argparse.Namespace) -> int:
    from tidegate.check import check  # noqa: PLC0415

    config, warnings = check(text_of(options.file))
    for warning in warnings:
        print(f"warning: {warning}", file=sys.stderr)
    print(f"{options.file}: good (configuration {config.digest})")
    return 0


# plugins and schema


def _add_plugins(commands: Commands) -> None:
    declare(commands, "plugins", _plugins, "list the plugins that are installed")


def _plugins(_options: argparse.Namespace) -> int:
    from tidegate.registry import installed, load  # noqa: PLC0415

    code = 0
    for name, point in sorted(installed().items()):
        try:
            spec = load(name)
        except Exception as error:  # noqa: BLE001 - a plugin's module may raise anything
            print(f"{name:<12} cannot be loaded: {error} ({point.value})")
            code = 1
            continue
        stage = spec.stage.name.lower() if spec.stage is not None else "observer"
        print(f"{name:<12} {stage:<10} {spec.summary}")
    return code


def _add_schema(commands: Commands) -> None:
    text = "print the JSON Schema of the configuration, plugins included"
    declare(commands, "schema", _schema, text)


def _schema(_options: argparse.Namespace) -> int:
    from tidegate.registry import schema  # noqa: PLC0415

    print(json.dumps(schema(), indent=2))
    return 0


# demo and simulator


def _add_demo(commands: Commands) -> None:
    command = declare(commands, "demo", _demo, DEMO)
    command.add_argument("--for", dest="duration", metavar="TIME", help="end by itself, as in 30s")
    command.add_argument("--port", type=int, default=8080)
    command.add_argument("--admin-port", type=int, default=9464)
    command.add_argument("--journal", metavar="DIR", help="(a temporary directory)")


DEMO = """\
see it at work: no key, no network, no configuration

Starts a simulated upstream, the gateway in front of it with every plugin, and a little
mixed traffic, and prints what to open and try.
"""


def _demo(options: argparse.Namespace) -> int:
    from tidegate.demo import run  # noqa: PLC0415

    return run(
        duration=options.duration,
        port=options.port,
        admin_port=options.admin_port,
        journal=options.journal,
    )


def _add_simulator(commands: Commands) -> None:
    command = declare(commands, "simulator", _simulator, "serve a simulated Messages API")
    command.late_epilog = _simulator_controls
    command.add_argument("--host", default="127.0.0.1")
    command.add_argument("--port", type=int, default=8090)
    profiles = ("anthropic", "onedim")
    command.add_argument("--profile", choices=profiles, default="anthropic", help="whose API")


def _simulator_controls() -> str:
    from tidegate.simulator import CONTROLS  # noqa: PLC0415

    return CONTROLS


def _simulator(options: argparse.Namespace) -> int:
    import asyncio  # noqa: PLC0415

    from tidegate.simulator import run  # noqa: PLC0415

    asyncio.run(run(options.host, options.port, announce=_announce, profile=options.profile))
    return 0
