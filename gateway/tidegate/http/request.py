"""The client's request: what its head says, who presents what, and its body."""

import asyncio
import random
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from aiohttp import web
from multidict import CIMultiDict, CIMultiDictProxy

from tidegate.exchange import Client, Credential, Exchange, Trace
from tidegate.http.reply import Refusal, refuse
from tidegate.wire import headers
from tidegate.wire.headers import Pair
from tidegate.wire.routes import Kind, Route, resolve

Fields = CIMultiDict[str] | CIMultiDictProxy[str]
"""A request's headers as aiohttp gives them."""


def fields_of(pairs: Iterable[tuple[str, str]]) -> Fields:
    """Return header lines, which may repeat, as aiohttp would."""
    return CIMultiDict(pairs)


class SafeHeaders(Mapping[str, str]):
    """The request's headers for policies: case-insensitive, without credentials."""

    __slots__ = ("_headers",)

    _HIDDEN = frozenset(("authorization", "x-api-key", "proxy-authorization", "cookie"))

    def __init__(self, headers: Fields) -> None:
        self._headers = headers

    def __getitem__(self, name: str) -> str:
        value = self.get(name)
        if value is None:
            raise KeyError(name)
        return str(value)

    def get(self, name: str, default: Any = None) -> Any:  # of a Mapping it costs an exception
        if name.lower() in self._HIDDEN:
            return default
        values = self._headers.getall(name, None)
        return default if values is None else ", ".join(values)

    def __iter__(self) -> Iterator[str]:
        names = dict.fromkeys(name.lower() for name in self._headers)
        return iter([name for name in names if name not in self._HIDDEN])

    def __len__(self) -> int:
        return len(list(iter(self)))


def exchange_of(request: web.BaseRequest, client: Client, at: float) -> Exchange:
    """Return what the head says, for a request that came `at` seconds after the epoch."""
    peer = request.remote or ""
    return exchange_from(
        request.method, request.raw_path, request.headers, client, peer=peer, at=at
    )


def exchange_from(
    method: str, target: str, headers: Fields, client: Client, *, peer: str, at: float
) -> Exchange:
    """Return what a head says; for a request of no connection too, as in `policy test`."""
    return Exchange(
        id=_new_id(at),
        at=at,
        route=resolve(method, target),
        peer=peer,
        headers=SafeHeaders(headers),
        client=client,
        trace=trace_of(headers.get("traceparent", "")),
    )


def no_exchange(at: float) -> Exchange:
    """Return what stands in the record of something that was no HTTP request."""
    return Exchange(
        id=_new_id(at),
        at=at,
        route=Route(Kind.NONE, "", ""),
        peer="",
        headers={},
        client=Client(),
        trace=trace_of(""),
    )


def _new_id(at: float) -> str:
    """Return an id of our own, in the order of time. Ids that clients send are never used."""
    unique = random.getrandbits(64)
    return f"tg_{int(at * 1000):012x}{unique:016x}"


def credential_of(pairs: Sequence[Pair]) -> Credential | None:
    """Return what the caller presents, in either form or in both alike.

    An empty header is no credential: some clients send one beside the real one.

    Raises:
        Refusal: two that differ.
    """
    found: dict[str, Credential] = {}
    for name, value in pairs:
        lowered = name.lower()
        if lowered == b"x-api-key":
            text, form = value.decode("latin-1").strip(), "x-api-key"
        elif lowered == b"authorization":
            text, form = _bearer(value.decode("latin-1").strip())
        else:
            continue
        if text:
            found.setdefault(text, Credential(text, form))
    if len(found) > 1:
        message = (
            "two different credentials: send `x-api-key` or `authorization`, or the same in both"
        )
        raise refuse(401, message, "credentials_differ")
    return next(iter(found.values()), None)


def _bearer(value: str) -> tuple[str, str]:
    scheme, _, token = value.partition(" ")
    if scheme.lower() == "bearer":
        return token.strip(), "bearer"
    return value, "authorization"


def client_of(fields: Fields) -> Client:
    """Return what the calling program says of itself."""
    return Client(
        session=fields.get("x-claude-code-session-id", "")[:128],
        agent=fields.get("x-claude-code-agent-id", "")[:128],
        parent_agent=fields.get("x-claude-code-parent-agent-id", "")[:128],
        app=fields.get("user-agent", "").partition(" ")[0][:64],
    )


