"""The answers that the gateway makes itself, in the API's envelope."""

from collections.abc import Sequence
from typing import Any

from aiohttp import web

from tidegate.openai import errors as openai_errors
from tidegate.plugin import Answer, Refuse
from tidegate.wire import errors, headers
from tidegate.wire.headers import Pair
from tidegate.wire.routes import Route

REASONS = {
    200: "OK",
    204: "No Content",
    400: "Bad Request",
    401: "Unauthorized",
    402: "Payment Required",
    403: "Forbidden",
    404: "Not Found",
    405: "Method Not Allowed",
    413: "Content Too Large",
    417: "Expectation Failed",
    429: "Too Many Requests",
    500: "Internal Server Error",
    502: "Bad Gateway",
    503: "Service Unavailable",
    504: "Gateway Timeout",
}

PATIENCE_S = 60
"""SDKs wait this long by themselves. Beyond it some hang and others ignore what they are told."""


class Refusal(Exception):
    """Ends an exchange before anything of an answer was sent.

    `plugin` is who refused; `gateway` is the core itself.
    """

    def __init__(
        self, refuse: Refuse, *, plugin: str = "gateway", headers: Sequence[Pair] = ()
    ) -> None:
        super().__init__(refuse.rule)
        self.refuse = refuse
        self.plugin = plugin
        self.headers = headers

    @property
    def origin(self) -> str:
        """The value of `x-tidegate-origin`: whom to ask about it."""
        if self.plugin == "gateway":
            return "gateway"
        return "limit" if self.refuse.status == 429 else "policy"


def refuse(
    status: int,
    message: str,
    rule: str,
    *,
    pointer: str = "",
    retry_after_s: int | None = None,
    headers: Sequence[Pair] = (),
) -> Refusal:
    """Return a refusal by the core itself, its error type by its status."""
    error_type = errors.TYPE_BY_STATUS[status]
    decision = Refuse(
        status=status,
        error_type=error_type,
        message=message,
        rule=rule,
        pointer=pointer,
        retry_after_s=retry_after_s,
    )
    return Refusal(decision, headers=headers)


class Written(web.StreamResponse):
    """What a handler returns when it has written the answer to the transport itself."""

    def __init__(self, status: int, *, keep_alive: bool) -> None:
        super().__init__(status=status)
        self._keep_alive = keep_alive

    @property
    def prepared(self) -> bool:
        return True

    async def prepare(self, request: web.BaseRequest) -> Any:
        return None

    async def write_eof(self, data: Any = b"") -> None:
        pass


def answer(
    status: int, body: bytes, pairs: Sequence[Pair], *, keep_alive: bool, bodiless: bool = False
) -> bytes:
    """Return a whole answer as bytes; `bodiless` for HEAD, whose length still counts."""
    fields = [*pairs]
    if status != 204:
        fields.append((b"content-length", b"%d" % len(body)))
    if not keep_alive:
        fields.append((b"connection", b"close"))
    line = f"HTTP/1.1 {status} {REASONS.get(status, 'Unknown')}\r\n".encode()
    return line + headers.encode(fields) + b"\r\n" + (b"" if bodiless else body)


def answer_fields(answer: Answer, exchange_id: str) -> list[Pair]:
    """Return the headers of what a policy answers in the upstream's place."""
    announced = [(name.encode(), value.encode()) for name, value in answer.headers]
    return [
        (b"content-type", answer.content_type.encode()),
        (b"request-id", exchange_id.encode()),
        (b"x-tidegate-origin", b"policy"),
        *announced,
    ]


def refusal_answer(
    refusal: Refusal, exchange_id: str, *, openai: bool = False
) -> tuple[bytes, list[Pair]]:
    """Return body and headers of a refusal (messages-api sheet, sections 5.4, 9.5)."""
    decision = refusal.refuse
    encoded = exchange_id.encode()
    fields: list[Pair] = [
        (b"content-type", b"application/json"),
        (b"request-id", encoded),
        (b"x-tidegate-id", encoded),
        (b"x-tidegate-origin", refusal.origin.encode()),
    ]
    wait_s = decision.retry_after_s
    if wait_s is not None:
        fields.append((b"retry-after", b"%d" % wait_s))
    if wait_s is None or wait_s > PATIENCE_S:
        fields.append((b"x-should-retry", b"false"))
    fields += [(name.encode(), value.encode()) for name, value in decision.headers]
    fields += refusal.headers
    if openai:
        fields.append((b"x-request-id", encoded))
        body = openai_errors.envelope(decision.error_type, decision.message, decision.pointer)
        return body, fields
    return errors.envelope(decision.error_type, decision.message, exchange_id), fields


def unknown_route(route: Route) -> Refusal:
    """Return the refusal of a path, or of a method, that is not governed."""
    if route.allowed:
        allowed = ", ".join(route.allowed)
        message = f"{route.method[:16]} is not served at {route.path[:200]}; use {allowed}"
        return refuse(405, message, "method", headers=[(b"allow", allowed.encode())])
    message = (
        f"{_shown(route.path)} is not served by this gateway: it forwards /v1/messages, "
        "/v1/messages/count_tokens, /v1/models, and where it is configured to, "
        "/v1/messages/batches, /v1/files but for uploads, and /v1/chat/completions"
    )
    return refuse(404, message, "path")


def _shown(path: str) -> str:
    return path[:200].encode("ascii", "backslashreplace").decode()
