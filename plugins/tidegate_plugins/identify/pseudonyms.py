"""The caller's own credential, told apart from others by a digest that only we can make.

It is keyed with a secret of this deployment, so that a record does not help to guess it.
"""

import hmac
import os
from pathlib import Path

from tidegate.errors import PluginError
from tidegate.exchange import Principal
from tidegate_plugins.identify.config import Config, Reference
from tidegate_plugins.identify.key_file import obtain
from tidegate_plugins.identify.keyring import octets

MIN_BYTES = 16
FILE = "identify.key"


class Pseudonyms:
    """Names of people whom only the upstream knows."""

    def __init__(self, config: Config, secret: bytes) -> None:
        self._secret = secret
        self._teams = config.teams
        self._default_team = config.default_team

    def principal(self, value: str) -> Principal:
        """Return who presents that credential."""
        keyed = hmac.digest(self._secret, octets(value), "sha256").hex()
        name = f"cred-{keyed[:12]}"
        team = self._teams.get(name, self._default_team)
        return Principal(id=name, team=team, labels={"credential": "forwarded"})


def secret_of(reference: Reference | None, state_dir: Path) -> bytes:
    """Return the key of the pseudonyms: the configured one, or this deployment's own.

    Raises:
        PluginError: it is not there, or too short.
    """
    if reference is None:
        return obtain(state_dir / FILE)
    try:
        value = (
            os.environ.get(reference.env, "").encode()
            if reference.env
            else Path(reference.file).read_bytes()
        ).strip()
    except OSError as error:
        raise PluginError(f"forward_key: {reference.file}: {error.strerror}") from None
    if len(value) < MIN_BYTES:
        where = reference.env or reference.file
        raise PluginError(f"forward_key: {where} is not set, or shorter than {MIN_BYTES} bytes")
    return value
