"""The requests that `check_plugin` asks a policy about."""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from zlib import crc32

from tidegate.exchange import Credential, Exchange, Principal, Request
from tidegate.testing.fakes import BATCH, DOCUMENT, make_answer, make_exchange, make_request
from tidegate.wire.routes import CLOSED, WITH_BODY, Kind
from tidegate.wire.transcript import Transcript

CANARY = "canary-" + "5e1f" * 4
"""Stands in every prompt; what a policy says must not repeat it."""

PRINCIPAL = Principal(id="ci-search", team="search")


@dataclass(frozen=True, slots=True)
class Case:
    """One request, with a name for the report."""

    name: str
    exchange: Exchange
    request: Request


def make_cases(
    credential: str, documents: Iterable[Mapping[str, Any] | bytes] = ()
) -> tuple[Case, ...]:
    """Return a case for each kind of request, and for each of the given documents."""
    bodies = [
        *_bodies(),
        *((f"documents[{index}]", document) for index, document in enumerate(documents)),
    ]
    secret = Credential(credential, "x-api-key")
    return (
        *(_case(name, Kind.MESSAGES, body, secret) for name, body in bodies),
        *(_case(f"count_tokens: {name}", Kind.COUNT_TOKENS, body, secret) for name, body in bodies),
        *(_case(f"without body: {kind}", kind, None, secret) for kind in Kind if _bodiless(kind)),
        _case("batch", Kind.BATCHES, BATCH, secret),
        _case("no credential", Kind.MESSAGES, DOCUMENT, None),
        _case("empty credential", Kind.MESSAGES, DOCUMENT, Credential("", "bearer")),
        _case("bearer", Kind.MESSAGES, DOCUMENT, Credential(credential, "bearer")),
        _case("another credential", Kind.MODELS, None, Credential(f"{credential}~", "x-api-key")),
    )


def make_answers() -> tuple[Transcript, ...]:
    """Return answers to show to policies that inspect them: with text, tools, an error, cut."""
    use = {"type": "tool_use", "id": "toolu_1", "name": "read", "input": {"path": CANARY}}
    said = {"type": "text", "text": f"So {CANARY}.", "citations": None}
    odd = {"type": "block_of_tomorrow", "data": [1, None, {"x": CANARY}]}
    message = {"type": "message", "role": "assistant", "model": "m", "content": [said, use, odd]}
    error = {"type": "error", "error": {"type": "api_error", "message": CANARY}}
    start = b'event: content_block_start\ndata: {"index":0,"content_block":{"type":"text"}}\n\n'
    return (
        make_answer(message),
        make_answer({**message, "content": []}),
        make_answer(error),
        make_answer(start, media="text/event-stream"),
    )


def _bodiless(kind: Kind) -> bool:
    return kind in (Kind.MODELS, Kind.MODEL) or kind in CLOSED - WITH_BODY


def _case(
    name: str, kind: Kind, body: Mapping[str, Any] | bytes | None, credential: Credential | None
) -> Case:
    body = body if kind in WITH_BODY else None
    request = make_request(body, kind=kind, principal=PRINCIPAL, credential=credential)
    return Case(name, make_exchange(kind, exchange_id=f"tg_{crc32(name.encode()):08x}"), request)


def _with(**fields: Any) -> dict[str, Any]:
    return {**DOCUMENT, **fields}


def _said(content: Any) -> dict[str, Any]:
    return _with(messages=[{"role": "user", "content": content}])


def _bodies() -> Iterator[tuple[str, Mapping[str, Any] | bytes]]:
    yield "small", _said(f"Hello {CANARY}")
    yield "stream", _with(stream=True)
    yield "no output", _with(max_tokens=0)
    yield "much output", _with(max_tokens=10**9)
    yield "no messages", _with(messages=[])
    yield "large", _said(f"The quick brown fox {CANARY} jumps. " * 20_000)
    yield "many messages", _with(messages=_conversation(500))
    yield "unicode", _said("日本語 \N{PILE OF POO} e\u0301 \u202eright to left\u202c \0 \x7f")
    yield "unicode, escaped", json.dumps(_said("日本語 \N{PILE OF POO} \ufeff")).encode()
    yield "half a surrogate pair", json.dumps(_said("\ud83d")).encode()
    yield "whitespace", json.dumps(_with(), indent="\t").replace(":", " \r\n:").encode()
    yield "escaped keys", _escaped_keys()
    yield "numbers", b'{"model":"m","max_tokens":7,"messages":[],"temperature":1.0E-2,"x":-0.0}'
    yield "nested", _with(tools=[{"name": "deep", "input_schema": _nested(120)}])
    yield "unknown fields", _with(**{"x-new": {"a/b": [{"~": CANARY}]}, "": None})
    yield "everything", _everything()


def _escaped_keys() -> bytes:
    return (
        b'{"mod\\u0065l":"claude-sonnet-4-6","max_tokens":1,"m\\u0065ssages":'
        b'[{"role":"user","content":"\\u0041\\/\\n\\\\\\""}]}'
    )


def _conversation(turns: int) -> list[dict[str, Any]]:
    roles = ("user", "assistant")
    return [{"role": roles[n % 2], "content": f"turn {n}"} for n in range(turns)]


def _nested(depth: int) -> dict[str, Any]:
    schema: dict[str, Any] = {}
    for _ in range(depth // 2):
        schema = {"properties": {"x": schema}}
    return schema


def _everything() -> dict[str, Any]:
    """A request with every class of field that the API defines."""
    blocks: list[dict[str, Any]] = [
        {"type": "tool_result", "tool_use_id": "toolu_1", "content": [_text(CANARY)]},
        {"type": "image", "source": {"type": "url", "url": "https://example.com/a.png"}},
        {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "d"}},
        {"type": "tool_addition", "tool": {"type": "tool_definition", "definition": _advisor()}},
        {"type": "block_of_tomorrow", "tool": None, "data": [1, 2.5, True, None, CANARY]},
    ]
    use = {"type": "tool_use", "id": "toolu_1", "name": "read", "input": {"path": CANARY}}
    thought = {"type": "thinking", "thinking": "so", "signature": "c2ln"}
    return _with(
        stream=True,
        max_tokens=4096,
        system=[_text("Be brief."), {**_text("x"), "cache_control": {"type": "ephemeral"}}],
        thinking={"type": "enabled", "budget_tokens": 2048},
        output_config={"effort": "low", "task_budget": {"type": "tokens", "total": 20_000}},
        metadata={"user_id": "u-1"},
        stop_sequences=["END"],
        tools=[{"name": "read", "input_schema": {"type": "object"}}, _advisor()],
        fallbacks=[{"model": "claude-haiku-4-5", "max_tokens": 512}],
        messages=[
            {"role": "user", "content": [_text(f"Read it. {CANARY}")]},
            {"role": "assistant", "content": [thought, use]},
            {"role": "user", "content": blocks},
        ],
    )


def _text(text: str) -> dict[str, Any]:
    return {"type": "text", "text": text}


def _advisor() -> dict[str, Any]:
    return {"type": "advisor_20260301", "name": "advisor", "model": "claude-opus-4-8"}
