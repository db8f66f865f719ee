"""What an exchange knows of a client that speaks the OpenAI format."""

import enum
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from tidegate.openai.answer import completion
from tidegate.openai.encoding import encoded
from tidegate.openai.errors import converted
from tidegate.openai.models import listing
from tidegate.openai.passing import WITHOUT_USAGE, WithoutUsage, asks_for_usage, completing
from tidegate.openai.refusing import Json
from tidegate.openai.request import to_messages
from tidegate.openai.stream import Chunks
from tidegate.wire.body import Edit, parse, splice
from tidegate.wire.headers import Pair
from tidegate.wire.routes import CHAT_PATH, Kind, Route

API_VERSION = b"2023-06-01"
"""Sent for clients that know of none: the version in which sampling can be set (sheet, 0.1)."""


class How(enum.StrEnum):
    """What is done for such a client."""

    PASS = "pass"  # noqa: S105 - no password
    """The upstream converts."""
    CONVERT = "convert"
    """The gateway converts."""
    NONE = "none"
    """It is only refused, in its own format."""


class Converter(Protocol):
    """Makes another stream of one."""

    def feed(self, piece: bytes) -> bytes:
        """Return what can be sent on, now that `piece` is here."""
        ...

    def finish(self) -> bytes:
        """Return what is to be said at the end."""
        ...


@dataclass(slots=True)
class Caller:
    """One exchange of such a client. The request's part is filled in when its body is here."""

    how: How
    kind: Kind
    """Of the route that it asked for."""
    created: int
    """Seconds since the epoch, for answers."""
    default_max_tokens: int = 0
    edits: list[Edit] = field(default_factory=list)
    """By the gateway itself, to what the upstream converts."""
    with_usage: bool = False
    """A stream is to tell its usage."""

    @property
    def converts(self) -> bool:
        """Whether the answer's bytes are not the upstream's."""
        asked = any(edit.rule == WITHOUT_USAGE for edit in self.edits)
        return self.how is How.CONVERT or asked

    def request(self, raw: bytes) -> bytes:
        """Return the body that is governed and sent.

        Raises:
            BodyError: it cannot be understood, or not be converted.
        """
        body = parse(raw)
        self.with_usage = asks_for_usage(body.document)
        if self.how is How.CONVERT:
            made = to_messages(body.document, default_max_tokens=self.default_max_tokens)
            return encoded(made)
        while edits := completing(body, self.default_max_tokens):
            self.edits += edits
            body = parse(splice(body.raw, edits))
        return body.raw

    def governed(self, document: Json) -> Json:
        """Return the request as policies read it: one of Messages.

        Raises:
            BodyError: it cannot be read so.
        """
        return to_messages(document, lenient=True) if self.how is How.PASS else document

    def headers(self, pairs: Sequence[Pair]) -> list[Pair]:
        """Return the request's headers for the upstream."""
        if self.how is not How.CONVERT:
            kept = [pair for pair in pairs if not self.converts or pair[0].lower() != _CODINGS]
            return kept + [(_CODINGS, b"identity")] * self.converts
        kept = [pair for pair in pairs if not _for_openai(pair[0].lower())]
        if not any(name.lower() == _VERSION and value.strip() for name, value in kept):
            kept.append((_VERSION, API_VERSION))
        return [*kept, (_CODINGS, b"identity")]

    def document(self, payload: bytes, status: int) -> bytes:
        """Return a whole answer in the client's format.

        Raises:
            ValueError: it is not what such an upstream answers.
        """
        if self.how is How.PASS:
            return payload
        if status >= 400:
            return encoded(converted(_json(payload), status))
        found = _json(payload)
        if type(found) is not dict:
            raise ValueError("not an object")
        if self.kind is not Kind.CHAT:
            return encoded(listing(found))
        if found.get("type") == "error":
            return encoded(converted(found, status))
        if type(found.get("content")) is not list:
            raise ValueError("not a message")
        return encoded(completion(found, self.created))

    def stream(self, *, increments: bool) -> Converter:
        """Return what converts a stream."""
        if self.how is How.PASS:
            return WithoutUsage()
        return Chunks(self.created, with_usage=self.with_usage, increments=increments)

    def answered(self, payload: bytes, content_type: str) -> bytes:
        """Return what a policy answers, which is always one of Messages.

        Raises:
            ValueError: it is not.
        """
        made = replace(self, how=How.CONVERT)
        if not content_type.startswith("text/event-stream"):
            return made.document(payload, 200)
        stream = made.stream(increments=False)
        return stream.feed(payload) + stream.finish()


_CODINGS = b"accept-encoding"
_VERSION = b"anthropic-version"


def _for_openai(name: bytes) -> bool:
    return name == _CODINGS or name.startswith(b"openai-")


def _json(payload: bytes) -> Any:
    try:
        return json.loads(payload)
    except (ValueError, RecursionError):
        return None


def caller_of(
    route: Route, headers: Mapping[str, str], *, chat: str, default_max_tokens: int, created: int
) -> tuple[Route, Caller | None]:
    """Return the route under which a request is served, and its caller if that speaks OpenAI's format.

    A list of models is such a client's if it names neither `anthropic-version`, which Messages
    requires, nor `x-api-key`. `chat` is the setting: where it is `off`, the chat's path does not exist.
    """
    if route.path == CHAT_PATH:
        how = How.NONE if chat == "off" or route.kind is not Kind.CHAT else How(chat)
        caller = Caller(how, Kind.CHAT, created, default_max_tokens)
        if chat == "off":
            return Route(Kind.NONE, route.method, route.path, route.query), caller
        return governed(route) if how is How.CONVERT else route, caller
    if chat == "off" or route.kind not in (Kind.MODELS, Kind.MODEL):
        return route, None
    if "anthropic-version" in headers or "x-api-key" in headers:
        return route, None
    return route, Caller(How.CONVERT, route.kind, created)


def governed(route: Route) -> Route:
    """Return the route of Messages under which policies judge a chat."""
    return Route(Kind.MESSAGES, route.method, "/v1/messages", route.query)
