"""Large requests: sent a part at a time, whole, and in nobody's way."""

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path

from support.gateway import gateway
from support.raw import ask, post
from tidegate.http.pool import Pool
from tidegate.http.upstream import PART_BYTES, Connection

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Coroutine[None, None, None]]
SMALL = b'{"model":"claude-x","max_tokens":5,"messages":[]}'
ANSWER = b"HTTP/1.1 %d X\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b"
PARTS = 24


@asynccontextmanager
async def server(serve: Serve) -> AsyncIterator[str]:
    """An upstream that reads as it likes, and closes nothing before the end."""
    served: list[asyncio.Task[None]] = []
    writers: list[asyncio.StreamWriter] = []

    def begin(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        served.append(asyncio.create_task(serve(reader, writer)))

    listening = await asyncio.start_server(begin, "127.0.0.1", 0, limit=65536)
    try:
        yield f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}"
    finally:
        listening.close()
        for writer in writers:
            writer.transport.abort()
        for ended in await asyncio.gather(*served, return_exceptions=True):
            assert ended is None or isinstance(ended, asyncio.IncompleteReadError)


def large() -> bytes:
    """A request that takes many parts, none like another."""
    words = " ".join(map(str, range(PARTS * PART_BYTES // 7)))
    return json.dumps(
        json.loads(SMALL) | {"messages": [{"role": "user", "content": words}]}
    ).encode()


async def length_of(reader: asyncio.StreamReader) -> int:
    """Read the head of a request; return how long its body is."""
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    return int(head.partition(b"content-length: ")[2].partition(b"\r\n")[0])


async def test_an_upstream_that_takes_its_time_gets_all_and_others_are_served(
    tmp_path: Path,
) -> None:
    go_on = asyncio.Event()
    started = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        left = await length_of(reader)
        heard = hashlib.sha256()
        while left:
            if left > len(SMALL):
                started.set()
                await go_on.wait()
            piece = await reader.read(left)
            heard.update(piece)
            left -= len(piece)
        said = heard.hexdigest().encode()
        writer.write(ANSWER % (200, len(said), said))

    asked = large()
    async with server(serve) as url, gateway(tmp_path, url) as gate:
        slow = asyncio.create_task(ask(gate.port, post(asked)))
        await started.wait()
        _, _, body = await ask(gate.port, post(SMALL))
        assert body == hashlib.sha256(SMALL).hexdigest().encode()
        go_on.set()
        status, _, body = await slow
    assert (status, body) == (200, hashlib.sha256(asked).hexdigest().encode())


async def test_a_connection_on_which_a_request_was_cut_short_by_its_answer_is_not_used_again(
    tmp_path: Path,
) -> None:
    """What is left of the large body would be taken for the beginning of the next request."""
    connections = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        while (length := await length_of(reader)) == len(SMALL):
            body = await reader.readexactly(length)
            writer.write(ANSWER % (200, len(body), body))
        writer.write(ANSWER % (413, 2, b"{}"))  # and reads no more

    async with server(serve) as url, gateway(tmp_path, url) as gate:
        for _ in range(3):
            status, _, _ = await ask(gate.port, post(large()))
            assert status == 413
            status, _, body = await ask(gate.port, post(SMALL))
            assert (status, body) == (200, SMALL)
    assert connections == 4  # three that were cut short, and one for all the small ones


async def test_others_have_their_turn_between_two_parts() -> None:
    """With a transport that takes everything at once, which nothing else would stop."""
    sent: list[int] = []

    class Taking(asyncio.Transport):
        def write(self, data: bytes | bytearray | memoryview) -> None:
            sent.append(len(data))

        def is_closing(self) -> bool:
            return False

    class Owner(Pool):
        def __init__(self) -> None:
            self.loop = asyncio.get_running_loop()

    connection = Connection(Owner())
    connection.connection_made(Taking())
    connection.send(b"head", bytes(3 * PART_BYTES + 1), None)  # type: ignore[arg-type]
    seen = []
    for _ in range(4):
        seen.append(len(sent))
        await asyncio.sleep(0)
    assert seen == [2, 3, 4, 5]
    assert sent == [4, PART_BYTES, PART_BYTES, PART_BYTES, 1]
