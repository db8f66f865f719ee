"""HTTP headers as byte pairs: which of them travel, in which direction."""

from collections.abc import Iterable

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
    """Return media type and charset of a Content-Type value, lower case; charset may be empty.

    Where readers could differ, as with two charsets, the charset is `?`.
    """
    media, _, rest = value.partition(";")
    charsets = []
    for parameter in rest.split(";"):
        name, _, text = parameter.partition("=")
        if name.strip().lower() == "charset":
            charsets.append(text.strip().strip('"').lower())
        elif "charset" in name.lower():
            charsets.append("?")
    charset = charsets[0] if len(charsets) == 1 else "?" if charsets else ""
    return media.strip().lower(), charset
