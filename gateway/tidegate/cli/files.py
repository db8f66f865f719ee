"""What commands read, and what they say where that cannot be read."""

import sys
from pathlib import Path

from tidegate.errors import ConfigError, Problem


def text_of(path: Path | None) -> str | None:
    """Return the text of a file, or None for none.

    Raises:
        ConfigError: it cannot be read.
    """
    if path is None:
        return None
    try:
        return path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "is not UTF-8"
        raise ConfigError([Problem(str(path), reason or "cannot be read")]) from None


def bytes_of(name: str) -> bytes:
    """Return the bytes of a file, or of standard input for `-`.

    Raises:
        ConfigError: it cannot be read.
    """
    if name == "-":
        return sys.stdin.buffer.read()
    try:
        return Path(name).read_bytes()
    except OSError as error:
        raise ConfigError([Problem(name, error.strerror or "cannot be read")]) from None
