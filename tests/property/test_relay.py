"""The relay: whatever the split of the upstream's bytes, the client gets them as they are, and they are read alike."""

import asyncio
import hashlib
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from support.relays import relaying
from tidegate.http.relay import SLOW_NS
from tidegate.http.request import no_exchange
from tidegate.http.upstream import Connection
from tidegate.pipeline.conclude import Course, Digests
from tidegate.wire.capture import Capture, Room
from tidegate.wire.framing import chunk
from tidegate.wire.meter import StreamMeter

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
START = (
    b'event: message_start\ndata: {"type":"message_start","message":{"id":"msg_1",'
    b'"model":"claude","usage":{"input_tokens":5,"output_tokens":1}}}\n\n'
)
DELTA = (
    b'event: content_block_delta\ndata: {"type":"content_block_delta","delta":{"text":"%d"}}\n\n'
)
PING = b'event: ping\r\ndata: {"type":"ping"}\r\n\r\n'
STOP = (
    b'event: message_delta\ndata: {"type":"message_delta","delta":{"stop_reason":"end_turn"},'
    b'"usage":{"output_tokens":15}}\n\nevent: message_stop\ndata: {"type":"message_stop"}\n\n'
)


class Sockets:
    """Both sockets and the pool: what is written is kept, what the pool does is noted."""

    def __init__(self) -> None:
        self.written = b""
        self.pooled = False

    def write(self, data: bytes) -> None:
        self.written += data

    def is_closing(self) -> bool:
        return False

    def is_reading(self) -> bool:
        return True

    def get_write_buffer_size(self) -> int:
        return 0

    def put_back(self, connection: Connection) -> None:
        self.pooled = True


async def relayed(pieces: list[bytes]) -> tuple[Sockets, Course]:
    """Pass an answer on that comes in these pieces."""
    upstream, client = Sockets(), Sockets()
    course = Course(no_exchange(1.0), 1, capture=Capture(Room()), digests=Digests())
    relay, connection = relaying(upstream, client, course)
    for piece in pieces:
        connection.data_received(piece)
    await relay.answered()
    client.pooled = upstream.pooled
    return client, course


@settings(deadline=None, max_examples=120)
@given(
    middle=st.lists(st.sampled_from([DELTA % 1, DELTA % 22222, PING, DELTA % 3 * 40]), max_size=60),
    sizes=st.lists(st.integers(1, 700), min_size=1, max_size=8),
    cuts=st.lists(st.integers(1, 400), min_size=1, max_size=30),
    extension=st.sampled_from([b"", b";x=y"]),
)
def test_any_split_is_passed_on_and_read_alike(
    middle: list[bytes], sizes: list[int], cuts: list[int], extension: bytes
) -> None:
    """Events in chunks of any size, chunks in pieces of any size."""
    payload = START + b"".join(middle) + STOP
    chunks = [
        chunk(part).replace(b"\r\n", extension + b"\r\n", 1) for part in parts(payload, sizes)
    ]
    body = b"".join(chunks) + b"0\r\n\r\n"
    client, course = asyncio.run(relayed(parts(HEAD + body, cuts)))
    whole = StreamMeter()
    whole.feed(payload)
    assert client.written.partition(b"\r\n\r\n")[2] == body
    assert course.reading == whole.finish()
    assert course.reading is not None
    assert course.reading.complete
    assert course.response == len(payload)
    assert course.capture is not None
    assert course.capture.payload() == payload
    assert client.pooled


def test_what_comes_slowly_is_not_kept_unread(monkeypatch: pytest.MonkeyPatch) -> None:
    """Thousands of streams are open that say little: what waits to be read would be their memory."""

    async def slowly() -> None:
        course = Course(no_exchange(1.0), 1, digests=Digests())
        _, connection = relaying(Sockets(), Sockets(), course)
        token = DELTA % 1
        connection.data_received(HEAD + chunk(START + token))
        for number in range(3):
            now = time.monotonic_ns() + (number + 1) * 2 * SLOW_NS
            monkeypatch.setattr("tidegate.http.relay.time.monotonic_ns", lambda now=now: now)
            connection.data_received(chunk(token))
            assert course.digests is not None
            so_far = hashlib.sha256(START + token * (number + 2)).hexdigest()
            assert course.digests.response.hexdigest() == so_far

    asyncio.run(slowly())


def parts(data: bytes, sizes: list[int]) -> list[bytes]:
    """Cut data into parts of these sizes, over and over."""
    found: list[bytes] = []
    at = 0
    while at < len(data):
        size = sizes[len(found) % len(sizes)]
        found.append(data[at : at + size])
        at += size
    return found
