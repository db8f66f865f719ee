"""How commands are declared."""

import argparse
from collections.abc import Callable
from typing import Any


class Parser(argparse.ArgumentParser):
    """Can wait with a part of its help until somebody asks: importing it may take a while."""

    late_epilog: Callable[[], str] | None = None

    def format_help(self) -> str:
        """Return the help text."""
        if self.late_epilog is not None:
            self.epilog = self.late_epilog()
        return super().format_help()


Commands = Any  # argparse does not name the type of add_subparsers()


def command(
    commands: Commands, name: str, run: Callable[[argparse.Namespace], int], text: str
) -> Parser:
    """Add a command whose help is `text`, its first line the summary."""
    added: Parser = commands.add_parser(
        name,
        help=text.partition("\n")[0],
        description=text,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    added.set_defaults(run=run)
    return added
