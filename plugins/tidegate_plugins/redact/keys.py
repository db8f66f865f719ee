"""The HMAC key of a deployment: read, or made once for all of its workers."""

import contextlib
import hashlib
import hmac
import os
import secrets
from pathlib import Path

from tidegate.errors import PluginError
from tidegate_plugins.redact.config import Key

MIN_BYTES = 16
FILE = "redact.key"


def load(key: Key | None, state_dir: Path) -> bytes:
    """Return the configured key, or the one of the state directory, made if need be.

    Raises:
        PluginError: the key is missing or too short.
    """
    if key is None:
        return _kept(state_dir / FILE)
    if key.env:
        return _checked(os.environ.get(key.env, "").encode(), f"key.env: {key.env}")
    return _checked(_read(Path(key.file)), f"key.file: {key.file}")


def known(key: Key | None, state_dir: Path) -> bytes | None:
    """Return the key as `load` does, but make none: None where there is none yet.

    Raises:
        PluginError: the key is missing or too short.
    """
    if key is None and not (state_dir / FILE).exists():
        return None
    return load(key, state_dir)


def identify(key: bytes) -> str:
    """Return a short name of the key for records; the key cannot be told from it."""
    return hmac.new(key, b"tidegate redact key id", hashlib.sha256).hexdigest()[:8]


def _kept(path: Path) -> bytes:
    if not path.exists():
        _make(path)
    return _checked(_read(path), str(path))


def _make(path: Path) -> None:
    """Write a fresh key under a name of its own, then link it: the first one wins."""
    draft = path.with_name(f"{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    try:
        fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(fd, "wb") as file:
            file.write(secrets.token_hex(32).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())
        with contextlib.suppress(FileExistsError):
            os.link(draft, path)
    except OSError as error:
        raise PluginError(f"no HMAC key can be kept at {path} ({error}); configure `key`") from None
    finally:
        draft.unlink(missing_ok=True)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise PluginError(f"the HMAC key cannot be read: {error}") from None


def _checked(key: bytes, where: str) -> bytes:
    key = key.strip()
    if len(key) < MIN_BYTES:
        raise PluginError(f"{where}: the HMAC key is missing or shorter than {MIN_BYTES} bytes")
    return key
