"""`tidegate keys`: make gateway keys."""

import argparse

from tidegate.cli.parser import Commands, command
from tidegate.keys import digest, new_key, toml_lines


def add(commands: Commands) -> None:
    """Add the command."""
    group = command(commands, "keys", lambda _: 2, "make gateway keys")
    verbs = group.add_subparsers(title="verbs", metavar="VERB", required=True)
    new = command(verbs, "new", _keys_new, KEYS_NEW)
    new.add_argument("--team", required=True)
    new.add_argument("--id", help="(the team's name and a number)")


KEYS_NEW = """\
make a key, and print it once

The key goes to whom it is for; the lines with its SHA-256 go into the configuration. Only
the digest is kept, so a lost key cannot be shown again: make another.
"""


def _keys_new(options: argparse.Namespace) -> int:
    key = new_key()
    print(key)
    print(toml_lines(options.team, options.id, digest(key)))
    return 0
