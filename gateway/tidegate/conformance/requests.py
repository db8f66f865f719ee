"""What has to arrive upstream: path, headers and body as the client sent them."""

import json

from tidegate.conformance.case import Case
from tidegate.conformance.probe import Failed, Pair, Probe, Skipped, brief, message

BIG_BYTES = 20 * 1024 * 1024
BIG_S = 60


async def _path_and_query(probe: Probe) -> None:
    heard = await probe.forwarded(probe.body(), target="/v1/messages?beta=true&x=%2F")
    target = heard.line.split()[1]
    if not target.endswith("/v1/messages?beta=true&x=%2F"):
        raise Failed(f"the upstream was asked for {target}")


async def _query_decides_nothing(probe: Probe) -> None:
    heard = await probe.forwarded(probe.body(), target="/v1/messages?model=claude-none")
    if json.loads(heard.body).get("model") != probe.model:
        raise Failed("a query parameter changed the model")


async def _count_tokens(probe: Probe) -> None:
    body = json.dumps({k: v for k, v in json.loads(probe.body()).items() if k != "max_tokens"})
    answer = await probe.ask(message, body.encode(), target="/v1/messages/count_tokens")
    if answer.status in (404, 405, 501):
        raise Skipped("not offered; clients then estimate")
    if answer.status != 200 or not isinstance(json.loads(answer.body).get("input_tokens"), int):
        raise Failed(f"answered {answer.status}: {brief(answer.body)}")


async def _versions(probe: Probe) -> None:
    heard = await probe.forwarded(
        probe.body(), ("anthropic-beta", "one-2025-01-01,future-2031-12-31")
    )
    _same(heard.headers, "anthropic-version", ["2023-06-01"])
    _same(heard.headers, "anthropic-beta", ["one-2025-01-01,future-2031-12-31"])


async def _repeated_betas(probe: Probe) -> None:
    betas = ("one-2025-01-01", "two-2025-01-01")
    heard = await probe.forwarded(probe.body(), *(("anthropic-beta", beta) for beta in betas))
    found = [part.strip() for v in _all(heard.headers, "anthropic-beta") for part in v.split(",")]
    if found != list(betas):
        raise Failed(f"arrived: {found}")


async def _unknown_headers(probe: Probe) -> None:
    sent = [("anthropic-future", "a; b=1"), ("x-claude-code-future", "x")]
    heard = await probe.forwarded(probe.body(), *sent)
    for name, value in sent:
        _same(heard.headers, name, [value])


async def _session_headers(probe: Probe) -> None:
    sent = [
        ("x-claude-code-session-id", "11111111-2222-4333-8444-555555555555"),
        ("x-claude-code-agent-id", "agent-1"),
    ]
    heard = await probe.forwarded(probe.body(), *sent)
    for name, value in sent:
        _same(heard.headers, name, [value])


async def _unknown_fields(probe: Probe) -> None:
    future = {"a": [1, {"b": None}], "c": "d"}
    heard = await probe.forwarded(probe.body(x_future=future))
    if json.loads(heard.body).get("x_future") != future:
        raise Failed("a body field that the gateway does not know was dropped or changed")


async def _pairs_of_header_and_body(probe: Probe) -> None:
    tool = {
        "name": "look",
        "description": "Looks.",
        "strict": True,
        "defer_loading": False,
        "input_schema": {"type": "object", "properties": {}, "additionalProperties": False},
    }
    fields = {
        "context_management": {"edits": [{"type": "clear_tool_uses_20250919"}]},
        "output_config": {"effort": "medium"},
        "tools": [tool],
    }
    beta = ("anthropic-beta", "context-management-2025-06-27")
    heard = await probe.forwarded(probe.body(**fields), beta)
    found = json.loads(heard.body)
    for name, value in fields.items():
        if found.get(name) != value:
            raise Failed(f"`{name}` was dropped or changed, its header was not")
    _same(heard.headers, "anthropic-beta", [beta[1]])


async def _attribution(probe: Probe) -> None:
    system = [
        {
            "type": "text",
            "text": "x-anthropic-billing-header: cc_version=2.1.330; cc_entrypoint=cli;",
        },
        {"type": "text", "text": "You are Claude Code.", "cache_control": {"type": "ephemeral"}},
    ]
    heard = await probe.forwarded(probe.body(system=system))
    if json.loads(heard.body).get("system") != system:
        raise Failed("the array `system` was changed")


