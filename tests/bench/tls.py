"""The way upstream over TLS: our relay beside aiohttp's client, and nginx.

    python tests/bench/tls.py [--rounds 5] [--seconds 2]

The mock upstream stands behind an nginx that ends TLS, on the load's core. Each candidate is
measured with it and without, in turns: what TLS costs each is seen beside what the hand-over does.
"""

import argparse
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import trustme

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench.side_by_side import gateway, machine, nginx, readme
from bench.side_by_side.bodies import LONG_STREAM
from bench.side_by_side.candidates import Candidate
from bench.side_by_side.cases import RAMP, Case
from bench.side_by_side.figures import UNITS, Figures
from bench.side_by_side.place import Command, Place
from bench.side_by_side.processes import Process
from bench.side_by_side.report import spread, table
from bench.side_by_side.run import prepared, say
from bench.side_by_side.stage import Running, Stage
from bench.side_by_side.summary import ENOUGH_ROUNDS, spread_of
from support.ports import free_port

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "results"
HOST = "localhost"
STREAMS = 100
SHOWN = ("worker_us", "p50_us", "event_p50_us")
FIRST = "nginx"
NOTE = """\
In brackets the ratio to nginx over the same kind of connection: the median of the ratios inside each
round, and the lowest and highest of them."""


@dataclass(frozen=True)
class Way:
    """A candidate, and how it is started."""

    name: str
    command: Callable[[Place], Command]
    worker: str = ""


def _naive(loop: str) -> Callable[[Place], Command]:
    script = HERE / "side_by_side" / "naive.py"
    return lambda place: [sys.executable, script, str(place.port), place.upstream, loop]


WAYS = (
    Way(FIRST, nginx.command, "worker process"),
    Way("aiohttp's client, asyncio's loop", _naive("asyncio")),
    Way("aiohttp's client, uvloop", _naive("uvloop")),
    Way("tidegate without plugins", gateway.serving(""), gateway.MARKER),
)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=ENOUGH_ROUNDS)
    parser.add_argument("--seconds", type=float, default=2.0, help="for each load (2)")
    parser.add_argument("--out", type=Path, metavar="FOLDER", default=RESULTS)
    options = parser.parse_args(arguments)
    if why := nginx.absent():
        raise SystemExit(why)
    about = {**machine.machine(), **machine.versions(), "rounds": str(options.rounds)}
    cores = prepared()
    with Stage(cores) as stage, _front(stage, str(cores.load)) as upstreams:
        samples = measured(stage, upstreams, options.rounds, loads(options.seconds))
    text = as_markdown(samples, about)
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "tls.md").write_text(text)
    if options.out == RESULTS:
        readme.put("tls", "\n\n".join(_tables(samples)) + "\n")
    print(text)
    return 0


def loads(seconds: float) -> tuple[Case, ...]:
    """Return what is put through each."""
    about = f"{STREAMS} streams, an event every 20 ms on each"
    warm_s = STREAMS / RAMP + 0.7
    return (
        Case("1 KB requests", "", "unary", "1k", seconds=seconds),
        Case(about, "", "stream", f"1k_s{LONG_STREAM}", STREAMS, seconds, warm_s, pause_us=20_000),
    )


Samples = Mapping[str, Sequence[Mapping[tuple[str, str], Figures]]]
"""By load: for each round what was found, by candidate and scheme."""


def measured(
    stage: Stage, upstreams: Mapping[str, str], rounds: int, cases: Sequence[Case]
) -> Samples:
    """Put each load through each candidate, over both kinds of connection, in turns.

    Raises:
        Failed: a measurement that is worth nothing.
    """
    found: dict[str, list[dict[tuple[str, str], Figures]]] = {case.name: [] for case in cases}
    with _started(stage, upstreams) as running:
        for number in range(rounds):
            say(f"round {number + 1} of {rounds}")
            for case in cases:
                order = list(running)
                turn = number % len(order)
                sample = {}
                for key in (*order[turn:], *order[:turn]):
                    sample[key] = stage.put(running[key], case)
                found[case.name].append(sample)
    return found


@contextmanager
def _started(
    stage: Stage, upstreams: Mapping[str, str]
) -> Iterator[dict[tuple[str, str], Running]]:
    with ExitStack() as stack:
        running = {}
        for way in WAYS:
            for scheme, upstream in upstreams.items():
                candidate = Candidate(
                    f"{way.name}-{scheme}".replace(" ", "-"),
                    "",
                    lambda place, way=way, url=upstream: way.command(
                        replace(place, upstream_url=url)
                    ),
                    way.worker,
                    settings=(("SSL_CERT_FILE", str(stage.folder / "ca.pem")),),
                )
                running[way.name, scheme] = stack.enter_context(stage.started(candidate))
        yield running


@contextmanager
def _front(stage: Stage, core: str) -> Iterator[dict[str, str]]:
    """End TLS in front of the mock upstream; yield the upstream's address by scheme."""
    folder, port = stage.folder / "front", free_port()
    folder.mkdir()
    authority = trustme.CA()
    authority.cert_pem.write_to_path(stage.folder / "ca.pem")
    certificate = folder / "server.pem"
    authority.issue_cert(HOST).private_key_and_cert_chain_pem.write_to_path(certificate)
    command = nginx.command(Place(port, stage.upstream.port, folder), certificate)
    process = Process(command, core, folder / "log")
    try:
        yield {
            "http": f"http://127.0.0.1:{stage.upstream.port}",
            "https": f"https://{HOST}:{port}",
        }
    finally:
        process.stop()


def as_markdown(samples: Samples, about: Mapping[str, str]) -> str:
    """Return the tables."""
    date = datetime.now(UTC).date().isoformat()
    lines = "\n".join(f"- {name}: {value}" for name, value in about.items())
    return "\n\n".join((f"# Upstream over TLS, {date}", lines, NOTE, *_tables(samples))) + "\n"


def _tables(samples: Samples) -> Iterator[str]:
    for load, rounds in samples.items():
        shown = [name for name in SHOWN if name in next(iter(rounds[0].values()))]
        head = ["", *(f"{UNITS[name]}, {scheme}" for name in shown for scheme in ("http", "https"))]
        rows = [
            [
                way.name,
                *(
                    _cell(rounds, way.name, scheme, name)
                    for name in shown
                    for scheme in ("http", "https")
                ),
            ]
            for way in WAYS
        ]
        yield f"{load}:\n\n{table(head, rows)}"


def _cell(
    rounds: Sequence[Mapping[tuple[str, str], Figures]], way: str, scheme: str, name: str
) -> str:
    own = spread_of([sample[way, scheme][name] for sample in rounds])
    if way == FIRST:
        return f"{own.median:,.1f}"
    ratio = spread_of(
        [sample[way, scheme][name] / sample[FIRST, scheme][name] for sample in rounds]
    )
    return f"{own.median:,.1f} ({spread(ratio)})"


if __name__ == "__main__":
    sys.exit(main())
