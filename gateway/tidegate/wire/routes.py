"""The closed route table: a path is governed, answered here, or refused.

A route is computed once, from the raw request target, and used alike by policy, journal
and forwarding. The query never takes part.
"""

import enum
import functools
import re

import msgspec


class Kind(enum.StrEnum):
    """What is done with a request."""

    MESSAGES = "messages"
    COUNT_TOKENS = "count_tokens"
    MODELS = "models"
    MODEL = "model"
    PROBE = "probe"
    OPTIONS = "options"
    NONE = "none"


GOVERNED_BODIES = frozenset({Kind.MESSAGES, Kind.COUNT_TOKENS})
"""Kinds that carry a prompt: parsed, checked and cleaned."""

LOCAL = frozenset({Kind.PROBE, Kind.OPTIONS})
"""Kinds that the gateway answers itself."""


class Route(msgspec.Struct, frozen=True):
    """Where a request goes. `path` and `query` are as they came, to be sent on verbatim."""

    kind: Kind
    method: str
    path: str
    query: str = ""
    """With its `?`, or empty."""
    allowed: tuple[str, ...] = ()
    """For a known path with an unknown method: the methods it has."""

    @property
    def target(self) -> str:
        """The request target for the upstream."""
        return self.path + self.query


_PATHS: dict[str, dict[str, Kind]] = {
    "/v1/messages": {"POST": Kind.MESSAGES},
    "/v1/messages/count_tokens": {"POST": Kind.COUNT_TOKENS},
    "/v1/models": {"GET": Kind.MODELS},
    "/": {"HEAD": Kind.PROBE},
    "/api/hello": {"HEAD": Kind.PROBE},
}
_MODEL_PATH = re.compile(r"/v1/models/[A-Za-z0-9][A-Za-z0-9._:@\[\]-]{0,199}")
_MODEL_METHODS = {"GET": Kind.MODEL}


@functools.lru_cache(maxsize=256)
def resolve(method: str, target: str) -> Route:
    """Return the route of a raw request target, such as `/v1/messages?beta=true`.

    An unknown path, or a known one with another method, is `Kind.NONE`. Paths are
    compared byte by byte: no decoding, no folding of `//` or `..`, no trailing slash.
    """
    path, mark, rest = target.partition("?")
    query = mark + rest
    methods = _PATHS.get(path)
    if methods is None and _MODEL_PATH.fullmatch(path):
        methods = _MODEL_METHODS
    if methods is None:
        return Route(Kind.NONE, method, path, query)
    if method == "OPTIONS":
        return Route(Kind.OPTIONS, method, path, query, allowed=tuple(methods))
    kind = methods.get(method, Kind.NONE)
    return Route(kind, method, path, query, allowed=tuple(methods))
