"""HTTP headers as byte pairs: which of them travel, in which direction."""

from collections.abc import Iterable, Sequence

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


def connection_options(headers: Iterable[Pair]) -> frozenset[bytes]:
    """Return the header names that `Connection` declares hop-by-hop, in lower case."""
    options = [value for name, value in headers if name.lower() == b"connection"]
    if not options:
        return frozenset()
    return frozenset(item.strip().lower() for item in b",".join(options).split(b","))


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


def first(headers: Sequence[Pair], name: bytes) -> bytes | None:
    """Return the value of the first header of that (lower case) name."""
    return next((value for key, value in headers if key.lower() == name), None)
