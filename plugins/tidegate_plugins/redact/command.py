"""Find secrets in files as the gateway would, and tune what it lets through."""

import argparse
import getpass
import json
import os
import secrets
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from tidegate.clock import SystemClock
from tidegate.errors import PluginError
from tidegate.wire.body import BodyError
from tidegate_plugins.redact import cache_dir, check_names, keys, ruleset, scanner
from tidegate_plugins.redact.catalogue import Described, described
from tidegate_plugins.redact.config import Key, RedactConfig
from tidegate_plugins.redact.engine import EngineTimeout, open_kingfisher
from tidegate_plugins.redact.placeholder import digest
from tidegate_plugins.redact.report import Found, Inspector, Report
from tidegate_plugins.redact.scan import Deadline
from tidegate_plugins.redact.verdict import Rulebook

HOUR_NS = 3_600_000_000_000
WINDOW_S = 60.0
LONGEST_EXAMPLE = 160
COLOURS = {"block": "31", "mask": "33", "detect": "36", "allowed": "32"}
"""Red, yellow, cyan, green."""


ABOUT = """\
find secrets in files as the gateway would, and tune what it lets through

`scan` says what would be found in a file, `rules` what is looked for, `allow` how to let
a value through.
"""


def add(commands: Any) -> None:
    """Add `tidegate redact` to the commands of the gateway."""
    parser = commands.add_parser("redact", **_about(ABOUT))
    verbs = parser.add_subparsers(title="verbs", metavar="VERB", required=True)
    scan = _verb(verbs, "scan", _scan, SCAN)
    scan.add_argument("file", metavar="FILE", help="or - for standard input")
    scan.add_argument("--as", dest="kind", choices=("auto", "body", "text"), default="auto")
    scan.add_argument("--team", default="none", help="whose rules count")
    scan.add_argument("--show", action="store_true", help="print the values themselves")
    scan.add_argument("--json", action="store_true", help="for machines")
    rules = _verb(verbs, "rules", _rules, "list the rules: what they find, why, with examples")
    rules.add_argument("name", nargs="*", metavar="NAME", help="only these rules or groups")
    rules.add_argument("--json", action="store_true", help="for machines")
    allow = _verb(verbs, "allow", _allow, ALLOW)
    for verb in (scan, rules, allow):
        verb.add_argument("--config", metavar="FILE", type=Path, help="the gateway's")
    for verb in (scan, allow):
        verb.add_argument("--key-file", metavar="FILE", help="the HMAC key, as in `key.file`")


def _verb(verbs: Any, name: str, run: Any, text: str) -> argparse.ArgumentParser:
    verb: argparse.ArgumentParser = verbs.add_parser(name, **_about(text))
    verb.set_defaults(run=run)
    return verb


def _about(text: str) -> dict[str, Any]:
    formatter = argparse.RawDescriptionHelpFormatter
    return {"help": text.partition("\n")[0], "description": text, "formatter_class": formatter}


# what the verbs have in common


@dataclass(frozen=True, slots=True)
class _Settings:
    """What a configuration says of the plugin."""

    config: RedactConfig
    mode: str
    state_dir: Path


def _settings(options: argparse.Namespace) -> _Settings:
    try:
        text = options.config.read_text() if options.config is not None else ""
        document = tomllib.loads(text)
        plugins = [p for p in document.get("plugins", ()) if p.get("use") == "redact"]
        (entry, *_) = plugins or [{}]
        config = msgspec.convert(entry.get("config", {}), RedactConfig)
        state_dir = Path(document.get("journal", {}).get("dir", "tidegate-journal"))
    except OSError as error:
        raise PluginError(f"{options.config}: {error.strerror}") from None
    except (ValueError, AttributeError, TypeError) as error:
        message = f"{options.config}: {error}; `tidegate check` says more"
        raise PluginError(message) from None
    return _Settings(config, entry.get("mode", "enforce"), state_dir)


def _key(options: argparse.Namespace, settings: _Settings) -> bytes | None:
    if options.key_file:
        return keys.load(Key(file=options.key_file), settings.state_dir)
    return keys.known(settings.config.key, settings.state_dir)


def _plain(text: str) -> str:
    """Make what stands in a file fit for a terminal."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def _paint(text: str, colour: str) -> str:
    if not sys.stdout.isatty() or os.environ.get("NO_COLOR"):
        return text
    return f"\x1b[{colour}m{text}\x1b[0m"


# scan

SCAN = """\
show what would be found in a file: a request body, or any text

