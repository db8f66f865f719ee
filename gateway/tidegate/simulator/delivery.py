"""Sending a reply: paced, in chunks, compressed, cut or stalled as the controls say."""

import asyncio
import socket
import struct
import zlib
from collections.abc import Iterator, Sequence

from aiohttp import web

from tidegate.simulator.options import PER_EVENT, Options
from tidegate.simulator.replies import Reply

_RESET_ON_CLOSE = struct.pack("ii", 1, 0)


def head(reply: Reply) -> web.StreamResponse:
    """Return the response with its head, not yet sent."""
    response = web.StreamResponse(status=reply.status, headers=reply.headers)
    if reply.fixed_length:
        response.content_length = sum(map(len, reply.frames))
    return response


async def send(request: web.BaseRequest, response: web.StreamResponse, reply: Reply) -> None:
    """Send the body of a reply whose head is out. Faults happen here."""
    options = reply.options
    encoder = _Encoder(options)
    for index, frame in enumerate(reply.frames):
        if index in (options.cut, options.stall):
            break
        if index and options.pace_ms:
            await asyncio.sleep(options.pace_ms / 1000)
        await _write(response, encoder.feed(frame))
    await _end(request, response, encoder, options)


async def _end(
    request: web.BaseRequest, response: web.StreamResponse, encoder: "_Encoder", options: Options
) -> None:
    whole = options.cut is None and options.stall is None
    await _write(response, encoder.finish(whole=whole))
    if options.cut is not None:
        close(request, reset=options.reset)
    elif options.stall is not None:
        await asyncio.Event().wait()


async def _write(response: web.StreamResponse, chunks: Iterator[bytes]) -> None:
    for chunk in chunks:
        await response.write(chunk)
        await asyncio.sleep(0)  # one write, one segment, as far as the loop has a say


def close(request: web.BaseRequest, *, reset: bool = False) -> None:
    """Close the connection; what has been written is sent first, unless it is a reset."""
    transport = request.transport
    if transport is None:
        return
    if not reset:
        transport.close()
        return
    connection: socket.socket = transport.get_extra_info("socket")
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
    transport.abort()


class _Encoder:
    """From frames to writes: compression and chunk sizes."""

    def __init__(self, options: Options) -> None:
        self._size = options.chunk
        self._held = bytearray()
        self._gzip = zlib.compressobj(wbits=31) if options.gzip else None

    def feed(self, frame: bytes) -> Iterator[bytes]:
        """Yield the writes that a frame fills."""
        if self._gzip is not None:
            # Flushed at each event, as the API does: a reader can decode all that is there.
            frame = self._gzip.compress(frame) + self._gzip.flush(zlib.Z_SYNC_FLUSH)
        if self._size == PER_EVENT:
            yield frame
            return
        self._held += frame
        while self._size and len(self._held) >= self._size:
            yield bytes(self._held[: self._size])
            del self._held[: self._size]

    def finish(self, *, whole: bool) -> Iterator[bytes]:
        """Yield what is left; with the end of the compressed data if the body is whole."""
        if self._gzip is not None and whole:
            self._held += self._gzip.flush()
        yield from _cut(bytes(self._held), self._size)


def _cut(rest: bytes, size: int) -> Sequence[bytes]:
    step = size if size > 0 else max(1, len(rest))
    return [rest[start : start + step] for start in range(0, len(rest), step)]
