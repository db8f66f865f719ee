"""Make gateway keys, and list those there are."""

import argparse
import json
import re
import secrets
import tomllib
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec

from tidegate.clock import SystemClock
from tidegate.errors import PluginError
from tidegate_plugins.identify import key_files
from tidegate_plugins.identify.config import Config
from tidegate_plugins.identify.keyring import PREFIX, Placed, digest, problems_of
from tidegate_plugins.identify.names import network_problems

RANDOM_BYTES = 32
SHORT = 12
"""Hex digits of a digest that are shown."""

ABOUT = """\
make gateway keys, and list those there are

`new` makes one, `list` shows those of a configuration and its files.
"""

NEW = """\
make a key, and print it once

The key goes to whom it is for; the lines with its SHA-256 go into the configuration. Only
the digest is kept, so a lost key cannot be shown again: make another.
"""

LIST = """\
list the keys of a configuration and its files, or of the files that are named

Exit code 1 if anything is wrong with them, or one has expired.
"""


def add(commands: Any) -> None:
    """Add `tidegate keys` to the commands of the gateway."""
    parser = commands.add_parser("keys", **_about(ABOUT))
    verbs = parser.add_subparsers(title="verbs", metavar="VERB", required=True)
    new = verbs.add_parser("new", **_about(NEW))
    new.set_defaults(run=_new)
    new.add_argument("--team", required=True)
    new.add_argument("--id", help="(the team's name and a number)")
    new.add_argument("--expires", metavar="WHEN", help="a date, or days from now as in 90d")
    new.add_argument(
        "--network", metavar="CIDR", action="append", default=[], help="more than once"
    )
    keys = verbs.add_parser("list", **_about(LIST))
    keys.set_defaults(run=_list)
    keys.add_argument("file", metavar="FILE", nargs="*", help="files of keys, or directories")
    keys.add_argument("--config", metavar="FILE", type=Path, help="the gateway's")
    keys.add_argument("--json", action="store_true", help="for machines")


def _about(text: str) -> dict[str, Any]:
    formatter = argparse.RawDescriptionHelpFormatter
    return {"help": text.partition("\n")[0], "description": text, "formatter_class": formatter}


# new


def _new(options: argparse.Namespace) -> int:
    problems = network_problems(options.network)
    if problems:
        raise PluginError("\n".join(problems))
    key = PREFIX + secrets.token_urlsafe(RANDOM_BYTES)
    sha256 = digest(key)
    fields: dict[str, str] = {
        "id": json.dumps(options.id or f"{options.team}-{sha256[:6]}"),
        "team": json.dumps(options.team),
        "sha256": json.dumps(sha256),
    }
    if options.expires:
        fields["expires"] = _expiry(options.expires, SystemClock().now())
    if options.network:
        fields["networks"] = json.dumps(options.network)
    entry = ", ".join(f"{name} = {value}" for name, value in fields.items())
    print(key)
    print(
        "\n# paste into the configuration, beside the keys that are there, or into a file of keys:\n"
        '[[plugins]]\nuse = "identify"\n[plugins.config]\n'
        f"keys = [\n  {{ {entry} }},\n]"
    )
    return 0


def _expiry(text: str, now: float) -> str:
    """Return a time in TOML: that of a date, or of so many days from now.

    Raises:
        PluginError: it is neither.
    """
    days = re.fullmatch(r"([1-9][0-9]{0,4})d", text)
    if days:
        at = datetime.fromtimestamp(now, UTC) + timedelta(days=int(days[1]))
    else:
        try:
            at = datetime.fromisoformat(text)
        except ValueError:
            message = f"--expires {text[:40]!a}: use a date, as in 2027-01-31, or days, as in 90d"
            raise PluginError(message) from None
    at = at if at.tzinfo is not None else at.replace(tzinfo=UTC)
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


# list


def _list(options: argparse.Namespace) -> int:
    config = _config(options.config)
    if options.file:
        config = Config(key_files=tuple(options.file))
    elif options.config is None:
        raise PluginError("name files of keys, or a configuration: --config FILE")
    placed, problems = key_files.keys_of(config)
    problems += problems_of(placed)
    now = SystemClock().now()
    rows = [_row(each, str(options.config or ""), now) for each in placed]
    if options.json:
        print(json.dumps({"keys": rows, "problems": problems}, indent=2))
    else:
        print(_table(rows))
        for problem in problems:
            print(f"error: {problem}")
    return 1 if problems or any(row["expired"] for row in rows) else 0


def _config(path: Path | None) -> Config:
    """Return what a gateway's configuration says of this plugin."""
    if path is None:
        return Config()
    try:
        plugins = tomllib.loads(path.read_text()).get("plugins", [])
        entries = [plugin.get("config", {}) for plugin in plugins if plugin["use"] == "identify"]
        (entry, *_) = entries or [{}]
        return msgspec.convert(entry, Config)
    except OSError as error:
        raise PluginError(f"{path}: {error.strerror}") from None
    except (ValueError, AttributeError, KeyError, TypeError) as error:
        raise PluginError(f"{path}: {error}; `tidegate check` says more") from None


def _row(placed: Placed, config: str, now: float) -> dict[str, Any]:
    key = placed.key
    expires = key.expires
    if expires is not None and expires.tzinfo is None:
        expires = expires.replace(tzinfo=UTC)
    return {
        "id": key.id,
        "team": key.team,
        "expires": None if expires is None else expires.isoformat(),
        "expired": expires is not None and expires.timestamp() <= now,
        "networks": list(key.networks),
        "sha256": key.sha256[:SHORT].lower(),
        "file": placed.file or config,
        "line": placed.line or None,
        "place": placed.place if placed.file else f"{config}: {placed.place}",
    }


COLUMNS = ("ID", "TEAM", "EXPIRES", "NETWORKS", "SHA256", "WHERE")


def _table(rows: Sequence[dict[str, Any]]) -> str:
    cells = [COLUMNS, *map(_cells, rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(COLUMNS))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in cells
    )


def _cells(row: dict[str, Any]) -> tuple[str, ...]:
    expires = (row["expires"] or "never")[:10] + (" expired" if row["expired"] else "")
    networks = " ".join(row["networks"]) or "anywhere"
    shown = (row["id"], row["team"], expires, networks, row["sha256"], row["place"])
    return tuple("".join(c if c.isprintable() else "?" for c in cell) for cell in shown)
