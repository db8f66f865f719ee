"""The head of an answer, read once: strictly, and with its header lines kept as they came."""

import re
from collections.abc import Iterable
from functools import lru_cache

import msgspec

from tidegate.wire.framing import Chunked, Framing, Length, UntilClose
from tidegate.wire.headers import HOP_BY_HOP, NO_OPTIONS, options

RATE_LIMITS = b"anthropic-ratelimit-"
_LIMIT_AT = len(RATE_LIMITS)


class HeadError(Exception):
    """The upstream's head cannot be trusted. The message never quotes it."""


class Answer(msgspec.Struct):
    """An answer's status line and headers, sorted out in one pass."""

    status: int
    reason: bytes
    close: bool
    """The upstream will not keep this connection."""
    kept: list[bytes]
    """The header lines that travel on, in order, without their CRLF."""
    lengths: list[bytes]
    codings: list[bytes]
    """Transfer codings."""
    content_type: str = ""
    content_encoding: str = ""
    request_id: str | None = None
    limits: list[bytes] = []
    """The header lines that tell of rate limits, from where `anthropic-ratelimit-` ends."""


_STATUS = re.compile(rb"HTTP/1\.([01]) ([1-9][0-9]{2})(?: (.*))?", re.DOTALL)
_TOKEN = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_TEXT = bytes(byte for byte in range(256) if byte in b"\t\r\n" or (byte >= 32 and byte != 127))


def read_head(head: bytes) -> Answer:
    """Return the head of a response, up to and with its empty line (RFC 9112 sections 4, 5).

    Strict where lenience could make the client see another message than we do: CRLF only,
    no folded lines, no blank before a colon, no control characters. Called by the
    connection to the upstream, once for each answer.

    Raises:
        HeadError: it is malformed.
    """
    lines = head.split(b"\r\n")
    ends = len(lines) - 1
    if head.translate(None, _TEXT) or not head.count(b"\r") == head.count(b"\n") == ends:
        raise HeadError("it holds control characters")
    answer = Answer(*_status(lines[0]), [], [], [])
    _sort(lines[1:-2], answer)
    return answer


@lru_cache(maxsize=64)
def _status(line: bytes) -> tuple[int, bytes, bool]:
    """Return status and reason, and whether the connection closes unless it says otherwise.

    Raises:
        HeadError: it is no status line.
    """
    match = _STATUS.fullmatch(line)
    if match is None:
        raise HeadError("its status line is malformed")
    return int(match[2]), match[3] or b"", match[1] == b"0"


def _sort(lines: list[bytes], answer: Answer) -> None:
    private, close = NO_OPTIONS, answer.close
    keep = answer.kept.append
    for line in lines:
        name, colon, value = line.partition(b":")
        what = _noted.get(name)
        if what is None:
            what = _classify(name)
        if not colon:
            raise HeadError("one of its header lines has no colon")
        if what is RATE_LIMITS:
            answer.limits.append(line[_LIMIT_AT:])
        elif what:
            value = value.strip(b" \t")
            if what == b"connection":
                private |= options(value)
                close = _closes(value, close)
            elif what == b"transfer-encoding":
                answer.codings.append(value)
            if what in HOP_BY_HOP:
                continue
            _note(answer, what, value)
        keep(line)
    answer.close = close
    if private:
        answer.kept = [
            line for line in answer.kept if line.partition(b":")[0].lower() not in private
        ]


_noted: dict[bytes, bytes] = {}
"""Header names as upstreams spell them, and what is to be noted of each: few, so they are kept."""
_MOST_NAMES = 512
_OF_INTEREST = HOP_BY_HOP | {b"content-length", b"content-type", b"content-encoding", b"request-id"}


def _classify(name: bytes) -> bytes:
    """Return the name in lower case if it matters here, and nothing otherwise.

    Raises:
        HeadError: it is no name.
    """
    if not _TOKEN.fullmatch(name):
        raise HeadError("one of its header names is malformed")
    lower = name.lower()
    what = lower if lower in _OF_INTEREST else b""
    if lower.startswith(RATE_LIMITS):
        what = RATE_LIMITS
    if len(_noted) < _MOST_NAMES:
        _noted[name] = what
    return what


def _closes(value: bytes, before: bool) -> bool:
    """Whether the connection ends with this answer; HTTP/1.0 can keep it only by saying so."""
    named = {option.strip().lower() for option in value.split(b",")}
    if b"close" in named:
        return True
    return before and b"keep-alive" not in named


def _note(answer: Answer, name: bytes, value: bytes) -> None:
    if name == b"content-length":
        answer.lengths.append(value)
    elif name == b"content-type":
        answer.content_type = value.decode("latin-1")
    elif name == b"content-encoding":
        answer.content_encoding = value.decode("latin-1")
    else:
        answer.request_id = value[:128].decode("latin-1")


def limits_of(lines: Iterable[bytes]) -> dict[str, str] | None:
    """Return what `Answer.limits` says, by name; None if there is nothing.

    For the record, at the end of an exchange: it costs a third of reading the head.
    """
    limits: dict[str, str] = {}
    for line in lines:
        name, _, value = line.decode("latin-1").partition(":")
        limits[name.lower()] = value.strip(" \t")[:40]
    return limits or None


def framing_of(answer: Answer) -> Framing:
    """Return how the body is delimited (RFC 9112 section 6.3).

    Raises:
        HeadError: it could be understood in more than one way.
    """
    if answer.status in (204, 304):
        return Length(0)
    if answer.codings:
        if [coding.lower() for coding in answer.codings] != [b"chunked"] or answer.lengths:
            raise HeadError("its transfer coding is not plain chunked")
        return Chunked()
    if not answer.lengths:
        return UntilClose()
    length = answer.lengths[0]
    if not length.isdigit() or len(length) > 18 or any(o != length for o in answer.lengths):
        raise HeadError("its content length is not one number")
    return Length(int(length))
