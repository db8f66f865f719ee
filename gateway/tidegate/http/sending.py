"""The head that goes upstream, and the headers of our own that go back."""

from collections.abc import Sequence

from tidegate.pipeline.conclude import Course
from tidegate.pipeline.generation import Generation
from tidegate.wire import headers
from tidegate.wire.headers import Pair


def upstream_head(
    pairs: Sequence[Pair],
    start: bytes,
    *,
    credential: Pair | None,
    forward: bool,
    length: int | None,
) -> bytes:
    """Return the request head for the upstream: all end-to-end headers, in their order.

    `start` is the request line with Host. `credential` replaces whatever the caller sent;
    without one the caller's own goes, if it is to `forward`: a key of this gateway is not.
    `length` is that of the body, if there is one.
    """
    stop, private = headers.REQUEST_STOP, headers.NO_OPTIONS
    forward = forward and credential is None
    kept: list[Pair] = []
    for pair in pairs:
        name = pair[0].lower()
        if name not in stop:
            kept.append(pair)
        elif name == b"accept-encoding":
            kept.append((pair[0], headers.accept_encoding(pair[1])))
        elif forward and name in headers.CREDENTIALS and pair[1].strip():
            kept.append(pair)
        elif name == b"connection":
            private |= headers.options(pair[1])
    if private:
        kept = [pair for pair in kept if pair[0].lower() not in private]
    if credential is not None:
        kept.append(credential)
    if length is not None:
        kept.append((b"Content-Length", b"%d" % length))
    return start + headers.encode(kept) + b"\r\n"


def credential_pair(generation: Generation) -> Pair | None:
    """Return the gateway's own credential as the upstream wants it, if it has one."""
    secret = generation.credential
    if secret is None:
        return None
    if generation.config.upstream.auth_header == "x-api-key":
        return b"x-api-key", secret.encode()
    return b"authorization", b"Bearer " + secret.encode()


def own_headers(course: Course) -> list[Pair]:
    """Return what is added to every answer: the record's id, and what policies announce."""
    fields: list[Pair] = [(b"x-tidegate-id", course.exchange.id.encode())]
    if course.admission is not None:
        fields += [(name.encode(), value.encode()) for name, value in course.admission.headers]
    return fields
