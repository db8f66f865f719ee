"""Ids that look like the API's and are the same in every run."""

import hashlib

_ALPHABET = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"


def short(*parts: object, length: int = 22) -> str:
    """Return a name for `parts`, of letters and digits."""
    digest = hashlib.sha256("\0".join(map(str, parts)).encode()).digest()
    return "".join(_ALPHABET[byte % len(_ALPHABET)] for byte in digest[:length])


class Ids:
    """The ids of one answer: from the request's digest and a counter."""

    def __init__(self, *seed: object) -> None:
        self._seed = short(*seed)
        self._count = 0

    def new(self, prefix: str) -> str:
        """Return the next id, such as `toolu_01…` for the prefix `toolu_01`."""
        self._count += 1
        return prefix + short(self._seed, self._count)
