"""Chat requests that the upstream converts: what the gateway has to bring in, and takes out again.

Streams tell their usage only where that is asked for, and what is not counted is not governed.
So it is asked for, and a client that did not ask is not shown the chunk.
"""

import re
from typing import Any

import msgspec

from tidegate.openai.refusing import Json, Place, typed
from tidegate.openai.request import MAX_TOKENS, max_tokens_key
from tidegate.wire.body import Body, Edit, insertion, replacements

WITHOUT_USAGE = "include_usage"
"""The rule of the edit that asks for usage."""


def asks_for_usage(document: Json) -> bool:
    """Whether the client wants a stream's usage."""
    options = document.get("stream_options")
    return type(options) is dict and options.get("include_usage") is True


def completing(body: Body, default_max_tokens: int) -> tuple[Edit, ...]:
    """Return the edits that bring in a limit of the output, and usage; the second applies after the first."""
    document = body.document
    if max_tokens_key(document) is None and default_max_tokens:
        return put(body, "max_completion_tokens", default_max_tokens, "default_max_tokens")
    if document.get("stream") is not True or asks_for_usage(document):
        return ()
    options = document.get("stream_options")
    if options is None:
        return put(body, "stream_options", {"include_usage": True}, WITHOUT_USAGE)
    typed(options, dict, "an object", Place("/stream_options"))
    if "include_usage" in options:
        return replacements(body, {"/stream_options/include_usage": True}, WITHOUT_USAGE)
    return (insertion(body, "/stream_options", "include_usage", True, WITHOUT_USAGE),)


def put(body: Body, key: str, value: Any, rule: str) -> tuple[Edit, ...]:
    """Return the edits that give a top-level field a value, whether it is there or not."""
    if key not in body.document:
        return (insertion(body, "", key, value, rule),)
    at = body.value(f"/{key}")
    return (Edit(at.pointer, rule, at.start, at.end, msgspec.json.encode(value)),)


def limited(body: Body, max_tokens: int, rule: str) -> tuple[Edit, ...]:
    """Return the edits that set the limit of the output, under each name that is there."""
    names = [key for key in MAX_TOKENS if body.document.get(key) is not None]
    if not names:
        return put(body, MAX_TOKENS[0], max_tokens, rule)
    return replacements(body, {f"/{name}": max_tokens for name in names}, rule)


_BLANK_LINE = re.compile(rb"(?:\r\n|\r(?!\n)|\n){2}")
_NO_CHOICES = re.compile(rb'"choices"\s*:\s*\[\s*\]')


MAX_EVENT_BYTES = 32 * 1024 * 1024


class WithoutUsage:
    """Passes a stream on as it is, but for the chunk that tells nothing but usage."""

    def __init__(self) -> None:
        self._held = bytearray()
        self._searched = 0  # how far it is known to hold no blank line

    def feed(self, piece: bytes) -> bytes:
        """Return the events that `piece` completes, byte for byte.

        Raises:
            ValueError: an event is too large.
        """
        self._held += piece
        kept: list[bytes] = []
        start = 0
        while match := _BLANK_LINE.search(self._held, max(self._searched, start)):
            if match.end() == len(self._held) and self._held.endswith(b"\r"):
                break  # an LF may follow
            self._keep(bytes(self._held[start : match.end()]), kept)
            start = match.end()
        del self._held[:start]
        if len(self._held) > MAX_EVENT_BYTES:
            raise ValueError("too large an event")
        self._searched = max(0, len(self._held) - 3)
        return b"".join(kept)

    def finish(self) -> bytes:
        """Return what is left over."""
        kept: list[bytes] = []
        self._keep(bytes(self._held), kept)
        self._held.clear()
        return b"".join(kept)

    def _keep(self, event: bytes, kept: list[bytes]) -> None:
        if not _NO_CHOICES.search(event):
            kept.append(event)
