"""What passing on one event of a stream costs a worker's own code: microseconds, and calls.

Run it from the project's folder: `python tests/bench/relay_cost.py`. The streams take turns, as they
do in a worker, so that their objects are not at hand; the sockets are replaced by what does nothing.
The calls, of Python and of C functions, are the same on every machine.
"""

import asyncio
import gc
import sys
import time
from collections import Counter
from pathlib import Path
from types import FrameType

sys.path.insert(0, str(Path(__file__).parents[1]))

from support.relays import relaying
from tidegate.http.request import no_exchange
from tidegate.http.upstream import Connection
from tidegate.pipeline.conclude import Course
from tidegate.wire.capture import Capture, Room
from tidegate.wire.framing import chunk

ROUNDS = 160
HEAD = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
    b"Transfer-Encoding: chunked\r\nrequest-id: req_1\r\n\r\n"
)
START = chunk(
    b'event: message_start\ndata: {"type":"message_start","message":{"id":"msg_1",'
    b'"model":"claude","usage":{"input_tokens":5,"output_tokens":1}}}\n\n'
)


def delta(number: int) -> bytes:
    return chunk(
        b'event: content_block_delta\ndata: {"type":"content_block_delta","index":0,'
        b'"delta":{"type":"text_delta","text":"t=%015d number %d"}}\n\n' % (number, number)
    )


class Sink:
    """Stands for both sockets, and for the pool."""

    def write(self, data: bytes) -> None:
        pass

    def is_closing(self) -> bool:
        return False


def streams(count: int, *, captured: bool) -> list[Connection]:
    """Return the upstreams' sides of so many streams that have begun."""
    room = Room()
    begun: list[Connection] = []
    for _ in range(count):
        course = Course(no_exchange(1.0), 1)
        course.capture = Capture(room) if captured else None
        sink = Sink()
        _, connection = relaying(sink, sink, course)
        connection.data_received(HEAD + START)
        begun.append(connection)
    return begun


def events(connections: list[Connection], rounds: int) -> list[float]:
    """Pass an event on for each stream, again and again; return the microseconds each took."""
    took: list[float] = []
    for number in range(rounds):
        pieces = [delta(number) for _ in connections]
        before = time.thread_time_ns()
        for connection, piece in zip(connections, pieces, strict=True):
            connection.data_received(piece)
        took.append((time.thread_time_ns() - before) / len(connections) / 1000)
    return sorted(took)


def calls(connection: Connection) -> Counter[str]:
    """Return the calls for each event of a stream that has gone on for a while."""
    found: Counter[str] = Counter()
    pieces = [delta(number) for number in range(ROUNDS)]

    def seen(frame: FrameType, event: str, _: object) -> None:
        if event in {"call", "c_call"}:
            found[event] += 1

    sys.setprofile(seen)
    for piece in pieces:
        connection.data_received(piece)
    sys.setprofile(None)
    return found


async def main() -> None:
    print(
        "| streams | kept for inspection | µs an event, least | median | calls | of C functions |"
    )
    print("| --- | --- | --- | --- | --- | --- |")
    for count in (1, 1000):
        for captured in (False, True):
            connections = streams(count, captured=captured)
            gc.collect()
            took = events(connections, ROUNDS)
            found = calls(connections[0])
            print(
                f"| {count} | {captured} | {took[0]:.2f} | {took[len(took) // 2]:.2f} "
                f"| {found['call'] / ROUNDS:.1f} | {found['c_call'] / ROUNDS:.1f} |"
            )


if __name__ == "__main__":
    asyncio.run(main())
