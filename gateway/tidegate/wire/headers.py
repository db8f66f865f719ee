"""HTTP headers as byte pairs: which of them travel, in which direction."""

from collections.abc import Iterable, Sequence

import msgspec

Pair = tuple[bytes, bytes]

HOP_BY_HOP = frozenset(
    (
        b"connection",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    )
)
"""Of one connection only (RFC 9110 section 7.6.1)."""

CREDENTIALS = frozenset((b"x-api-key", b"authorization"))

REQUEST_OWN = HOP_BY_HOP | {
    b"host",
    b"content-length",
    b"expect",  # answered here; forwarded, the upstream's 100 would look like the answer
    b"cookie",  # for this host, if for any
    b"baggage",  # the caller's own notes, not for a third party
    b"tracestate",
}
"""Request headers that do not travel or are written anew."""

REQUEST_STOP = REQUEST_OWN | CREDENTIALS | {b"accept-encoding"}


NO_OPTIONS: frozenset[bytes] = frozenset()
_COMMON_OPTIONS = frozenset((b"", b"keep-alive", b"close"))


def options(connection: bytes) -> frozenset[bytes]:
    """Return the header names that a `Connection` value declares hop-by-hop, in lower case."""
    if connection in (b"keep-alive", b"close"):
        return NO_OPTIONS
    named = frozenset(option.strip().lower() for option in connection.split(b","))
    return named - _COMMON_OPTIONS


def encode(headers: Iterable[Pair]) -> bytes:
    """Return header lines, each ended by CRLF."""
    return b"".join([b"%s: %s\r\n" % pair for pair in headers])


DECODABLE = frozenset((b"gzip", b"x-gzip", b"deflate", b"identity"))
"""Content codings that the usage meter can read."""


def accept_encoding(value: bytes) -> bytes:
    """Return the offer without codings that the meter cannot read; `identity` if none is left."""
    offered = value.split(b",")
    kept = [item for item in offered if item.partition(b";")[0].strip().lower() in DECODABLE]
    if len(kept) == len(offered):
        return value
    return b",".join(kept).strip() or b"identity"


def content_type(value: str) -> tuple[str, str]:
    """Return media type and charset of a Content-Type value, lower case; charset may be empty."""
    media, _, rest = value.partition(";")
    charset = ""
    for parameter in rest.split(";"):
        name, _, text = parameter.partition("=")
        if name.strip().lower() == "charset":
            charset = text.strip().strip('"').lower()
    return media.strip().lower(), charset


RATE_LIMITS = b"anthropic-ratelimit-"


class Answer(msgspec.Struct):
    """The headers of an answer, sorted out in one pass."""

    kept: list[Pair]
    """Those that travel on, in order."""
    lengths: list[bytes]
    codings: list[bytes]
    """Transfer codings."""
    content_type: str = ""
    content_encoding: str = ""
    request_id: str | None = None
    limits: dict[str, str] | None = None
    """Rate limits by what follows `anthropic-ratelimit-`."""


_NOTED = HOP_BY_HOP | {b"content-length", b"content-type", b"content-encoding", b"request-id"}


def answer(pairs: Sequence[Pair]) -> Answer:
    """Return what matters of an answer's headers, and which of them travel."""
    found = Answer([], [], [])
    private = NO_OPTIONS
    for pair in pairs:
        name = pair[0].lower()
        if name in _NOTED:
            if name == b"connection":
                private |= options(pair[1])
            elif name == b"transfer-encoding":
                found.codings.append(pair[1])
            if name in HOP_BY_HOP:
                continue
            _note(found, name, pair[1])
        elif name.startswith(RATE_LIMITS):
            limits = found.limits = found.limits or {}
            limits[name[len(RATE_LIMITS) :].decode("latin-1")] = pair[1][:40].decode("latin-1")
        found.kept.append(pair)
    if private:
        found.kept = [pair for pair in found.kept if pair[0].lower() not in private]
    return found


def _note(found: Answer, name: bytes, value: bytes) -> None:
    if name == b"content-length":
        found.lengths.append(value)
    elif name == b"content-type":
        found.content_type = value.decode("latin-1")
    elif name == b"content-encoding":
        found.content_encoding = value.decode("latin-1")
    else:
        found.request_id = value[:128].decode("latin-1")
