"""What capacity is planned with: memory for each open stream, and bytes of journal for each exchange.

Run it from the project's folder: `python tests/bench/capacity.py`. One worker with every policy, as
users run it, in front of an upstream whose streams stay open until they have been counted.
"""

import asyncio
import json
import sys
import tempfile
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from support.gateway import Process, serve
from support.raw import ask, post, read_head
from support.traffic import MODEL, Tide, tide
from tidegate.journal.packing import pack
from tidegate.journal.reader import lines, segments

CONFIG = """
[[plugins]]
use = "identify"
[plugins.config]
forward = true
default_team = "bench"
[[plugins]]
use = "models"
[plugins.config]
allow = ["*"]
[[plugins]]
use = "limits"
[plugins.config]
max_tokens = 8192
over = "reject"
[[plugins]]
use = "quota"
[plugins.config]
store = "memory"
limits = [{ name = "org", scope = "org", per = "minute", requests = 1000000 }]
[[plugins]]
use = "redact"
[[plugins]]
use = "metrics"
[[plugins]]
use = "usage"
"""
STREAMS = 500
EXCHANGES = 300
SIZES = (1_000, 100_000)


def body(size: int, number: int, *, stream: bool) -> bytes:
    """A request of about that many bytes, no two alike."""
    words = " ".join(f"line {number} of {n} says so." for n in range(size // 28))
    asked = {"model": MODEL, "max_tokens": 64, "stream": stream}
    return json.dumps(asked | {"messages": [{"role": "user", "content": words}]}).encode()


def resident_bytes(running: Process) -> int:
    """Of the whole tree, pages that are shared counted once."""
    pids = [running.process.pid, *running.children()]
    rolled = [Path(f"/proc/{pid}/smaps_rollup").read_text() for pid in pids]
    lines = [line for text in rolled for line in text.splitlines() if line.startswith("Pss:")]
    return sum(int(line.split()[1]) for line in lines) * 1024


async def hold(port: int, size: int, number: int) -> asyncio.StreamWriter:
    """Open a stream and read its first half."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(post(body(size, number, stream=True)))
    status, _ = await read_head(reader)
    assert status == 200
    await reader.readexactly(int(await reader.readuntil(b"\r\n"), 16) + 2)
    return writer


async def memory(running: Process, water: Tide, size: int) -> float:
    """Bytes by which a gateway that has just served a few streams grows with each one more."""
    await left(running, await held(running, size, 0, 50))
    idle = resident_bytes(running)
    streams = await held(running, size, 50, STREAMS)
    assert water.waiting == 50 + STREAMS
    taken = (resident_bytes(running) - idle) / STREAMS
    await left(running, streams)
    return taken


async def held(running: Process, size: int, first: int, count: int) -> list[asyncio.StreamWriter]:
    opened: list[asyncio.StreamWriter] = []
    for at in range(first, first + count, 50):
        opened += await asyncio.gather(*(hold(running.port, size, at + n) for n in range(50)))
    return opened


async def left(running: Process, streams: list[asyncio.StreamWriter]) -> None:
    """Close them, and wait until that has been written down."""
    expected = len(running.records()) + len(streams)
    for writer in streams:
        writer.close()
    while len(running.records()) < expected:
        await asyncio.sleep(0.1)


async def journalled(running: Process, *, stream: bool) -> tuple[float, float]:
    """Bytes of journal for an exchange, as written and as packed."""
    for number in range(EXCHANGES):
        status, _, _ = await ask(running.port, post(body(1_000, number, stream=stream)))
        assert status == 200
    while len(running.records()) < EXCHANGES:
        await asyncio.sleep(0.1)
    written = b"".join(line for s in segments(running.directory) for line in lines(s.path))
    plain = running.directory.with_suffix(".jsonl")
    plain.write_bytes(written)
    packed = plain.with_suffix(".gz")
    pack(plain, packed)
    return len(written) / EXCHANGES, packed.stat().st_size / EXCHANGES


@asynccontextmanager
async def gateway(water: Tide) -> AsyncGenerator[Process, None]:
    """A gateway of its own for each figure."""
    with tempfile.TemporaryDirectory() as name:
        config = Path(name) / "tidegate.toml"
        config.write_text(CONFIG)
        async with serve(
            Path(name) / "journal", config, "--upstream", water.url, start_s=120
        ) as running:
            yield running


async def main() -> None:
    """Print the figures, one a line."""
    for size in SIZES:
        async with tide() as water, gateway(water) as running:
            print(f"idle, whole gateway: {resident_bytes(running) / 2**20:.0f} MiB", flush=True)
            taken = await memory(running, water, size)
            print(f"an open stream, request of {size} B: {taken / 1024:.0f} KiB", flush=True)
    for stream in (False, True):
        async with tide() as water, gateway(water) as running:
            water.rise.set()
            written, packed = await journalled(running, stream=stream)
            what = "a streamed exchange" if stream else "an exchange"
            print(f"journal, {what}: {written:.0f} B, {packed:.0f} B packed", flush=True)


if __name__ == "__main__":
    asyncio.run(main())
