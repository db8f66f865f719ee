"""Errors as OpenAI's clients read them (messages-api sheet, section 9.5)."""

from typing import Any

import msgspec

from tidegate.openai.refusing import Json, dotted
from tidegate.wire.errors import encodable

_CODES = {"authentication_error": "invalid_api_key", "rate_limit_error": "rate_limit_exceeded"}


def error(error_type: str, message: str, *, param: str | None = None) -> Json:
    """Return an error object. Its type is that of Messages; clients choose a class by status."""
    return {
        "error": {
            "message": message,
            "type": error_type,
            "param": param,
            "code": _CODES.get(error_type),
        }
    }


def envelope(error_type: str, message: str, pointer: str = "") -> bytes:
    """Return the body of a refusal; `pointer` leads to what is wrong with the request."""
    param = dotted(pointer) if pointer else None
    return msgspec.json.encode(encodable(error(error_type, message, param=param)))


def converted(document: Any, status: int) -> Json:
    """Return an upstream's error as one of OpenAI's; one that is one already stays as it is."""
    found = document.get("error") if type(document) is dict else None
    if type(found) is not dict:
        return error(
            "api_error", f"the upstream answered {status} without an error that can be read"
        )
    if document.get("type") != "error" and "code" in found:
        return {"error": found}
    kind, message = found.get("type"), found.get("message")
    return error(
        kind if type(kind) is str else "api_error",
        message if type(message) is str else f"the upstream answered {status}",
    )
