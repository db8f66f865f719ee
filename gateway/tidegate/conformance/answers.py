"""What has to come back: discovery, errors, headers, as the upstream gave them."""

import json

from tidegate.conformance.case import Case
from tidegate.conformance.probe import Answer, Failed, Probe, brief, message
from tidegate.testing.upstream import Call, Script

DISCOVERY_S = 3
"""Claude Code waits no longer for the list of models."""

_MODELS = {
    "data": [
        {"type": "model", "id": "claude-conformance-1", "display_name": "Conformance 1", "created_at": "2026-01-01T00:00:00Z"}
    ],
    "has_more": False,
    "first_id": "claude-conformance-1",
    "last_id": "claude-conformance-1",
}  # fmt: skip


async def _discovery(probe: Probe) -> None:
    async def models(call: Call) -> None:
        await call.answer(json.dumps(_MODELS).encode())

    answer = await probe.ask(
        models, target="/v1/models?limit=1000", method="GET", within_s=DISCOVERY_S
    )
    if 300 <= answer.status < 400:
        raise Failed("answered with a redirect, which clients do not follow")
    if answer.status != 200:
        raise Failed(f"answered {answer.status}")
    data = json.loads(answer.body).get("data")
    if not isinstance(data, list) or not data:
        raise Failed("`data` is no list of models")
    for model in data:
        if not isinstance(model.get("id"), str) or not isinstance(model.get("display_name"), str):
            raise Failed("a model lacks `id` or `display_name`")


async def _startup_probe(probe: Probe) -> None:
    await probe.ask(message, target="/", method="HEAD", headers=[], within_s=DISCOVERY_S)


def _error(status: int, kind: str, *fields: str) -> tuple[Script, bytes]:
    body = json.dumps(
        {"type": "error", "error": {"type": kind, "message": f"  said {status} \u00e9"}, "request_id": "req_1", "future": 1},
        indent=1,
    ).encode()  # fmt: skip

    async def script(call: Call) -> None:
        head = "".join(f"{field}\r\n" for field in fields)
        start = f"HTTP/1.1 {status} Odd Reason\r\ncontent-type: application/json\r\n{head}"
        await call.say(f"{start}content-length: {len(body)}\r\n\r\n".encode() + body)

    return script, body


_ERRORS = (
    (400, "invalid_request_error"),
    (401, "authentication_error"),
    (403, "permission_error"),
    (404, "not_found_error"),
    (413, "request_too_large"),
    (429, "rate_limit_error"),
    (500, "api_error"),
    (529, "overloaded_error"),
)


async def _each_error(probe: Probe) -> list[tuple[Answer, int, bytes]]:
    found = []
    for status, kind in _ERRORS:
        script, body = _error(status, kind)
        found.append((await probe.ask(script), status, body))
    return found


async def _error_status(probe: Probe) -> None:
    for answer, status, _ in await _each_error(probe):
        if answer.status != status:
            raise Failed(f"{status} became {answer.status}")


async def _error_bodies(probe: Probe) -> None:
    for answer, status, body in await _each_error(probe):
        if answer.body != body:
            raise Failed(f"the body of a {status} was changed: {brief(answer.body)}")


async def _no_retries(probe: Probe) -> None:
    for status, kind in _ERRORS:
        script, _ = _error(status, kind)
        await probe.ask(script, within_s=30)
        if len(probe.heard) != 1:
            raise Failed(
                f"a {status} was asked for {len(probe.heard)} times; the SDKs retry already"
            )


async def _error_headers(probe: Probe) -> None:
    fields = {
        "retry-after": "17",
        "x-should-retry": "false",
        "request-id": "req_conformance",
        "anthropic-ratelimit-requests-remaining": "0",
    }
    script, _ = _error(429, "rate_limit_error", *(f"{k}: {v}" for k, v in fields.items()))
    _carries(await probe.ask(script), fields)


async def _answer_headers(probe: Probe) -> None:
    fields = {
        "request-id": "req_conformance",
        "anthropic-organization-id": "org_1",
        "anthropic-ratelimit-tokens-remaining": "12",
        "x-future": "a; b",
    }

    async def script(call: Call) -> None:
        lines = "".join(f"{k}: {v}\r\n" for k, v in fields.items())
        await call.say(
            f"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n{lines}content-length: 2\r\n\r\n{{}}".encode()
        )

    _carries(await probe.ask(script), fields)


def _carries(answer: Answer, fields: dict[str, str]) -> None:
    for name, value in fields.items():
        if answer.header(name) != value:
            raise Failed(
                f"{name}: the upstream said {value!r}, the client got {answer.header(name)!r}"
            )


async def _answer_bytes(probe: Probe) -> None:
    body = b'{ "type":"message",\n "x":1.0, "text":"fianc\\u00e9", "content":[] , "usage":{"input_tokens":1,"output_tokens":1}}\n'

    async def script(call: Call) -> None:
        await call.answer(body)

    answer = await probe.ask(script)
    if answer.body != body:
        raise Failed("the body of an answer was changed")


async def _own_errors(probe: Probe) -> None:
    answer = await probe.ask(message, b'{"model": ')
    if not 400 <= answer.status < 500:
        raise Failed(f"a body that is no JSON was answered with {answer.status}")
    try:
        found = json.loads(answer.body)
        shaped = found["type"] == "error" and isinstance(found["error"]["type"], str)
        shaped = shaped and isinstance(found["error"]["message"], str)
    except (ValueError, KeyError, TypeError):
        shaped = False
    if not shaped:
        raise Failed(f"its own error is not in the API's envelope: {brief(answer.body)}")


CASES = (
    Case("discovery", "C3", "GET /v1/models lists models within 3 s, without a redirect", _discovery),
    Case("probe", "C4", "HEAD / is answered", _startup_probe),
    Case("error-status", "C11", "the upstream's error codes pass", _error_status),
    Case("error-bytes", "C11", "the upstream's error bodies pass byte for byte", _error_bodies),
    Case("error-headers", "C11 C13", "retry-after, x-should-retry, request-id, rate limits pass", _error_headers),
    Case("no-retries", "C13", "the gateway does not retry on its own", _no_retries),
    Case("own-errors", "C11", "its own errors have the API's shape", _own_errors),
    Case("answer-headers", "", "the headers of an answer pass, known or not", _answer_headers),
    Case("answer-bytes", "", "an answer passes byte for byte", _answer_bytes),
)  # fmt: skip
"""In the order of the contract."""