async def _exact_bytes(probe: Probe) -> None:
    body = (
        b'{ "model":"%s",\n\t"messages" : [{"role":"user","content":"fianc\\u00e9 \\/ \\ud83d\\ude00 \xc3\xa9"}],'
        b'"temperature": 1.0, "max_tokens":64 , "x_number": 1.50e1,  "metadata":{"user_id":"u_1"}}\n'
    ) % probe.model.encode()
    heard = await probe.forwarded(body)
    if heard.body != body:
        if json.loads(heard.body) == json.loads(body):
            raise Failed("the body was written anew: same meaning, other bytes")
        raise Failed("the body was changed")


async def _large_body(probe: Probe) -> None:
    text = "All work and no play makes a dull day. " * (BIG_BYTES // 39)
    messages = [{"role": "user", "content": text}]
    heard = await probe.forwarded(probe.body(messages=messages), within_s=BIG_S)
    found = json.loads(heard.body)["messages"]
    if found not in (messages, [{"role": "user", "content": [{"type": "text", "text": text}]}]):
        raise Failed("the text was changed")


async def _trace_context(probe: Probe) -> None:
    trace = "4bf92f3577b34da6a3ce929d0e0e4736"
    sent = [("traceparent", f"00-{trace}-00f067aa0ba902b7-01"), ("baggage", "user=somebody")]
    heard = await probe.forwarded(probe.body(), *sent)
    parents = _all(heard.headers, "traceparent")
    if parents and not all(parent.split("-")[1:2] == [trace] for parent in parents):
        raise Failed(f"the trace was not continued: {parents}")
    if any("somebody" in value for value in _all(heard.headers, "baggage")):
        raise Failed("the caller's baggage left towards the upstream")


async def _subscription(probe: Probe) -> None:
    credential = "Bearer of-a-subscription"
    headers = probe.head(credential=[("authorization", credential)])
    answer = await probe.ask(message, headers=headers)
    if answer.status in (400, 401, 403):
        raise Skipped("this gateway wants credentials of its own")
    found = _all(probe.arrived(answer).headers, "authorization")
    if found != [credential]:
        raise Skipped("this gateway replaces the caller's credential by its own")


async def _either_credential(probe: Probe) -> None:
    forms: list[list[Pair]] = [
        [("x-api-key", probe.key)],
        [("authorization", f"Bearer {probe.key}")],
        [("x-api-key", probe.key), ("authorization", f"Bearer {probe.key}")],
    ]
    for form in forms:
        answer = await probe.ask(message, headers=probe.head(credential=form))
        if answer.status != 200:
            names = " and ".join(name for name, _ in form)
            raise Failed(f"with {names}: answered {answer.status}")


async def _two_credentials(probe: Probe) -> None:
    both = [("x-api-key", probe.key), ("authorization", "Bearer another-one")]
    answer = await probe.ask(message, headers=probe.head(credential=both))
    if answer.status not in (400, 401, 403):
        raise Failed(f"answered {answer.status}: it guessed which of the two counts")


def _all(headers: list[Pair], name: str) -> list[str]:
    return [value for key, value in headers if key.lower() == name]


def _same(headers: list[Pair], name: str, values: list[str]) -> None:
    found = _all(headers, name)
    if found != values:
        raise Failed(f"{name}: sent {values}, arrived {found}")


CASES = (
    Case("path", "C1", "POST /v1/messages is forwarded with its query as written", _path_and_query),
    Case("query", "C1", "no query parameter changes what is asked", _query_decides_nothing),
    Case("count-tokens", "C2", "tokens can be counted", _count_tokens),
    Case("credential-forms", "C5", "x-api-key, Authorization, or both alike are accepted", _either_credential),
    Case("credential-clash", "C5", "two credentials that differ are refused", _two_credentials),
    Case("versions", "C6", "anthropic-version and anthropic-beta arrive verbatim", _versions),
    Case("betas-repeated", "C6", "repeated anthropic-beta lines all arrive, in order", _repeated_betas),
    Case("headers-unknown", "C7", "unknown anthropic-* and x-claude-code-* headers pass", _unknown_headers),
    Case("fields-unknown", "C7", "unknown body fields pass", _unknown_fields),
    Case("session", "C8", "session and agent ids pass", _session_headers),
    Case("pairs", "C9", "what a beta header allows in the body arrives with it", _pairs_of_header_and_body),
    Case("attribution", "C10", "the array `system` arrives as it was", _attribution),
    Case("body-bytes", "C9 C10", "the body arrives byte for byte", _exact_bytes),
    Case("trace", "C14", "a trace is continued, baggage stays here", _trace_context),
    Case("large-body", "C16", "a body of 20 MB passes", _large_body),
    Case("subscription", "C17", "a subscription's bearer token is forwarded", _subscription),
)  # fmt: skip
"""In the order of the contract."""
