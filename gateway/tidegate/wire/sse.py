"""Server-sent events: bytes in any split to events, in bounded memory.

Accepts all that the official SDKs accept (LF, CRLF and CR; comments; several data lines;
no space after the colon) and a leading byte order mark.
"""

import re
from dataclasses import dataclass

MAX_EVENT_BYTES = 1024 * 1024
"""Larger events are skipped, not kept: a fetched document can put 30 MB into one."""

_BLANK_LINE = re.compile(rb"(?:\r\n|\r(?!\n)|\n){2}")
_LINE_END = re.compile(rb"\r\n|\r|\n")


@dataclass(frozen=True, slots=True)
class Event:
    """One event. `name` is empty where the stream has no `event:` lines."""

    name: bytes
    data: bytes


class Decoder:
    """Splits a stream into events. Feed it pieces; it keeps at most one unfinished event."""

    __slots__ = ("_buffer", "_first", "_searched", "_skipping", "max_event_bytes", "skipped")

    def __init__(self, max_event_bytes: int = MAX_EVENT_BYTES) -> None:
        self.max_event_bytes = max_event_bytes
        self.skipped = 0
        """Events that were too large to keep."""
        self._buffer = bytearray()
        self._searched = 0  # how far the buffer is known to hold no blank line
        self._skipping = False
        self._first = True

    @property
    def idle(self) -> bool:
        """Whether the stream stands between two events."""
        return not self._buffer and not self._skipping

    def feed(self, piece: bytes) -> list[Event]:
        """Return the events that `piece` completes."""
        self._buffer += piece
        events: list[Event] = []
        start = 0
        while match := _BLANK_LINE.search(self._buffer, max(self._searched, start)):
            if self._skipping:
                self._skipping = False
            elif match.start() - start > self.max_event_bytes:
                self.skipped += 1
            else:
                self._add(bytes(self._buffer[start : match.start()]), events)
            start = match.end()
            self._searched = start
        del self._buffer[:start]
        if len(self._buffer) > self.max_event_bytes:
            self.skipped += not self._skipping
            self._skipping = True
            del self._buffer[:-3]
        # a line end at the very end may be half of a blank line
        self._searched = max(0, len(self._buffer) - 3)
        return events

    def finish(self) -> list[Event]:
        """Return the last event if the stream ended without its blank line."""
        events: list[Event] = []
        if not self._skipping:
            self._add(bytes(self._buffer), events)
        self._buffer.clear()
        return events

    def _add(self, block: bytes, events: list[Event]) -> None:
        if self._first and block:
            self._first = False
            block = block.removeprefix(b"\xef\xbb\xbf")
        event = _parse(block)
        if event is not None:
            events.append(event)


def _parse(block: bytes) -> Event | None:
    name = b""
    data: list[bytes] = []
    for line in _LINE_END.split(block):
        field, _, value = line.partition(b":")
        if field == b"data":
            data.append(value.removeprefix(b" "))
        elif field == b"event":
            name = value.removeprefix(b" ")
    if not data and not name:
        return None
    return Event(name, b"\n".join(data))
