"""What has been received, and what is going on: for tests and for the curious."""

import asyncio
import base64
import hashlib
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any

_MOST_BYTES = 64 * 1024 * 1024
"""Of bodies kept. The oldest requests make room."""


@dataclass(slots=True, kw_only=True)
class Received:
    """One request as it came, and how it ended."""

    id: int
    method: str
    target: str
    """As on the request line, query included."""
    raw_headers: tuple[tuple[bytes, bytes], ...]
    """In order, in their own case, repeated ones repeated."""
    headers: Mapping[str, str] = field(repr=False)
    """The same, by lower-case name; repeated ones joined by commas."""
    body: bytes = field(default=b"", repr=False)
    """As on the wire: chunks joined, content coding kept. Of one that is too large, a part."""
    size: int = 0
    """Bytes of the body that came, kept or not."""
    request_id: str = ""
    status: int | None = None
    """Of the answer; None while there is no head, or if there never was one."""
    done: bool = False
    disconnected: bool = False
    """Whether the client left before the answer was over."""

    def describe(self) -> dict[str, Any]:
        """Return the request as JSON."""
        return {
            "id": self.id,
            "method": self.method,
            "target": self.target,
            "headers": [[_latin(name), _latin(value)] for name, value in self.raw_headers],
            "body_base64": base64.b64encode(self.body).decode(),
            "body_size": self.size,
            "body_sha256": hashlib.sha256(self.body).hexdigest(),
            "request_id": self.request_id,
            "status": self.status,
            "done": self.done,
            "disconnected": self.disconnected,
        }


def _latin(raw: bytes) -> str:
    return raw.decode("latin-1")  # every byte has a character, and comes back


@dataclass(frozen=True, slots=True)
class Stats:
    """Counters of the simulator's life, and gauges of this moment."""

    requests: int = 0
    disconnects: int = 0
    in_flight: int = 0
    streams: int = 0
    """Answers in flight that are event streams whose head is out."""
    connections: int = 0

    def describe(self) -> dict[str, int]:
        """Return the numbers as JSON."""
        return asdict(self)


class Ledger:
    """The last requests, bounded, and the numbers; wakes who waits for a change."""

    def __init__(self, keep: int = 200) -> None:
        self.requests: deque[Received] = deque(maxlen=keep)
        self._numbers = asdict(Stats())
        self._waiters: set[asyncio.Future[None]] = set()

    @property
    def stats(self) -> Stats:
        """The numbers now."""
        return Stats(**self._numbers)

    @contextmanager
    def exchange(self, received: Received) -> Iterator[None]:
        """Count a request as in flight for as long as the context lasts."""
        self.requests.append(received)
        self.add("requests")
        self.add("in_flight")
        try:
            yield
        finally:
            received.done = True
            self.add("in_flight", -1)
            if received.disconnected:
                self.add("disconnects")

    def add(self, name: str, amount: int = 1) -> None:
        """Change one of the numbers."""
        self._numbers[name] += amount
        self.wake()

    def wake(self) -> None:
        """Let everyone who waits look again."""
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(None)

    def trim(self) -> None:
        """Forget the oldest requests if their bodies are too many bytes."""
        size = sum(len(received.body) for received in self.requests)
        while size > _MOST_BYTES and len(self.requests) > 1:
            size -= len(self.requests.popleft().body)

    async def until(self, condition: Callable[[Stats], bool]) -> Stats:
        """Return the numbers as soon as they satisfy `condition`."""
        while not condition(self.stats):
            waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiters.add(waiter)
            try:
                await waiter
            finally:
                self._waiters.discard(waiter)
        return self.stats
