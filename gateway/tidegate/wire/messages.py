"""The Messages schema as far as the gateway reads it: the request's view."""

import re
from typing import Any

import msgspec
from msgspec.structs import replace

from tidegate.wire.body import Body, BodyError
from tidegate.wire.routes import Kind


class View(msgspec.Struct, frozen=True):
    """The few fields of a request that decide what leaves. Types are checked."""

    model: str | None = None
    max_tokens: int | None = None
    stream: bool = False
    messages: int = 0
    tools: int = 0
    items: tuple["View", ...] = ()
    """Of a batch: each request of it. `max_tokens` is their sum then, `messages` and `tools`
    are the largest of them, and `model` is named if it is the same in all."""


EMPTY_VIEW = View()
"""The view of a request without a body."""


def view_of(body: Body, kind: Kind) -> View:
    """Return the view of a body that goes to `kind`.

    Raises:
        BodyError: as `view` does.
    """
    seen = view(body.frame, kind)
    return replace(seen, messages=seen.messages + body.beside) if body.pieces else seen


def view(document: dict[str, Any], kind: Kind) -> View:
    """Return the view of a document that goes to `kind`.

    Raises:
        BodyError: a field that the gateway must understand has the wrong type. What it
            need not understand is the upstream's business.
    """
    if kind is Kind.BATCHES:
        return _batch(document)
    messages = _typed(document, "messages", list, "an array", required=True)
    tools = _typed(document, "tools", list, "an array")
    return View(
        model=_typed(document, "model", str, "a string", required=True),
        max_tokens=_max_tokens(document, kind),
        stream=_typed(document, "stream", bool, "true or false") or False,
        messages=len(messages),
        tools=len(tools or ()),
    )


_CUSTOM_ID = re.compile(r"[a-zA-Z0-9_-]{1,64}")


def _batch(document: dict[str, Any]) -> View:
    """The view of a batch, of which nothing is left over that no item holds (sheet, 1.6)."""
    requests = _typed(document, "requests", list, "an array", required=True)
    if len(document) > 1:
        raise BodyError("a batch holds `requests` and nothing else")
    items = []
    for index, item in enumerate(requests):
        at, pointer = f"requests[{index}]", f"/requests/{index}"
        if type(item) is not dict or item.keys() != {"custom_id", "params"}:
            raise BodyError(f"{at}: must hold `custom_id` and `params`, and no more", pointer)
        name, params = item["custom_id"], item["params"]
        if type(name) is not str or not _CUSTOM_ID.fullmatch(name):
            raise BodyError(f"{at}.custom_id: 1 to 64 of a-z A-Z 0-9 _ -", f"{pointer}/custom_id")
        if type(params) is not dict:
            raise BodyError(f"{at}.params: must be an object", f"{pointer}/params")
        try:
            items.append(view(params, Kind.MESSAGES))
        except BodyError as error:
            message = f"{at}.params.{error.message}"
            raise BodyError(message, f"{pointer}/params{error.pointer}") from None
    return _sum(items)


def _sum(items: list[View]) -> View:
    models = {item.model for item in items}
    return View(
        model=models.pop() if len(models) == 1 else None,
        max_tokens=sum(item.max_tokens or 0 for item in items),
        messages=max((item.messages for item in items), default=0),
        tools=max((item.tools for item in items), default=0),
        items=tuple(items),
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
    if kind in (Kind.MESSAGES, Kind.CHAT) and view.max_tokens is None:
        return BodyError("max_tokens: field required", "/max_tokens")
    for index, item in enumerate(view.items):
        if item.max_tokens is None:
            where = f"/requests/{index}/params/max_tokens"
            return BodyError(f"requests[{index}].params.max_tokens: field required", where)
    return None


def _max_tokens(document: dict[str, Any], kind: Kind) -> int | None:
    key = "max_tokens"
    if kind is Kind.CHAT and document.get("max_completion_tokens") is not None:
        key = "max_completion_tokens"  # where both are there they are the same
    value: int | None = _typed(document, key, int, "an integer")
    if value is not None and value < 0:
        raise BodyError(f"{key}: must not be negative", f"/{key}")
    return value
