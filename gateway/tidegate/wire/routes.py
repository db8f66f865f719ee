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
    CHAT = "chat_completions"
    MODELS = "models"
    MODEL = "model"
    BATCHES = "batches"
    BATCH_LIST = "batch_list"
    BATCH = "batch"
    BATCH_CANCEL = "batch_cancel"
    BATCH_DELETE = "batch_delete"
    BATCH_RESULTS = "batch_results"
    FILE_LIST = "file_list"
    FILE = "file"
    FILE_CONTENT = "file_content"
    FILE_DELETE = "file_delete"
    PROBE = "probe"
    OPTIONS = "options"
    NONE = "none"


GOVERNED_BODIES = frozenset({Kind.MESSAGES, Kind.COUNT_TOKENS})
"""Kinds that carry a prompt: parsed, checked and cleaned."""

WITH_BODY = GOVERNED_BODIES | {Kind.BATCHES, Kind.CHAT}
"""Kinds whose body is read and sent on. A batch's prompts are checked one by one, and a chat as the
request to `/v1/messages` that it amounts to: policies never meet its kind."""

CHAT_PATH = "/v1/chat/completions"
"""The OpenAI format's own; where the configuration does not open it, it does not exist."""

BATCH_KINDS = frozenset(
    {
        Kind.BATCHES,
        Kind.BATCH_LIST,
        Kind.BATCH,
        Kind.BATCH_CANCEL,
        Kind.BATCH_DELETE,
        Kind.BATCH_RESULTS,
    }
)
FILE_KINDS = frozenset({Kind.FILE_LIST, Kind.FILE, Kind.FILE_CONTENT, Kind.FILE_DELETE})

CLOSED = BATCH_KINDS | FILE_KINDS
"""Kinds that are refused unless a policy opens them (`Admit.opens`): what they reach is kept at
the provider, for all who share the upstream's workspace."""

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

    @property
    def recorded(self) -> str:
        """What records call it: a chat is one more way to ask for messages."""
        return _RECORDED[self.kind]


_RECORDED = {kind: kind.value for kind in Kind} | {Kind.CHAT: Kind.MESSAGES.value}

_PATHS: dict[str, dict[str, Kind]] = {
    "/v1/messages": {"POST": Kind.MESSAGES},
    "/v1/messages/count_tokens": {"POST": Kind.COUNT_TOKENS},
    "/v1/models": {"GET": Kind.MODELS},
    CHAT_PATH: {"POST": Kind.CHAT},
    "/v1/messages/batches": {"POST": Kind.BATCHES, "GET": Kind.BATCH_LIST},
    "/v1/files": {"GET": Kind.FILE_LIST},
    "/": {"HEAD": Kind.PROBE},
    "/api/hello": {"HEAD": Kind.PROBE},
}
_BATCH = r"/v1/messages/batches/msgbatch_[A-Za-z0-9_-]{1,200}"
_FILE = r"/v1/files/file_[A-Za-z0-9_-]{1,200}"
_PATTERNS: tuple[tuple[re.Pattern[str], dict[str, Kind]], ...] = (
    (re.compile(r"/v1/models/[A-Za-z0-9][A-Za-z0-9._:@\[\]-]{0,199}"), {"GET": Kind.MODEL}),
    (re.compile(_BATCH), {"GET": Kind.BATCH, "DELETE": Kind.BATCH_DELETE}),
    (re.compile(f"{_BATCH}/cancel"), {"POST": Kind.BATCH_CANCEL}),
    (re.compile(f"{_BATCH}/results"), {"GET": Kind.BATCH_RESULTS}),
    (re.compile(_FILE), {"GET": Kind.FILE, "DELETE": Kind.FILE_DELETE}),
    (re.compile(f"{_FILE}/content"), {"GET": Kind.FILE_CONTENT}),
)


@functools.lru_cache(maxsize=256)
def resolve(method: str, target: str) -> Route:
    """Return the route of a raw request target, such as `/v1/messages?beta=true`.

    An unknown path, or a known one with another method, is `Kind.NONE`. Paths are
    compared byte by byte: no decoding, no folding of `//` or `..`, no trailing slash.
    """
    path, mark, rest = target.partition("?")
    query = mark + rest
    methods = _PATHS.get(path) or _with_id(path)
    if methods is None:
        return Route(Kind.NONE, method, path, query)
    if method == "OPTIONS":
        return Route(Kind.OPTIONS, method, path, query, allowed=tuple(methods))
    kind = methods.get(method, Kind.NONE)
    return Route(kind, method, path, query, allowed=tuple(methods))


def _with_id(path: str) -> dict[str, Kind] | None:
    return next((methods for pattern, methods in _PATTERNS if pattern.fullmatch(path)), None)
