"""The Messages schema as far as the gateway reads it: the request's view."""

from typing import Any

import msgspec

from tidegate.wire.body import BodyError
from tidegate.wire.routes import Kind


class View(msgspec.Struct, frozen=True):
    """The few fields of a request that decide what leaves. Types are checked."""

    model: str | None = None
    max_tokens: int | None = None
    stream: bool = False
    messages: int = 0
    tools: int = 0


EMPTY_VIEW = View()
"""The view of a request without a body."""


def view(document: dict[str, Any], kind: Kind) -> View:  # noqa: ARG001 - kinds will differ
    """Return the view of a body that goes to `kind`.

    Raises:
        BodyError: a field that the gateway must understand has the wrong type. What it
            need not understand is the upstream's business.
    """
    messages = _typed(document, "messages", list, "an array", required=True)
    tools = _typed(document, "tools", list, "an array")
    return View(
        model=_typed(document, "model", str, "a string", required=True),
        max_tokens=_max_tokens(document),
        stream=_typed(document, "stream", bool, "true or false") or False,
        messages=len(messages),
        tools=len(tools or ()),
    )


def _typed(
    document: dict[str, Any], key: str, kind: type, wanted: str, *, required: bool = False
) -> Any:
    value = document.get(key)
    if type(value) is kind:
        return value
    if key not in document:
        if required:
            raise BodyError(f"{key}: field required", f"/{key}")
        return None
    if value is None and not required:
        return None
    raise BodyError(f"{key}: must be {wanted}", f"/{key}")


def missing(view: View, kind: Kind) -> BodyError | None:
    """Return what is wrong with a request that lacks a field which a policy could have put in."""
    if kind is Kind.MESSAGES and view.max_tokens is None:
        return BodyError("max_tokens: field required", "/max_tokens")
    return None


def _max_tokens(document: dict[str, Any]) -> int | None:
    value: int | None = _typed(document, "max_tokens", int, "an integer")
    if value is not None and value < 0:
        raise BodyError("max_tokens: must not be negative", "/max_tokens")
    return value
