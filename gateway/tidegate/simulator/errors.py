"""Errors, as the API gives them: status, envelope, headers."""

from tidegate.wire.errors import envelope

TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    405: "not_found_error",
    408: "timeout_error",
    409: "conflict_error",
    413: "request_too_large",
    429: "rate_limit_error",
    500: "api_error",
    503: "api_error",
    504: "timeout_error",
    529: "overloaded_error",
}
"""The error type of a status (messages-api sheet, section 5.2)."""

_STATUS = {name: status for status, name in TYPES.items() if status not in {405, 408, 503}}

_MESSAGES = {
    401: "invalid x-api-key",
    429: "This request would exceed your organization's rate limit. Please try again later.",
    500: "Internal server error",
    529: "Overloaded",
}

BAD_GATEWAY = (
    b"<html>\r\n<head><title>502 Bad Gateway</title></head>\r\n<body>\r\n"
    b"<center><h1>502 Bad Gateway</h1></center>\r\n<hr><center>cloudflare</center>\r\n"
    b"</body>\r\n</html>\r\n"
)
"""What an edge answers when nobody behind it does: not JSON, no envelope."""


class ApiError(Exception):
    """The request gets an error instead of an answer."""

    def __init__(self, status: int, message: str = "", headers: tuple[tuple[str, str], ...] = ()):
        super().__init__(message or _MESSAGES.get(status, "Simulated error"))
        self.status = status
        self.message = str(self).encode("utf-8", "replace").decode()
        self.headers = headers

    @property
    def content_type(self) -> str:
        """The media type of `body`."""
        return "text/html" if self.status == 502 else "application/json"

    def body(self, request_id: str) -> bytes:
        """Return the body of the answer."""
        if self.status == 502:
            return BAD_GATEWAY
        kind = TYPES.get(self.status, "api_error")
        return envelope(kind, self.message, request_id)


class Disconnect(Exception):
    """The request gets no answer at all."""


def demanded(error: str, retry_after: int) -> ApiError | Disconnect:
    """Return the error that the control `error` asks for."""
    if error == "disconnect":
        return Disconnect()
    status = int(error) if error.isdecimal() else _STATUS.get(error, 0)
    if not 400 <= status <= 599:
        return ApiError(400, f"x-simulate: there is no error {error!r}")
    headers = (("retry-after", str(retry_after)),) if status == 429 else ()
    return ApiError(status, headers=headers)
