"""`tidegate policy`: try policy out before it meets traffic."""

import argparse
import asyncio
import sys
from pathlib import Path
from typing import Any

import msgspec

from tidegate.cli.colours import Paint, painter
from tidegate.cli.files import bytes_of, text_of
from tidegate.cli.parser import Commands, command
from tidegate.errors import ConfigError, Problem


def add(commands: Commands) -> None:
    """Add the command."""
    group = command(commands, "policy", lambda _: 2, "try policy out: test, explain, replay")
    verbs = group.add_subparsers(title="verbs", metavar="VERB", required=True)
    test = command(verbs, "test", _test, TEST)
    test.add_argument("file", type=Path, metavar="FILE", help="TOML with [[case]] tables")
    _add_common(test)
    explain = command(verbs, "explain", _explain, EXPLAIN)
    explain.add_argument("--as", dest="team", metavar="TEAM", required=True, help="who calls")
    explain.add_argument("--principal", metavar="ID", help="(the team's name)")
    explain.add_argument("--request", required=True, metavar="FILE", help="the body; - reads it")
    explain.add_argument("--target", default="/v1/messages", metavar="PATH", help="(/v1/messages)")
    explain.add_argument(
        "--header", action="append", default=[], metavar="NAME:VALUE", help="may be repeated"
    )
    _add_common(explain)
    replay = command(verbs, "replay", _replay, REPLAY)
    replay.add_argument("--since", metavar="TIME", default="7d", help="7d, 12h, 2026-11-20 (7d)")
    replay.add_argument("--dir", type=Path, default=Path("tidegate-journal"), metavar="DIR")
    _add_common(replay)


def _add_common(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("--config", type=Path, metavar="FILE", help="(./tidegate.toml)")
    verb.add_argument("--json", action="store_true", help="for programs")


TEST = """\
run the cases of a file against a configuration, offline

Each case says what is asked, by whom, and what is to come of it. Exit code 0 if all hold,
1 if not, 2 if the file or the configuration is wrong. Nothing is sent and nothing listens;
secrets that the environment lacks are made up. The format: deploy/policy.md.
"""


def _test(options: argparse.Namespace) -> int:
    from tidegate.policy import cases, judge  # noqa: PLC0415 - other commands start faster without
    from tidegate.policy.rehearsal import deciding, rehearsal, taking_nothing  # noqa: PLC0415
    from tidegate.registry import resolve  # noqa: PLC0415

    found = cases.load(options.file)
    path = _config_of(options.config or found.config)
    config, chosen = resolve(text_of(path))
    wanted = taking_nothing if found.identify else deciding

    async def run() -> list[judge.Result]:
        async with rehearsal(config, chosen, wanted) as offline:
            return await judge.run(offline, found.cases)

    results = asyncio.run(run())
    failed = sum(not result.ok for result in results)
    if options.json:
        _print_json({
            "config": config.digest,
            "passed": len(results) - failed,
            "failed": failed,
            "cases": [{"ok": r.ok, **msgspec.to_builtins(r)} for r in results],
        })  # fmt: skip
        return 1 if failed else 0
    paint = painter(sys.stdout)
    print(f"{options.file} against {path} (configuration {config.digest})")
    for result in results:
        _print_result(result, paint)
    summary = f"{len(results) - failed} passed, {failed} failed"
    print(paint(summary, "red" if failed else "green"))
    return 1 if failed else 0


def _print_result(result: Any, paint: Paint) -> None:
    if result.ok:
        print(f"  {paint('ok', 'green')}    {result.name}")
        return
    print(f"  {paint('FAIL', 'red')}  {result.name}")
    for difference in result.differences:
        print(
            f"        {difference.what:<12} expected {paint(_shown(difference.expected), 'green')}"
        )
        print(f"        {'':<12} found    {paint(_shown(difference.found), 'red')}")
    print(f"        {'decision':<12} {result.decided}")


def _shown(value: object) -> str:
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


EXPLAIN = """\
show what each policy says about a request, and what it changes

The request is not sent. What an edit takes out of a prompt is not shown, only its size.
Exit code 0 if the request would leave, 1 if not.
"""


def _explain(options: argparse.Namespace) -> int:
    from tidegate.exchange import Principal  # noqa: PLC0415
    from tidegate.policy import explain  # noqa: PLC0415
    from tidegate.policy.rehearsal import Given, deciding, rehearsal  # noqa: PLC0415
    from tidegate.registry import resolve  # noqa: PLC0415

    config, chosen = resolve(text_of(_config_of(options.config)))
    raw = bytes_of(options.request)
    given = Given(
        raw=raw,
        target=options.target,
        headers=tuple(_header(text) for text in options.header),
        principal=Principal(options.principal or options.team, options.team),
    )

    async def run() -> Any:
        async with rehearsal(config, chosen, deciding) as offline:
            return await offline.run(given)

    stages = {link.plugin.label: link.spec.stage for link in chosen if link.spec.stage is not None}
    shown = explain.explain(asyncio.run(run()), stages, len(raw))
    if options.json:
        _print_json(msgspec.to_builtins(shown))
    else:
        for line in explain.tree(shown, painter(sys.stdout)):
            print(line)
    return 1 if shown.verdict == "refuse" else 0


REPLAY = """\
tell what another configuration would have decided about recorded traffic

Reads the journal and asks the configuration's policies again about each exchange: whom it
would refuse that went through, let through that was refused, refuse by another rule, or send
on otherwise; and what its shadow policies say. No content is recorded, so what depends on it
(redact) or on what was used (quota) is left as it was, and counted.
"""


def _replay(options: argparse.Namespace) -> int:
    from tidegate.clock import SystemClock  # noqa: PLC0415
    from tidegate.policy import replay, replayed  # noqa: PLC0415
    from tidegate.policy.rehearsal import rehearsal, replayable  # noqa: PLC0415
    from tidegate.registry import resolve  # noqa: PLC0415

    path = _config_of(options.config)
    config, chosen = resolve(text_of(path))
    try:
        since = replay.since_of(options.since, SystemClock().now())
    except ValueError as error:
        raise ConfigError([Problem("--since", str(error))]) from None
    if not options.dir.is_dir():
        raise ConfigError(
            [Problem(str(options.dir), "is no directory; name the journal with --dir")]
        )

    async def run() -> replay.Report:
        async with rehearsal(config, chosen, replayable) as offline:
            again = replay.Replay(offline, chosen)
            for record in replay.exchanges(options.dir, since, again.report):
                await again.take(record)
            return again.report

    report = asyncio.run(run())
    if options.json:
        _print_json(replayed.document(report, config.digest))
    else:
        print(f"{options.dir} since {options.since} against {path} (configuration {config.digest})")
        for line in replayed.lines_of(report, painter(sys.stdout)):
            print(line)
    return 0


def _header(text: str) -> tuple[str, str]:
    name, colon, value = text.partition(":")
    if not colon or not name.strip():
        raise ConfigError([Problem("--header", f"{text!r}: write NAME:VALUE")])
    return name.strip(), value.strip()


def _config_of(path: Path | None) -> Path:
    path = path or Path("tidegate.toml")
    if not path.is_file():
        message = "there is no such file; name the configuration with --config"
        raise ConfigError([Problem(str(path), message)])
    return path


def _print_json(value: Any) -> None:
    print(msgspec.json.format(msgspec.json.encode(value)).decode())
