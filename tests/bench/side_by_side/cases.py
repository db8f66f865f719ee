"""What is measured: the loads, whom each goes through, and what is shown of it."""

from dataclasses import dataclass, replace
from typing import Literal

from bench.side_by_side.bodies import FULL_STREAM, LONG_STREAM, SHORT_STREAM

RAMP = 500.0
"""Streams that are opened per second."""

Mode = Literal["unary", "stream", "mixed", "neighbour", "start", "held"]


@dataclass(frozen=True)
class Case:
    """One load, bounded in time."""

    name: str
    about: str
    mode: Mode
    """`neighbour`: streams, while somebody else sends `other_body` again and again, new each
    time. `start` and `held` take an instance of their own: how long until its first answer;
    the memory of streams that are held open."""
    body: str
    clients: int = 32
    seconds: float = 1.5
    warm_s: float = 0.3
    rate: float = 0
    """Requests a second, whether answered or not; 0: each client sends when it is answered."""
    pause_us: int = 0
    """Between two events of a stream."""
    resent: bool = False
    """The same body each time; otherwise no text was ever sent before."""
    other_body: str = ""
    who: tuple[str, ...] = ()
    """Whom it goes through; empty: everybody of the usual ones."""
    most_rounds: int = 1_000
    """What hardly differs from round to round, or takes long, is not measured in all."""
    shown: tuple[str, ...] = ()

    @property
    def streams(self) -> bool:
        return self.mode in {"stream", "neighbour"}

    def arguments(self) -> list[str]:
        """Return the load generator's arguments."""
        given = ["-c", self.clients, "-d", self.seconds, "-w", self.warm_s]
        given += ["-r", self.rate] if self.rate else []
        given += ["-R", RAMP] if self.pause_us else []
        given += [] if self.resent or self.mode == "mixed" else ["-u"]
        return [str(each) for each in given]

    def quick(self) -> "Case":
        """Return a small one, which shows only that the harness works."""
        large = self.body in {"1m", "mixed"} or self.other_body
        return replace(
            self,
            clients=min(self.clients, 20),
            seconds=1.2 if large else 0.3,
            warm_s=min(self.warm_s, 0.2),
        )

    def first_time(self) -> "Case":
        """Return what makes the gateway know the body that will be sent again."""
        return replace(self, clients=1, seconds=0.3, warm_s=0)

    def expected_s(self) -> float:
        """Return about how long it takes with one candidate, for the estimate of what is left."""
        own = {"start": 2.5, "held": HELD_S}
        return own.get(self.mode, self.seconds + self.warm_s + 0.5 + 0.4 * self.resent)


HELD_RAMP = 1_500.0
"""Streams that are opened per second at most where memory is measured: few wait at a time."""
HELD_S = 25.0

SOME = ("direct", "nginx", "naive", "tidegate")
STARTED = ("nginx", "naive", "tidegate", "tidegate-bare")
REFERENCE = ("direct", "nginx", "tidegate")
WORKERS = ("tidegate-1w", "tidegate-2w")
UNTRACED = "tidegate-untraced"
USUAL = (*SOME, "tidegate-bare", "prototype")

UNARY = ("per_second", "worker_us", "tree_us", "p50_us", "p99_us")
LARGE = ("added_p50_us", "worker_us", "tree_us", "p50_us", "p99_us")
RATE = ("added_p50_us", "added_p99_us", "p50_us", "p99_us", "tree_us")
INSIDE = ("added_mean_us", "inside_us")
FIRST = ("added_first_p50_us", "added_first_p99_us", "first_p50_us", "first_p99_us")
PACED = (
    *("events_per_second", "worker_us", "tree_us"),
    *("event_p50_us", "event_p99_us", "added_event_p50_us", "added_event_p99_us"),
)
FULL = ("events_per_second", "worker_us", "tree_us")
NEIGHBOUR = ("event_p50_us", "event_p99_us", "event_max_us", "added_event_max_us", "other_per_s")
MIXED = (
    *("per_second", "mb_per_s", "worker_us", "tree_us", "p50_us", "p99_us"),
    *("first_p50_us", "first_p99_us", "event_p50_us", "event_p99_us", "event_max_us"),
)
HELD = ("streams", "idle_mb", "worker_kb", "tree_kb")


