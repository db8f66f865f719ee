"""Colours, where somebody looks."""

import os
from collections.abc import Callable
from typing import TextIO

Paint = Callable[[str, str], str]
"""Text and the name of a colour in, text out."""

_CODES = {"red": "31", "green": "32", "yellow": "33", "grey": "90", "bold": "1"}


def painter(stream: TextIO) -> Paint:
    """Return what colours text for `stream`: nothing, if that is no terminal or NO_COLOR is set."""
    if not stream.isatty() or os.environ.get("NO_COLOR"):
        return lambda text, _colour: text
    return lambda text, colour: f"\x1b[{_CODES[colour]}m{text}\x1b[0m"
