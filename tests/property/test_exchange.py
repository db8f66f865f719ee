"""Whole exchanges, over sockets: any body, any answer, any split, any end."""

import asyncio
import hashlib
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from support.gateway import Gateway, gateway
from support.raw import ask, post, read_head
from tidegate.journal.verify import verify
from tidegate.pipeline.host import Link
from tidegate.plugin import Admit, Stage
from tidegate.testing.upstream import Call, scripted_upstream

REQUEST = b'{"model":"claude-x","max_tokens":5,"stream":true,"messages":[]}'
SLOW = settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))


def run(
    script: Callable[[Call], Awaitable[None]],
    use: Callable[[Gateway], Awaitable[None]],
    toml: str = "",
) -> None:
    async def main() -> None:
        with TemporaryDirectory() as directory:
            async with (
                scripted_upstream(script) as upstream,
                gateway(Path(directory), upstream.url, toml) as gate,
            ):
                await use(gate)

    asyncio.run(main())


@SLOW
@given(st.text(), st.sampled_from([b" ", b"\n", b"\t \r\n", b""]), st.integers())
def test_any_request_body_arrives_as_it_was(text: str, space: bytes, number: int) -> None:
    encoded = text.encode("utf-8", "replace").replace(b"\\", b"\\\\").replace(b'"', b'\\"')
    printable = bytes(byte for byte in encoded if byte >= 0x20)
    body = (
        b'{"x":%d,%s"messages" : [],"model":"claude-x","y":"%s","max_tokens":5%s}'
        % (number, space, printable, space)
    )  # fmt: skip
    heard: list[bytes] = []

    async def script(call: Call) -> None:
        heard.append(call.heard.body)
        await call.answer(b"{}")

    async def use(gate: Gateway) -> None:
        status, _, _ = await ask(gate.port, post(body))
        record = await gate.exchange()
        assert status == 200
        digest = hashlib.sha256(body).hexdigest()
        assert record["sha256"]["request_in"] == record["sha256"]["request_out"] == digest

    run(script, use, "[journal]\ndigests = true")
    assert heard == [body]


@SLOW
@given(
    st.lists(st.binary(min_size=1, max_size=3000), max_size=12),
    st.sampled_from(["chunked", "length", "close"]),
    st.sampled_from([b"text/event-stream", b"application/json", b"application/octet-stream"]),
    st.sampled_from([b"", b"content-encoding: gzip\r\n", b"content-encoding: br\r\n"]),
)
def test_any_answer_in_any_split_comes_out_as_it_was(
    pieces: list[bytes], framing: str, media: bytes, coding: bytes
) -> None:
    body = b"".join(pieces)

    async def script(call: Call) -> None:
        head = b"HTTP/1.1 200 OK\r\ncontent-type: " + media + b"\r\n" + coding
        if framing == "chunked":
            head += b"transfer-encoding: chunked\r\n"
        elif framing == "length":
            head += b"content-length: %d\r\n" % len(body)
        await call.say(head + b"\r\n")
        for piece in pieces:
            await (call.chunk(piece) if framing == "chunked" else call.say(piece))
            await asyncio.sleep(0)
        if framing == "chunked":
            await call.say(b"0\r\n\r\n")
        elif framing == "close":
            call.writer.close()

    async def use(gate: Gateway) -> None:
        _, _, got = await ask(gate.port, post(REQUEST))
        assert got == body
        record = await gate.exchange()
        assert record["sha256"]["response"] == hashlib.sha256(body).hexdigest()
        assert record["bytes"]["response"] == len(body)

    run(script, use, "[journal]\ndigests = true")


class Hold:
    def __init__(self) -> None:
        self.settled: list[str] = []

    async def settle(self, record: Any) -> None:
        await asyncio.sleep(0)
        self.settled.append(record.id)


class Taking:
    """A policy that takes something of every request, and takes its time."""

    def __init__(self) -> None:
        self.holds: list[Hold] = []

    async def admit(self, exchange: Any, request: Any) -> Admit:
        await asyncio.sleep(0)
        hold = Hold()
        self.holds.append(hold)
        return Admit(hold=hold)


@SLOW
@given(st.lists(st.integers(0, 4), min_size=1, max_size=6))
def test_each_exchange_is_recorded_and_each_hold_settled_once(leave: list[int]) -> None:
    """Clients leave: before the body is sent, before the answer, within it, never."""
    policies = [Taking(), Taking()]

    async def script(call: Call) -> None:
        await call.say(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
        for _ in range(4):
            await call.chunk(b"x" * 10)
            await asyncio.sleep(0)
        await call.say(b"0\r\n\r\n")

    async def visit(port: int, how: int) -> str | None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            writer.write(post(REQUEST) if how else post(REQUEST)[:-9])
            if how < 2:
                await asyncio.sleep(0)
                return None
            _, headers = await read_head(reader)
            if how == 3:
                await reader.readexactly(7)
            elif how == 4:
                await reader.readuntil(b"0\r\n\r\n")
            return dict(headers)["x-tidegate-id"]
        finally:
            writer.close()

    async def use(gate: Gateway) -> None:
        gate.plane.generation.chain = tuple(
            Link(name=f"p{n}", policy=policy, stage=Stage.RESERVE)
            for n, policy in enumerate(policies)
        )
        seen = await asyncio.gather(*(visit(gate.port, how) for how in leave))
        async with asyncio.timeout(10):
            while gate.plane.handler.inflight or gate.plane.generation.leases:
                await asyncio.sleep(0.001)
        report = verify(gate.directory)
        assert (report.open, report.repeated) == ([], [])
        ids = Counter(record["id"] for record in gate.records())
        assert set(ids.values()) <= {1}
        assert {one for one in seen if one} <= ids.keys()
        holds = [hold for policy in policies for hold in policy.holds]
        assert all(len(hold.settled) == 1 for hold in holds)

    run(script, use)
