"""What metering and journaling cost a worker: microseconds by streamed event and by exchange.

Run it from the project's folder: `python tests/bench/meter_cost.py`. The figures are CPU time. Each
stands beside what a program without a meter of its own would do to know as much: read every event
with the standard library's JSON parser. The ratio is what tells one machine from another least.
"""

import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from observed import exchange, intent
from tidegate.clock import SystemClock
from tidegate.journal.writer import Writer
from tidegate.pipeline.conclude import usage_of
from tidegate.record import encode
from tidegate.wire.meter import Reading, meter_for

ROUNDS = 9
STREAMS = 40
EVENTS = 500
EXCHANGES = 4000


def stream() -> list[bytes]:
    """A stream of text, an event a piece, as the API sends it."""
    usage = {"input_tokens": 2095, "cache_read_input_tokens": 18000, "cache_creation_input_tokens": 0, "output_tokens": 2}  # fmt: skip
    message = {"id": "msg_1", "type": "message", "role": "assistant", "model": "claude-x", "content": [], "usage": usage}  # fmt: skip
    events = [
        ("message_start", {"message": message}),
        ("content_block_start", {"index": 0, "content_block": {"type": "text", "text": ""}}),
        *(("content_block_delta", {"index": 0, "delta": {"type": "text_delta", "text": f" some words {n}"}}) for n in range(EVENTS)),
        ("content_block_stop", {"index": 0}),
        ("message_delta", {"delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 503}}),
        ("message_stop", {}),
    ]  # fmt: skip
    return [
        f"event: {kind}\ndata: {json.dumps({'type': kind, **rest})}\n\n".encode()
        for kind, rest in events
    ]


def metered(pieces: Iterable[bytes]) -> Reading:
    meter = meter_for("text/event-stream", "")
    for piece in pieces:
        meter.feed(piece)
    return meter.finish()


def parsed(pieces: Iterable[bytes]) -> None:
    for piece in pieces:
        for line in piece.split(b"\n"):
            if line.startswith(b"data:"):
                json.loads(line[5:])


def side_by_side(works: dict[str, Callable[[], object]]) -> dict[str, float]:
    """Return the CPU seconds of each one's fastest round; they take turns."""
    best = dict.fromkeys(works, float("inf"))
    for _ in range(ROUNDS):
        for name, work in works.items():
            began = time.process_time()
            work()
            best[name] = min(best[name], time.process_time() - began)
    return best


def show(what: str, seconds: float, count: int, beside: float) -> None:
    print(f"{what:<58}{seconds / count * 1e6:>9.2f} µs {seconds / beside:>9.3f}")


def events() -> None:
    pieces = stream()
    joined = b"".join(pieces)
    mixed = [joined[at : at + 1448] for at in range(0, len(joined), 1448)]
    assert usage_of(metered(pieces).usage or {}) == usage_of(metered(mixed).usage or {})
    took = side_by_side(
        {
            "parsed": lambda: [parsed(pieces) for _ in range(STREAMS)],
            "by event": lambda: [metered(pieces) for _ in range(STREAMS)],
            "by packet": lambda: [metered(mixed) for _ in range(STREAMS)],
        }
    )
    count = STREAMS * len(pieces)
    print(f"{'by streamed event':<58}{'':>12}{'to parsing':>10}")
    show("every event parsed by json.loads, for comparison", took["parsed"], count, took["parsed"])
    show("the meter, an event a piece", took["by event"], count, took["parsed"])
    show("the meter, pieces of 1448 bytes", took["by packet"], count, took["parsed"])


def exchanges() -> None:
    before = [intent(number) for number in range(EXCHANGES)]
    over = [exchange(number) for number in range(EXCHANGES)]
    lines = [encode(record) for record in over]
    few = [stream()[0], *stream()[-2:]]
    with tempfile.TemporaryDirectory() as directory:
        writer = Writer(Path(directory), "w0-1", SystemClock())
        works: dict[str, Callable[[], object]] = {
            "parsed": lambda: [json.loads(line) for line in lines],
            "metered": lambda: [usage_of(metered(few).usage or {}) for _ in over],
            "encoded": lambda: [(encode(a), encode(b)) for a, b in zip(before, over, strict=True)],
            "written": lambda: [
                (writer.append(a), writer.append(b)) for a, b in zip(before, over, strict=True)
            ],
        }
        took = side_by_side(works)
        writer.close()
    print(f"\n{'by exchange':<58}{'':>12}{'to parsing':>10}")
    show("its record parsed by json.loads, for comparison", took["parsed"], EXCHANGES, took["parsed"])  # fmt: skip
    show("start and end of its stream metered, usage taken apart", took["metered"], EXCHANGES, took["parsed"])  # fmt: skip
    show("intent and exchange encoded", took["encoded"], EXCHANGES, took["parsed"])
    show("both appended to the journal, encoding included", took["written"], EXCHANGES, took["parsed"])  # fmt: skip


if __name__ == "__main__":
    events()
    exchanges()
