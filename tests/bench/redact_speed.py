"""What the redact plugin costs, as a ratio to `orjson.loads` of the same body in the same run.

    python tests/bench/redact_speed.py [DIRECTORY]

Bodies are conversations full of tool results, which hold files of the directory (the
installed packages unless given). `cold`: nothing remembered; `warm`: seen before. CPU time of
the thread, the least of some runs, so that other work on the machine counts little. Then: what
it saves to remember pieces of conversations beside strings, the two in turn; how late a timer of the
event loop is while a body of 10 MB is searched in a thread. Needs orjson.
"""

import asyncio
import functools
import math
import random
import statistics
import sys
import sysconfig
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import orjson

from redacting import EXCHANGE, KEY, dumps, engine, github, policy, request
from tidegate.clock import SystemClock
from tidegate.wire.memo import Memo
from tidegate_plugins.redact import scanner
from tidegate_plugins.redact.scan import Deadline
from tidegate_plugins.redact.verdict import decide

FAR = Deadline(SystemClock(), 10**30, 10)
CHANCE = random.Random(20_261)
SIZES = ((1_000, 200), (100_000, 30), (1_000_000, 9), (10_000_000, 3))


@functools.cache
def files(folder: str) -> list[Path]:
    found = sorted(path for path in Path(folder).rglob("*.py") if path.stat().st_size > 500)
    CHANCE.shuffle(found)
    return found


def conversation(folder: str, size: int, secrets: int) -> bytes:
    """A coding session of about `size` bytes, with that many tokens in its tool results."""
    turns: list[dict[str, object]] = []
    results: list[str] = []
    for path in files(folder):
        room = size - sum(map(len, results)) - 320 * len(results)
        if room < 200:
            break
        results.append(
            path.read_text(errors="replace")[: min(CHANCE.choice([500, 2000, 8000, 20000]), room)]
        )
    for k in range(secrets):
        i = CHANCE.randrange(len(results))
        at = CHANCE.randrange(len(results[i]))
        results[i] = f"{results[i][:at]}\n{github(k)}\n{results[i][at:]}"
    for i, text in enumerate(results):
        use = {
            "type": "tool_use",
            "id": f"toolu_{i}",
            "name": "Read",
            "input": {"file_path": f"/src/{i}.py"},
        }
        turns.append(
            {"role": "assistant", "content": [{"type": "text", "text": f"File {i} next."}, use]}
        )
        result = {"type": "tool_result", "tool_use_id": f"toolu_{i}", "content": text}
        turns.append({"role": "user", "content": [result]})
    return dumps({"model": "m", "max_tokens": 1, "messages": turns})


def least_ms(work: Callable[[], object], times: int) -> float:
    taken = []
    for _ in range(times):
        start = time.thread_time()
        work()
        taken.append(time.thread_time() - start)
    return min(taken) * 1e3


def print_pieces(folder: str) -> None:
    """What a body seen before takes when strings are remembered, and when pieces are."""
    for size, times in SIZES[:3]:
        body = request(conversation(folder, size, 0)).body
        by_piece = scanner(engine(), KEY, 131_072)
        by_string = replace(by_piece, parts=Memo(0))
        least = [math.inf, math.inf]
        for one in (by_string, by_piece) * (times + 1):
            is_piece = one is by_piece
            least[is_piece] = min(
                least[is_piece],
                least_ms(lambda one=one, body=body: one.scan_body(body, FAR), 1),
            )
        print(f"{size:>10} warm by string {least[0]:.3f} ms, by piece {least[1]:.3f} ms")


async def lateness_ms(folder: str, times: int = 5) -> list[float]:
    """How late a timer of 1 ms is, again and again, while 10 MB that are new are searched."""
    late: list[float] = []

    async def tick() -> None:
        while True:
            start = time.perf_counter()
            await asyncio.sleep(0.001)
            late.append((time.perf_counter() - start - 0.001) * 1e3)

    ticking = asyncio.create_task(tick())
    body = request(conversation(folder, 10_000_000, 0))
    late.clear()
    for _ in range(times):
        await policy().admit(EXCHANGE, body)
    ticking.cancel()
    return late


def main() -> None:
    folder = sys.argv[1] if len(sys.argv) > 1 else sysconfig.get_paths()["purelib"]
    book = policy().book
    late = asyncio.run(lateness_ms(folder))
    print("bytes      secrets  decode ms  cold ms  x decode  warm ms  x decode")
    for size, times in SIZES:
        for secrets in (0, 10):
            body = request(conversation(folder, size, secrets)).body
            known = scanner(engine(), KEY, 131_072)

            def evaluate(fresh: bool, body=body, known=known) -> object:
                one = scanner(engine(), KEY, 131_072) if fresh else known
                return decide(book, body, one.scan_body(body, FAR), "none")

            evaluate(fresh=False)
            decode = least_ms(lambda body=body: orjson.loads(body.raw), times)
            cold, warm = (
                least_ms(lambda fresh=fresh: evaluate(fresh), times) for fresh in (True, False)
            )
            print(f"{len(body.raw):>10} {secrets:>7} {decode:>10.3f} {cold:>8.2f} {cold / decode:>9.1f} {warm:>8.2f} {warm / decode:>9.1f}")  # fmt: skip

    print_pieces(folder)
    cuts = statistics.quantiles(late, n=100)
    print(
        f"timers while 10 MB are searched: median {cuts[49]:.2f} ms late, p99 {cuts[98]:.2f} ms, worst {max(late):.1f} ms"
    )


if __name__ == "__main__":
    main()
