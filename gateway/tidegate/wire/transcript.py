"""An answer as a document: what a captured copy says, streams put together.

It never raises: what cannot be read is named in `Transcript.missing`, and the rest is there.
"""

import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import msgspec

from tidegate.wire import chat, sse
from tidegate.wire.capture import MAX_ANSWER_BYTES, Capture

_QUIET = frozenset((b"", b"[DONE]"))
"""Data of events that say nothing."""


@dataclass(frozen=True, slots=True)
class Transcript:
    """What the upstream answered, as far as it was kept and could be read."""

    document: dict[str, Any]
    """The message, as an unstreamed answer would have been, so that `/content/0/text` is
    all of the first block's text. Tool input whose JSON broke off is a string. An error
    stands under `error`. Empty if nothing could be read."""
    bytes: int = 0
    """Of payload that was read, without its compression."""
    missing: tuple[str, ...] = ()
    """Why something is not in `document`: `too_large` (the answer, or what it inflates
    to), `no_room`, `coding_unknown`, `inflate_failed`, `unreadable`, `event_unknown`."""


def read(capture: Capture) -> Transcript:
    """Return what a capture says. Takes milliseconds for megabytes: not for an event loop.

    A stream that was cut is read up to there.
    """
    payload, why = _inflated(capture.payload(), capture.coding.strip().lower())
    missing = [reason for reason in (capture.stopped, why) if reason]
    media = capture.media.partition(";")[0].strip().lower()
    if media == "text/event-stream":
        document = _stream(payload, missing)
    elif media == "application/json" or media.endswith("+json"):
        document = _whole(_object(payload)) or _nothing(missing)
    else:
        document = _nothing(missing)
    return Transcript(document, len(payload), tuple(dict.fromkeys(missing)))


def _nothing(missing: list[str]) -> dict[str, Any]:
    missing.append("unreadable")
    return {}


def _whole(document: dict[str, Any]) -> dict[str, Any]:
    """Return a message as it is, and a chat completion as a message."""
    if not chat.is_chat(document):
        return document
    completion = chat.Completion()
    completion.take(document)
    return completion.document()


def _object(data: bytes | str) -> dict[str, Any]:
    """Return the JSON object that this is, or an empty one."""
    try:
        value = msgspec.json.decode(data)
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        return {}
    return value if type(value) is dict else {}


def _inflated(payload: bytes, coding: str) -> tuple[bytes, str]:
    """Return the payload without its compression, and what is wrong with it."""
    if coding in ("", "identity"):
        return payload, ""
    if coding not in ("gzip", "x-gzip", "deflate"):
        return b"", "coding_unknown"
    inflate = zlib.decompressobj(47)  # gzip or zlib, told apart by their header
    parts: list[bytes] = []
    size = 0
    try:
        while payload and size <= MAX_ANSWER_BYTES:
            parts.append(inflate.decompress(payload, 256 * 1024))
            size += len(parts[-1])
            payload = inflate.unconsumed_tail
    except zlib.error:
        return b"".join(parts), "inflate_failed"
    return b"".join(parts), "too_large" if payload else ""


def _stream(payload: bytes, missing: list[str]) -> dict[str, Any]:
    message = _Message()
    completion: chat.Completion | None = None
    decoder = sse.Decoder(MAX_ANSWER_BYTES)
    for event in (*decoder.feed(payload), *decoder.finish()):
        if event.data.strip() in _QUIET:
            continue
        data = _object(event.data)
        if chat.is_chat(data):
            completion = completion or chat.Completion()
            completion.take(data)
            continue
        reason = message.take(event.name.decode("latin-1") or data.get("type"), data)
        if reason:
            missing.append(reason)
    return message.document() if completion is None else completion.document()


class _Message:
    """A message that grows event by event (messages-api sheet, section 4.1)."""

    def __init__(self) -> None:
        self._fields: dict[str, Any] = {}
        self._blocks: dict[int, dict[str, Any]] = {}
        self._parts: dict[tuple[int, str], list[str]] = {}
        """Of strings that come in pieces, by block and field."""

    def take(self, kind: object, data: dict[str, Any]) -> str:
        """Take an event in; return what was wrong with it, if anything was."""
        match kind, data:
            case "message_start", {"message": dict(message)}:
                self._fields.update(message)
            case "content_block_start", {"index": int(index), "content_block": dict(block)}:
                self._blocks[index] = dict(block)
            case "content_block_delta", {"index": int(index), "delta": dict(delta)}:
                self._grow(index, delta)
            case "message_delta", {"delta": dict(delta)}:
                self._fields.update(delta)
            case "error", _ if data:
                self._fields["error"] = data.get("error", data)
            case "message_stop" | "content_block_stop" | "ping", _:
                pass
            case _:
                return "event_unknown" if data else "unreadable"
        return ""

    def _grow(self, index: int, delta: dict[str, Any]) -> None:
        block = self._blocks.setdefault(index, {})
        for field, value in delta.items():
            if field == "citation":
                _citations(block).append(value)
            elif field != "type" and isinstance(value, str):
                self._parts.setdefault((index, field), []).append(value)
            elif field != "type":
                block[field] = value

    def document(self) -> dict[str, Any]:
        """Return what the message has come to."""
        for (index, field), text in self._joined():
            block = self._blocks[index]
            if field == "partial_json":
                block["input"] = _object(text) or text
            else:
                begun = block.get(field)
                block[field] = (begun if isinstance(begun, str) else "") + text
        if self._blocks:
            self._fields["content"] = [self._blocks[index] for index in sorted(self._blocks)]
        return self._fields

    def _joined(self) -> Iterator[tuple[tuple[int, str], str]]:
        for place, parts in self._parts.items():
            if any(parts):
                yield place, "".join(parts)


def _citations(block: dict[str, Any]) -> list[Any]:
    begun = block.get("citations")
    if not isinstance(begun, list):
        begun = block["citations"] = []
    return begun
