"""The API's error envelope, for the answers that the gateway makes itself."""

from typing import Any

import msgspec

_encoder = msgspec.json.Encoder()


def envelope(error_type: str, message: str, request_id: str) -> bytes:
    """Return the body of an error answer (messages-api sheet, section 5.1)."""
    error = {"type": error_type, "message": message}
    return _encoder.encode({"type": "error", "error": encodable(error), "request_id": request_id})


def encodable(value: Any) -> Any:
    """Return a copy of JSON-like values in which `?` stands for what UTF-8 cannot say."""
    if type(value) is str:
        return value if value.isascii() else value.encode("utf-8", "replace").decode()
    if type(value) is dict:
        return {encodable(key): encodable(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [encodable(inner) for inner in value]
    return value


TYPE_BY_STATUS = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    405: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    500: "api_error",
    502: "api_error",
    503: "overloaded_error",
    504: "timeout_error",
}
"""The error type that SDKs expect with a status."""