def _large(name: str, body: str, *, resent: bool = False, seconds: float = 1.5) -> Case:
    texts = "the same one again" if resent else "every text new"
    about = f"{body[:-1]} {body[-1].upper()}B bodies, {texts}, one after the other"
    who = REFERENCE if resent else SOME
    return Case(
        name, about, "unary", body, 1, seconds=seconds, resent=resent, who=who, shown=LARGE + INSIDE
    )


def _rate(rate: int, seconds: float, who: tuple[str, ...] = SOME) -> Case:
    about = f"1 KB bodies, {rate} a second, open loop; added to direct"
    name = f"rate_{rate}"
    shown = RATE + (INSIDE if rate < 1000 else ())  # then it is queues that are measured
    return Case(name, about, "unary", "1k", seconds=seconds, rate=rate, who=who, shown=shown)


def _paced(clients: int, who: tuple[str, ...] = ()) -> Case:
    return Case(
        f"paced_{clients}",
        f"{clients} streams, an event every 20 ms on each; CPU per event",
        "stream",
        f"1k_s{LONG_STREAM}",
        clients,
        seconds=4,
        warm_s=clients / RAMP + 1,
        pause_us=20_000,
        who=who,
        shown=PACED,
    )


def _workers(body: str, clients: int) -> Case:
    about = (
        f"{body[:-1]} KB bodies, {clients} connections; gateway, upstream and load on both cores"
    )
    name = f"workers_{body}"
    return Case(name, about, "unary", body, clients, seconds=2, who=WORKERS, shown=UNARY)


CASES = (
    Case(
        "unary_1k",
        "1 KB bodies, 32 connections, closed loop",
        "unary",
        "1k",
        who=(*USUAL, UNTRACED),
        shown=UNARY,
    ),
    _large("unary_100k", "100k"),
    _large("unary_1m", "1m", seconds=2),
    _large("resent_100k", "100k", resent=True),
    _large("resent_1m", "1m", resent=True, seconds=2),
    _rate(20, 3),
    _rate(200, 3, who=()),
    _rate(1000, 2),
    Case(
        "first_byte",
        "time to the first byte of a stream, one client; added to direct",
        "stream",
        f"1k_s{SHORT_STREAM}",
        clients=1,
        shown=FIRST,
    ),
    _paced(40),
    _paced(400),
    _paced(1000, SOME),
    Case(
        "full_speed",
        "64 streams of 1000 events without a pause between them",
        "stream",
        f"1k_s{FULL_STREAM}",
        clients=64,
        who=SOME,
        shown=FULL,
    ),
    Case(
        "neighbour",
        "10 streams, an event every 20 ms on each, while another client sends new 10 MB bodies",
        "neighbour",
        f"1k_s{LONG_STREAM}",
        clients=10,
        seconds=3,
        warm_s=0.5,
        pause_us=20_000,
        other_body="10m",
        who=SOME,
        shown=NEIGHBOUR,
    ),
    _workers("1k", 64),
    _workers("100k", 16),
    Case(
        "mixed",
        "40 conversations, 20 KB to 1 MB, resent turn by turn; 90 % streams of 60 events, 20 ms apart",
        "mixed",
        "mixed",
        clients=40,
        seconds=60,
        warm_s=2,
        pause_us=20_000,
        who=REFERENCE,
        most_rounds=1,
        shown=MIXED,
    ),
    Case(
        "start", "from start to the first answer", "start", "1k", who=STARTED, shown=("start_ms",)
    ),
    Case(
        "held",
        "resident memory: idle, and per stream held open, with an event every 5 s on each",
        "held",
        f"1k_s{LONG_STREAM}",
        clients=10_000,
        pause_us=5_000_000,
        who=SOME[1:],
        most_rounds=1,
        shown=HELD,
    ),
)
