"""What the journal costs: microseconds a worker spends on an exchange, milliseconds to keep and verify it.

Run it from the project's folder: `python tests/bench/journal_cost.py [DIRECTORY]`. With and
without the chain take turns, so that both meet the same noise.
"""

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from observed import exchange, intent
from tidegate.clock import SystemClock
from tidegate.journal import writer as writer_module
from tidegate.journal.chain import NONE, extend
from tidegate.journal.keeper import Keeper
from tidegate.journal.reader import Tail, size_of
from tidegate.journal.retention import Limits
from tidegate.journal.verify import verify
from tidegate.journal.writer import Writer
from tidegate.record import DecisionRecord, encode

COUNT = 5_000
ROUNDS = 9
POLICIES = ("identify", "models", "limits", "redact")
DECISIONS = tuple(DecisionRecord(name, "", "admit", "enforce", us=30) for name in POLICIES)
INTENTS = [intent(number) for number in range(COUNT)]
EXCHANGES = [exchange(number, decisions=DECISIONS) for number in range(COUNT)]


def unchained(before: bytes, line: bytes) -> tuple[bytes, bytes]:
    """The writer's work without the chain: as it was before there was one."""
    return line, NONE


@contextmanager
def writing(link: Callable[[bytes, bytes], tuple[bytes, bytes]]) -> Iterator[None]:
    writer_module.extend, before = link, writer_module.extend
    try:
        yield
    finally:
        writer_module.extend = before


def cpu(work: Callable[[], object]) -> float:
    """Return the CPU seconds that it took, those in the kernel included."""
    began = time.process_time()
    work()
    return time.process_time() - began


def show(what: str, value: float, unit: str) -> None:
    print(f"{what:<56}{value:>10.2f} {unit}")


def append_all(made: Writer) -> None:
    for asked, ended in zip(INTENTS, EXCHANGES, strict=True):
        made.append(asked)
        made.append(ended)


def path_cost(directory: Path) -> None:
    """Intent and exchange of one worker: encoded, linked, written with one write each."""
    took: dict[str, list[float]] = {"without": [], "with": []}
    for round_ in range(ROUNDS):
        for name, link in (("without", unchained), ("with", extend)):
            with writing(link):
                made = Writer(directory, f"{name}-{round_}", SystemClock())
                took[name].append(cpu(lambda made=made: append_all(made)) / COUNT * 1e6)
                made.close()
    without, chained = (statistics.median(took[name]) for name in ("without", "with"))
    added = statistics.median(b - a for a, b in zip(took["without"], took["with"], strict=True))
    show("an exchange: intent and record, without the chain", without, "µs")
    show("an exchange: intent and record, with the chain", chained, "µs")
    show("  the chain alone, by pairs", added, "µs")
    both = [*INTENTS, *EXCHANGES]
    show("  encoding alone", _best(lambda: [encode(record) for record in both]), "µs")
    show("  bytes of an intent", len(encode(INTENTS[0])), "")
    show("  bytes of an exchange", len(encode(EXCHANGES[0])), "")


def _best(work: Callable[[], object]) -> float:
    return min(cpu(work) for _ in range(5)) / COUNT * 1e6


def keeping_cost(directory: Path) -> None:
    """What the observatory and an operator spend on what was written."""
    exchanges = COUNT * ROUNDS * 2
    plain = size_of(directory).bytes
    per_1000 = 1000 / exchanges * 1e3
    show("reading, per 1,000 exchanges", cpu(lambda: _read(directory)) * per_1000, "ms")
    keeper = Keeper(directory, SystemClock(), Limits())
    show("sealing and packing, per 1,000 exchanges", cpu(keeper.tidy) * per_1000, "ms")
    show("  packed to a share of", size_of(directory).bytes / plain, "")
    show("reading it packed, per 1,000 exchanges", cpu(lambda: _read(directory)) * per_1000, "ms")
    show(
        "verifying it packed, per 1,000 exchanges", cpu(lambda: verify(directory)) * per_1000, "ms"
    )


def _read(directory: Path) -> None:
    tail = Tail(directory)
    while not tail.at_end:
        tail.read()


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("directory", nargs="?", help="where to write; default: a temporary one")
    with tempfile.TemporaryDirectory(dir=options.parse_args().directory) as directory:
        path_cost(Path(directory))
        keeping_cost(Path(directory))


if __name__ == "__main__":
    main()
