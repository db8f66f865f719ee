"""What is sent for a request, before anything is sent: status, headers, frames."""

import json
from dataclasses import dataclass
from typing import Any

from tidegate.simulator.errors import ApiError
from tidegate.simulator.ids import short
from tidegate.simulator.options import Options

Pairs = tuple[tuple[str, str], ...]

_LIMITS = {"requests": 4_000, "tokens": 480_000, "input-tokens": 400_000, "output-tokens": 80_000}
_RESET = "2026-11-22T12:00:00Z"
"""Fixed, as everything here: the simulator has no clock."""


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer as frames: a frame is an event, the half of a JSON text, or all of a page."""

    status: int
    headers: Pairs
    frames: tuple[bytes, ...]
    options: Options
    stream: bool = False
    fixed_length: bool = False
    disconnect: bool = False


def common(request_id: str, count: int) -> Pairs:
    """Return the headers of every answer; two names are there twice, as in the wild."""
    return (
        ("request-id", request_id),
        ("anthropic-organization-id", "00000000-0000-4000-8000-000000000000"),
        *_rate_limits(count),
        ("server", "cloudflare"),
        ("cf-ray", f"{short(count, length=16).lower()}-SIM"),
        ("cf-cache-status", "DYNAMIC"),
        ("set-cookie", "_cfuvid=simulated; path=/; HttpOnly"),
        ("set-cookie", "__cf_bm=simulated; path=/; HttpOnly"),
        ("via", "1.1 google"),
        ("via", "1.1 simulator"),
        ("x-robots-tag", "none"),
        ("strict-transport-security", "max-age=31536000; includeSubDomains; preload"),
        ("content-security-policy", "default-src 'none'; frame-ancestors 'none'"),
        ("vary", "Accept-Encoding"),
        ("x-envoy-upstream-service-time", "1"),
    )


def _rate_limits(count: int) -> Pairs:
    pairs: list[tuple[str, str]] = []
    for kind, limit in _LIMITS.items():
        left = limit - count % limit if kind == "requests" else limit
        name = f"anthropic-ratelimit-{kind}"
        pairs += ((f"{name}-limit", str(limit)), (f"{name}-remaining", str(left)))
        pairs.append((f"{name}-reset", _RESET))
    return tuple(pairs)


def encode(value: Any) -> bytes:
    """Return a value as compact JSON."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")


def document(value: Any, options: Options, headers: Pairs) -> Reply:
    """Return an answer in JSON: in two frames, so that it can be cut in the middle."""
    body = encode(value)
    middle = len(body) // 2
    kind = ("content-type", "application/json")
    frames = (body[:middle], body[middle:])
    fixed = options.framing == "length"
    return _reply(200, (kind, *headers), frames, options, fixed_length=fixed)


def stream(frames: tuple[bytes, ...], options: Options, headers: Pairs) -> Reply:
    """Return an answer as server-sent events."""
    own = (("content-type", "text/event-stream; charset=utf-8"), ("cache-control", "no-cache"))
    return _reply(200, own + headers, frames, options, stream=True)


def failure(error: ApiError, options: Options, request_id: str, headers: Pairs) -> Reply:
    """Return an error. It has a length, and is never compressed."""
    own: Pairs = (("content-type", error.content_type), *error.headers)
    if options.should_retry:
        own = (*own, ("x-should-retry", options.should_retry))
    frames = (error.body(request_id),)
    plain = Options(delay_ms=options.delay_ms, status=options.status)
    return _reply(error.status, own + headers, frames, plain, fixed_length=True)


def _reply(
    status: int,
    headers: Pairs,
    frames: tuple[bytes, ...],
    options: Options,
    *,
    stream: bool = False,
    fixed_length: bool = False,
) -> Reply:
    if options.gzip:
        headers = (*headers, ("content-encoding", "gzip"))
        fixed_length = False
    status = options.status or status
    return Reply(status, headers, frames, options, stream=stream, fixed_length=fixed_length)


def empty(status: int, headers: Pairs) -> Reply:
    """Return an answer without a body."""
    return Reply(status, headers, (), Options(), fixed_length=True)


def nothing() -> Reply:
    """Return the answer that is a closed connection."""
    return Reply(0, (), (), Options(), disconnect=True)