A JSON object with `messages` is taken for a request body, everything else for one text,
such as a tool result. Values are not shown, but for --show. Exit code 1 if there is
anything that the configuration does not let through, 0 if not, 2 if it is not known.
"""


def _scan(options: argparse.Namespace) -> int:
    settings = _settings(options)
    data = _read(options.file)
    key = _key(options, settings)
    inspector = _inspector(settings, key or secrets.token_bytes(32), options.team)
    try:
        report = inspector.inspect(data, options.kind)
    except BodyError as error:
        raise PluginError(f"{options.file}: {error.message}") from None
    except EngineTimeout:
        raise PluginError(f"{options.file}: the search took too long") from None
    if options.json:
        document = _document(options, settings, inspector, report)
        print(json.dumps(document | {"key_known": key is not None}, indent=2))
    else:
        _print_report(options, report)
        _print_remarks(settings, known_key=key is not None)
    return 1 if report.dirty else 0


def _read(name: str) -> bytes:
    try:
        return sys.stdin.buffer.read() if name == "-" else Path(name).read_bytes()
    except OSError as error:
        raise PluginError(f"{name}: {error.strerror}") from None


def _inspector(settings: _Settings, key: bytes, team: str) -> Inspector:
    config, clock = settings.config, SystemClock()
    rules = ruleset.load(config.pii)
    engine = open_kingfisher(rules, cache_dir(config, settings.state_dir))
    check_names(config, rules.groups(), engine)
    version = f"rules-{rules.version()}.key-{keys.identify(key)}"
    book = Rulebook(config, key, rules.groups(), version)
    deadline = Deadline(clock, clock.monotonic_ns() + HOUR_NS, WINDOW_S)
    return Inspector(scanner(engine, key, config.memo_entries), book, team, deadline)


def _document(
    options: argparse.Namespace, settings: _Settings, inspector: Inspector, report: Report
) -> dict[str, Any]:
    return {
        "file": options.file,
        "kind": report.kind,
        "mode": settings.mode,
        "version": inspector.book.version,
        "found": [found.plain(show=options.show) for found in report.found],
    }


def _print_report(options: argparse.Namespace, report: Report) -> None:
    name = "stdin" if options.file == "-" else options.file
    for found in report.found:
        print(_row(name, found, show=options.show))
    said = ", ".join(f"{count} {action}" for action, count in report.counts().items())
    print(f"{name}: {said or 'nothing found'} ({report.kind}, {_scale(report)})")


def _scale(report: Report) -> str:
    rules = {found.rule for found in report.found}
    return f"{len(rules)} rule" + ("" if len(rules) == 1 else "s")


def _row(name: str, found: Found, *, show: bool) -> str:
    action = _paint(f"{found.action:<8}", COLOURS[found.action])
    place = f"{name}:{_plain(found.where)}"
    text = f"{place:<40} {action} {found.rule:<24} {found.placeholder} {found.bytes} bytes"
    return f"{text} {_paint(_plain(found.value), '1')}" if show else text


def _print_remarks(settings: _Settings, *, known_key: bool) -> None:
    if settings.mode != "enforce":
        print(f"The plugin's mode is {settings.mode}: nothing of this takes effect.")
    if not known_key:
        print("No key was found: these placeholders are of this run only.")


# rules


def _rules(options: argparse.Namespace) -> int:
    settings = _settings(options)
    every = described(settings.config.pii, cache_dir(settings.config, settings.state_dir))
    wanted = set(options.name)
    known = {name for rule in every for name in (rule.name, rule.group)}
    if wanted - known:
        raise PluginError(f"there is no rule {min(wanted - known)!r}")
    chosen = [rule for rule in every if not wanted or wanted & {rule.name, rule.group}]
    if options.json:
        print(json.dumps([msgspec.to_builtins(rule) for rule in chosen], indent=2))
    else:
        _print_rules(chosen)
    return 0


def _print_rules(rules: list[Described]) -> None:
    group = ""
    for rule in rules:
        if rule.group != group:
            group = rule.group
            print(f"\n{_paint(group, '1;4')}")
        off = "" if rule.on else "  (off; named in `pii` it is on)"
        print(f"{_paint(rule.name, '1')}{off}\n    {rule.why}")
        for text in rule.match:
            print(f"    {_paint('+', '32')} {_short(text)}")
        for text in rule.no_match:
            print(f"    {_paint('-', '31')} {_short(text)}")


def _short(text: str) -> str:
    shown = _plain(text)
    return shown if len(shown) <= LONGEST_EXAMPLE else f"{shown[:LONGEST_EXAMPLE]}…"


# allow

ALLOW = """\
print the line that lets a value through

Asks for the value, or reads it from standard input: as `tidegate redact scan --show`
prints it, nothing more and nothing less. The line goes under [plugins.config] of redact.
It holds an HMAC of the value, under the key of the gateway.
"""


def _allow(options: argparse.Namespace) -> int:
    settings = _settings(options)
    key = _key(options, settings)
    if key is None:
        raise PluginError(
            f"there is no key at {settings.state_dir / keys.FILE}; name the gateway's "
            "configuration with --config, or its key with --key-file"
        )
    value = _value()
    if not value:
        raise PluginError("there is no value: nothing was read")
    print(f'allow.digests = ["{digest(key, value)}"]  # key {keys.identify(key)}')
    return 0


def _value() -> bytes:
    if sys.stdin.isatty():
        return getpass.getpass("value: ").encode("utf-8", "surrogateescape")
    return sys.stdin.buffer.read().removesuffix(b"\n").removesuffix(b"\r")
