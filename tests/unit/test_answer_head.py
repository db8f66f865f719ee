"""The head of an answer: what is read from it, and what is refused."""

import pytest

from tidegate.wire.answer import HeadError, framing_of, limits_of, read_head
from tidegate.wire.framing import Chunked, Length, UntilClose


def head(*lines: bytes, status: bytes = b"HTTP/1.1 200 OK") -> bytes:
    return b"".join(line + b"\r\n" for line in (status, *lines, b""))


def test_lines_travel_as_they_were_written():
    lines = (
        b"Date: today",
        b"X-ODD:no blank",
        b"x-empty:",
        b"Set-Cookie: a=1",
        b"set-cookie:  b=\xe9 ",
    )
    assert read_head(head(*lines)).kept == list(lines)


def test_hop_by_hop_headers_and_those_that_connection_names_stay():
    answer = read_head(
        head(b"Connection: close, X-Mine", b"x-mine: 1", b"Keep-Alive: 5", b"Upgrade: h2c", b"b: 2")
    )
    assert answer.kept == [b"b: 2"]
    assert answer.close


def test_what_the_record_needs_is_noted():
    answer = read_head(
        head(
            b"Content-Type: text/event-stream; charset=utf-8",
            b"content-encoding: gzip",
            b"Request-Id: req_1",
            b"anthropic-ratelimit-tokens-remaining: 12",
        )
    )
    assert answer.content_type == "text/event-stream; charset=utf-8"
    assert answer.content_encoding == "gzip"
    assert answer.request_id == "req_1"
    assert limits_of(answer.limits) == {"tokens-remaining": "12"}
    assert len(answer.kept) == 4


@pytest.mark.parametrize(
    ("status", "line", "close"),
    [
        (b"HTTP/1.1 200 OK", b"a: b", False),
        (b"HTTP/1.1 200 OK", b"Connection: Close", True),
        (b"HTTP/1.0 200 OK", b"a: b", True),
        (b"HTTP/1.0 200 OK", b"connection: keep-alive", False),
    ],
)
def test_who_closes(status, line, close):
    assert read_head(head(line, status=status)).close is close


def test_a_status_without_a_reason():
    answer = read_head(head(status=b"HTTP/1.1 529"))
    assert (answer.status, answer.reason) == (529, b"")


@pytest.mark.parametrize(
    "wrong",
    [
        b"HTTP/2 200 OK\r\n\r\n",
        b"HTTP/1.1 20 OK\r\n\r\n",
        b"HTTP/1.1 2000 OK\r\n\r\n",
        b"HTTP/1.1  200 OK\r\n\r\n",
        b"ICY 200 OK\r\n\r\n",
        b"\r\nHTTP/1.1 200 OK\r\n\r\n",
        head(b"a : b"),
        head(b"a b: c"),
        head(b": c"),
        head(b"no colon"),
        head(b"a: b", b" folded: c"),
        head(b"a: b\x00c"),
        head(b"a: b\nsmuggled: c"),
        head(b"a: b\rsmuggled: c"),
        head(b"\xe9: c"),
        b"HTTP/1.1 200 OK\na: b\r\n\r\n",
        b"HTTP/1.1 200 O\rK\r\na: b\r\n\r\n",
    ],
)
def test_malformed_heads_are_refused_unquoted(wrong):
    with pytest.raises(HeadError) as caught:
        read_head(wrong)
    assert str(caught.value) in (
        "its status line is malformed",
        "it holds control characters",
        "one of its header lines has no colon",
        "one of its header names is malformed",
    )


@pytest.mark.parametrize(
    ("lines", "framing"),
    [
        ([b"Content-Length: 5"], Length),
        ([b"Content-Length: 5", b"content-length: 5"], Length),
        ([b"Transfer-Encoding: Chunked"], Chunked),
        ([], UntilClose),
    ],
)
def test_how_the_body_is_delimited(lines, framing):
    assert type(framing_of(read_head(head(*lines)))) is framing


@pytest.mark.parametrize(
    "lines",
    [
        [b"Content-Length: 5", b"Content-Length: 6"],
        [b"Content-Length: +5"],
        [b"Content-Length: 5, 5"],
        [b"Content-Length: "],
        [b"Content-Length: 5", b"Transfer-Encoding: chunked"],
        [b"Transfer-Encoding: gzip, chunked"],
        [b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked"],
        [b"Transfer-Encoding: xchunked"],
        [b"Content-Length: " + b"9" * 30],
    ],
)
def test_bodies_with_two_readings_are_refused(lines):
    with pytest.raises(HeadError):
        framing_of(read_head(head(*lines)))


def test_names_are_not_collected_without_bound():
    for number in range(2000):
        read_head(head(b"x-%d: 1" % number))
    assert read_head(head(b"Content-Length: 5")).lengths == [b"5"]
