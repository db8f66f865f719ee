"""An answer as a document: what a captured copy says, streams put together.

It never raises: what cannot be read is named in `Transcript.missing`, and the rest is there.
"""

import re
import zlib
from collections.abc import Iterator
from typing import Any

import msgspec

from tidegate.wire import chat, sse
from tidegate.wire.capture import MAX_ANSWER_BYTES, Capture
from tidegate.wire.coding import INFLATABLE, PLAIN, Inflater, coding_of

_QUIET = frozenset((b"", b"[DONE]"))
"""Data of events that say nothing."""


class Transcript(msgspec.Struct, frozen=True):
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
    payload, why = _inflated(capture.payload(), coding_of(capture.coding))
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
    if coding in PLAIN:
        return payload, ""
    if coding not in INFLATABLE:
        return b"", "coding_unknown"
    parts: list[bytes] = []
    size = 0
    try:
        for part in Inflater().parts(payload):
            if size > MAX_ANSWER_BYTES:
                return b"".join(parts), "too_large"
            parts.append(part)
            size += len(part)
    except zlib.error:
        return b"".join(parts), "inflate_failed"
    return b"".join(parts), ""


def _stream(payload: bytes, missing: list[str]) -> dict[str, Any]:
    message = _Message()
    completion: chat.Completion | None = None
    events, texts = _written_plainly(payload) or (_decoded(payload), {})
    for kind, data in events:
        if chat.is_chat(data):
            completion = completion or chat.Completion()
            completion.take(data)
            continue
        reason = message.take(kind, data)
        if reason:
            missing.append(reason)
    for (index, field), parts in texts.items():
        message.say(int(index), field.decode(), parts)
    return message.document() if completion is None else completion.document()


Events = list[tuple[object, dict[str, Any]]]
"""The kind of each event, and the object it brings; an empty one if it brings none."""
Texts = dict[tuple[bytes, bytes], list[str]]
"""Deltas that only bring text, by block and field."""

_EVENT = re.compile(
    rb'event: (?:content_block_delta\ndata: \{"type":"content_block_delta","index":(0|[1-9][0-9]{0,8}),'
    rb'"delta":\{"type":"[a-z_]+","(text|thinking|partial_json)":("[^\r\n]*")\}\}'
    rb"|([a-z_]+)\ndata: ([^\r\n]*))\n\n"
    rb"|(.+)",
    re.DOTALL,
)


_TEXTS = frozenset({"text", "thinking", "partial_json"})


def _written_plainly(payload: bytes) -> tuple[Events, Texts] | None:
    """Return what a stream brings that is written as the API does, decoded in one go.

    That takes a tenth of the time: most answers are hundreds of short deltas.
    """
    names: list[bytes] = []
    objects: list[bytes] = []
    written: dict[tuple[bytes, bytes], list[bytes]] = {}
    for index, field, text, name, data, other in _EVENT.findall(payload):
        if field:
            written.setdefault((index, field), []).append(text)
        elif other:
            return None
        else:
            names.append(name)
            objects.append(data)
    try:
        values = _all(objects)
        texts = {place: _all(parts) for place, parts in written.items()}
    except (msgspec.MsgspecError, UnicodeError, RecursionError, ValueError):
        return None
    if any(type(value) is not dict for value in values):
        return None
    if any(type(part) is not str for parts in texts.values() for part in parts):
        return None
    if written and any(map(_brings_text, values)):
        return None  # some are written otherwise, and belong between the others
    return list(zip((name.decode() for name in names), values, strict=True)), texts


def _brings_text(event: dict[str, Any]) -> bool:
    delta = event.get("delta")
    return type(delta) is dict and not _TEXTS.isdisjoint(delta)


def _all(written: list[bytes]) -> list[Any]:
    """Return many JSON values.

    Raises:
        msgspec.MsgspecError, UnicodeError, RecursionError, ValueError: one of them is none.
    """
    values: list[Any] = msgspec.json.decode(b"[%b]" % b",".join(written))
    if len(values) != len(written):
        raise ValueError("some hold several")
    return values


def _decoded(payload: bytes) -> Events:
    """Return the events of any stream that clients can read."""
    decoder = sse.Decoder(MAX_ANSWER_BYTES)
    found: Events = []
    for event in (*decoder.feed(payload), *decoder.finish()):
        if event.data.strip() not in _QUIET:
            data = _object(event.data)
            found.append((event.name.decode("latin-1") or data.get("type"), data))
    return found


_FIELDS: dict[object, str] = {"message_start": "message", "message_delta": "delta"}
"""Events that tell fields of the message, and where."""
_SILENT = frozenset(("message_stop", "content_block_stop", "ping"))


class _Message:
    """A message that grows event by event (messages-api sheet, section 4.1)."""

    def __init__(self) -> None:
        self._fields: dict[str, Any] = {}
        self._blocks: dict[int, dict[str, Any]] = {}
        self._parts: dict[tuple[int, str], list[str]] = {}
        """Of strings that come in pieces, by block and field."""

    def take(self, kind: object, data: dict[str, Any]) -> str:
        """Take an event in; return what was wrong with it, if anything was."""
        index = data.get("index")
        if kind == "content_block_delta" and type(index) is int:
            delta = data.get("delta")
            if type(delta) is dict:
                self._grow(index, delta)
                return ""
        elif kind == "content_block_start" and type(index) is int:
            block = data.get("content_block")
            if type(block) is dict:
                self._blocks[index] = dict(block)
                return ""
        elif kind in _FIELDS:
            fields = data.get(_FIELDS[kind])
            if type(fields) is dict:
                self._fields.update(fields)
                return ""
        elif kind == "error" and data:
            self._fields["error"] = data.get("error", data)
            return ""
        elif kind in _SILENT:
            return ""
        return "event_unknown" if data else "unreadable"

    def say(self, index: int, field: str, parts: list[str]) -> None:
        """Take in what deltas of a block brought of one string, in their order."""
        self._blocks.setdefault(index, {})
        self._parts.setdefault((index, field), []).extend(parts)

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