_TRACEPARENT = re.compile(
    r"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})(?:-.*)?"
)


def trace_of(traceparent: str) -> Trace:
    """Return the exchange's place in the caller's trace, or in one of its own."""
    # Ids of traces need to be unique, not to be secret.
    span_id = f"{random.getrandbits(64) or 1:016x}"
    match = _TRACEPARENT.fullmatch(traceparent.strip()) if traceparent else None
    if match is None:
        return Trace(f"{random.getrandbits(128) or 1:032x}", span_id)
    return Trace(match[1], span_id, parent_id=match[2], flags=int(match[3], 16))


OVERRIDES = frozenset(
    {
        "x-http-method-override",
        "x-http-method",
        "x-method-override",
        "x-original-url",
        "x-rewrite-url",
    }
)
"""Headers by which some servers take another method or path than the request line's."""


def check_overrides(fields: Fields) -> None:
    """Refuse a request that might be another one to whoever reads it next.

    Raises:
        Refusal: naming the header.
    """
    found = next((name for name in fields if name.lower() in OVERRIDES), None)
    if found is not None:
        message = f"{found.lower()}: this gateway takes the request line as it is; leave it away"
        raise refuse(400, message, "override_header")


def check_length(fields: Fields, max_body_bytes: int) -> None:
    """Refuse a body that need not be read, as it says itself that it is too large.

    Raises:
        Refusal: naming the limit.
    """
    length = fields.get("content-length", "0")
    if length.isdigit() and int(length) > max_body_bytes:
        raise _too_large(max_body_bytes)


def check_body_headers(fields: Fields) -> None:
    """Refuse what need not be read: bodies in a form we cannot see into.

    Raises:
        Refusal: saying which header, and what to send instead.
    """
    coding = fields.get("content-encoding", "").strip().lower()
    if coding not in ("", "identity"):
        message = (
            f"content-encoding: {coding[:32]!r} request bodies are not accepted; send plain JSON"
        )
        raise refuse(400, message, "body_encoded")
    if len(fields.getall("content-type", ())) > 1:
        raise refuse(400, "content-type: given more than once", "content_type")
    if fields.get("transfer-encoding", "chunked").strip().lower() != "chunked":
        raise refuse(400, "transfer-encoding: only chunked is understood", "body_encoded")
    media, charset = headers.content_type(fields.get("content-type", "application/json"))
    if media != "application/json" or charset not in ("", "utf-8", "utf8", "us-ascii"):
        message = "content-type: must be application/json, in UTF-8"
        raise refuse(400, message, "content_type")
    expectation = fields.get("expect")
    if expectation is not None and expectation.lower() != "100-continue":
        raise refuse(400, "expect: only 100-continue is understood", "expect")


JOINED_APART = 2 * 1024 * 1024
"""Bytes of a body from which on it is put together in a thread, without the interpreter's lock: for
each megabyte the kernel takes a millisecond to hand out memory."""


async def read_body(request: web.BaseRequest, max_body_bytes: int) -> bytes:
    """Return the whole body, which no later than at `max_body_bytes` is too large.

    Raises:
        Refusal: it is too large, or broken off or malformed.
    """
    content = request.content
    if content.is_eof():
        body = content.read_nowait()
        if len(body) > max_body_bytes:
            raise _too_large(max_body_bytes)
        return body
    if "expect" in request.headers and request.transport is not None:
        request.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    parts: list[bytes] = []
    size = 0
    try:
        while part := await content.readany():
            size += len(part)
            if size > max_body_bytes:
                raise _too_large(max_body_bytes)
            parts.append(part)
    except web.RequestPayloadError:
        raise refuse(400, "the body's transfer coding is malformed", "body_malformed") from None
    if size >= JOINED_APART:
        return await asyncio.to_thread(b"".join, parts)
    return b"".join(parts)


def _too_large(max_body_bytes: int) -> Refusal:
    message = f"the request body is larger than {max_body_bytes} bytes, the limit of this gateway"
    return refuse(413, message, "body_too_large")
