"""What has to come back of a stream: at once, unchanged, and with its end told truly."""

import asyncio
import gzip
import zlib

import aiohttp

from tidegate.conformance.case import Case
from tidegate.conformance.probe import (
    EVENTS,
    Failed,
    Probe,
    begin_stream,
    brief,
    event,
    message,
    stream,
)
from tidegate.testing.upstream import Call

PROMPT_S = 2.0
"""Far more than a gateway needs to pass an event on."""
LEAVE_S = 5
SILENT_S = 65
"""Longer than the one-minute time-outs that proxies have by default."""


async def _prompt(probe: Probe) -> None:
    seen = asyncio.Event()

    async def in_step(call: Call) -> None:
        await begin_stream(call)
        for piece in EVENTS:
            seen.clear()
            await call.chunk(piece)
            await seen.wait()
        await call.say(b"0\r\n\r\n")

    async with probe.open(in_step, probe.body(stream=True), begin_s=PROMPT_S) as response:
        for number, piece in enumerate(EVENTS, 1):
            try:
                async with asyncio.timeout(PROMPT_S):
                    await _read_past(response, piece.count(b"\n\n"))
            except TimeoutError:
                raise Failed(f"event {number} was held back for more than {PROMPT_S:g} s") from None
            seen.set()


async def _read_past(response: aiohttp.ClientResponse, events: int) -> None:
    while events > 0:
        line = await response.content.readline()
        if not line:
            raise Failed("the stream ended early")
        events -= line in (b"\n", b"\r\n")


async def _exact(probe: Probe) -> None:
    odd = (
        EVENTS[0],
        b": a comment\n\n",
        b'event: ping\r\ndata: {"type": "ping"}\r\n\r\n',
        b'event: future_event\ndata: {"type":"future_event",  "n": 1.0}\n\n',
        b"event: content_block_delta\ndata: fianc",
        b"\xc3",
        b"\xa9\n\n",
        *EVENTS[1:],
    )

    async def script(call: Call) -> None:
        await stream(call, odd)

    answer = await probe.ask(script, probe.body(stream=True))
    if answer.body != b"".join(odd):
        raise Failed(f"the stream was changed: {brief(answer.body)}")


async def _error_event(probe: Probe) -> None:
    error = event("error", error={"type": "overloaded_error", "message": "Overloaded"})

    async def script(call: Call) -> None:
        await stream(call, (*EVENTS[:3], error))

    answer = await probe.ask(script, probe.body(stream=True))
    if answer.status != 200 or not answer.body.endswith(error):
        raise Failed(f"an error event within the stream was changed: {brief(answer.body[-160:])}")


async def _cut(probe: Probe) -> None:
    async def script(call: Call) -> None:
        await begin_stream(call)
        await call.chunk(EVENTS[0])
        await call.chunk(EVENTS[1])
        call.cut()

    async with asyncio.timeout(LEAVE_S):
        try:
            async with probe.open(script, probe.body(stream=True)) as response:
                read = await response.read()
        except Failed:
            return
    if b"event: error" not in read:
        raise Failed("a stream that the upstream broke off looked like one that had ended")


async def _cancel(probe: Probe) -> None:
    gone = asyncio.Event()

    async def script(call: Call) -> None:
        await begin_stream(call)
        await call.chunk(EVENTS[0])
        await call.gone()
        gone.set()

    async with probe.open(script, probe.body(stream=True), begin_s=PROMPT_S) as response:
        await _read_past(response, 1)
        response.close()
    try:
        async with asyncio.timeout(LEAVE_S):
            await gone.wait()
    except TimeoutError:
        raise Failed(f"{LEAVE_S} s after the client left, the upstream still answers") from None


async def _compressed(probe: Probe) -> None:
    plain = b"".join(EVENTS)

    async def script(call: Call) -> None:
        if "gzip" not in (call.heard.header("accept-encoding") or ""):
            await stream(call, EVENTS)
            return
        await begin_stream(call, ("content-encoding", "gzip"))
        await call.chunk(gzip.compress(plain))
        await call.say(b"0\r\n\r\n")

    headers = probe.head(("accept-encoding", "gzip, deflate, br, zstd"))
    answer = await probe.ask(script, probe.body(stream=True), headers=headers)
    coding = answer.header("content-encoding") or "identity"
    if coding not in ("gzip", "identity"):
        raise Failed(f"came as {coding}, which the upstream did not send")
    try:
        body = gzip.decompress(answer.body) if coding == "gzip" else answer.body
    except (OSError, EOFError, zlib.error):
        raise Failed("Content-Encoding and content disagree") from None
    if body != plain:
        raise Failed("a compressed stream was changed")


async def _patience(probe: Probe) -> None:
    async def script(call: Call) -> None:
        await asyncio.sleep(SILENT_S)
        await message(call)

    answer = await probe.ask(script, within_s=SILENT_S + 20)
    if answer.status != 200:
        raise Failed(f"after {SILENT_S} s of silence it answered {answer.status}")


CASES = (
    Case("stream-prompt", "C12", "each event is passed on before the next one comes", _prompt),
    Case("stream-bytes", "C12", "a stream passes byte for byte, unknown events too", _exact),
    Case("stream-error", "C11 C12", "an error event passes", _error_event),
    Case("stream-cut", "C12", "a stream that breaks off is seen to break off", _cut),
    Case("cancel", "C12", "a client that leaves ends the upstream's work", _cancel),
    Case("compressed", "C15", "a compressed stream reads the same", _compressed),
    Case("patience", "C13", f"an upstream may be silent for {SILENT_S} s", _patience, slow=True),
)
"""In the order of the contract."""
