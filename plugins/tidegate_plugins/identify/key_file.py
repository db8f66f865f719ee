"""A secret of this deployment, kept in a file that every worker finds the same."""

import os
import secrets
from pathlib import Path

from tidegate.errors import PluginError

SIZE = 32


def obtain(path: Path) -> bytes:
    """Return the secret in the file; make both if there is none.

    Raises:
        PluginError: the file can be neither read nor made, or is not what it should be.
    """
    try:
        if not path.exists():
            _create(path)
        return _read(path)
    except OSError as error:
        raise PluginError(f"{path}: cannot keep the key there: {error.strerror}") from error


def _create(path: Path) -> None:
    """Make the file whole or not at all, however many workers do it at the same time.

    A hard link appears with all its content, and fails where another worker was first;
    then theirs is the secret.
    """
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(secrets.token_bytes(SIZE))
            file.flush()
            os.fsync(file.fileno())
        path.hardlink_to(draft)
    except FileExistsError:
        pass
    finally:
        draft.unlink()


def _read(path: Path) -> bytes:
    if path.stat().st_mode & 0o007:
        raise PluginError(f"{path}: other users can open it; chmod 600, and make a new one")
    secret = path.read_bytes()
    if len(secret) != SIZE:
        raise PluginError(
            f"{path}: holds {len(secret)} bytes instead of {SIZE}; restore it, or remove it "
            "to make a new one (principals then get new names)"
        )
    return secret
