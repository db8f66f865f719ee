"""`tidegate conformance`: hold any gateway against the contract of Claude Code and the SDKs."""

import argparse
import asyncio
import os
import sys

from tidegate.cli.parser import Commands
from tidegate.cli.parser import command as declare

TEXT = """\
hold any gateway against the contract of Claude Code and the SDKs

Starts a scripted upstream on loopback and plays each point of the contract through the
gateway: headers and bytes both ways, errors, streams, cancelling. So the gateway has to
forward to that upstream. With tidegate, in two terminals:

  tidegate serve --upstream http://127.0.0.1:9120 --port 8080
  tidegate conformance --base-url http://127.0.0.1:8080

The exit code is 0 if every point that could be played holds, 1 if one does not, 2 if
nothing could be played.
"""


def add(commands: Commands) -> None:
    """Add the command."""
    command = declare(commands, "conformance", _run, TEXT)
    command.add_argument("--base-url", metavar="URL", required=True, help="where the gateway is")
    command.add_argument("--key", default="conformance", help="a key that the gateway accepts")
    command.add_argument("--bearer", action="store_true", help="send it as Authorization: Bearer")
    command.add_argument("--model", default="claude-sonnet-4-6", help="one it allows (%(default)s)")
    command.add_argument(
        "--header",
        action="append",
        type=_header,
        default=[],
        metavar="'NAME: VALUE'",
        help="what this gateway wants besides; can be repeated",
    )
    command.add_argument("--listen", type=_address, default=("127.0.0.1", 9120), metavar="HOST:PORT", help="of the scripted upstream (127.0.0.1:9120)")  # fmt: skip
    command.add_argument("--only", nargs="+", metavar="CASE", help="these cases")
    command.add_argument("--slow", action="store_true", help="cases that take a minute as well")
    command.add_argument("--json", action="store_true", help="for machines")


def _header(text: str) -> tuple[str, str]:
    name, colon, value = text.partition(":")
    if not colon or not name.strip():
        raise argparse.ArgumentTypeError(f"{text!r} is not of the form 'NAME: VALUE'")
    return name.strip(), value.strip()


def _address(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    if not host or not port.isdigit() or int(port) > 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is not of the form HOST:PORT")
    return host, int(port)


def _run(options: argparse.Namespace) -> int:
    from tidegate.conformance import report, run  # noqa: PLC0415 - other commands start faster without

    known = {case.name: case for case in run.CASES}
    unknown = [name for name in options.only or () if name not in known]
    if unknown:
        print(f"error: no case `{unknown[0]}`; there are {', '.join(known)}", file=sys.stderr)
        return 2
    chosen = [known[name] for name in options.only or known]
    cases = [case for case in chosen if options.slow or options.only or not case.slow]
    target = run.Target(
        options.base_url, options.key, options.bearer, options.model, tuple(options.header)
    )
    colour = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
    try:
        scores = asyncio.run(
            run.play(
                target,
                cases,
                listen=options.listen,
                ready=lambda url: print(f"the upstream is {url}", file=sys.stderr, flush=True),
                scored=lambda score: (
                    None if options.json else print(report.line(score, colour=colour), flush=True)
                ),
            )
        )
    except (run.Unplayable, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(report.as_json(scores) if options.json else f"\n{report.total(scores)}")
    return 1 if any(score.result == "fail" for score in scores) else 0
