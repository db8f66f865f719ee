"""A value for a JSON schema: the same one each time, and valid for ordinary schemas."""

from typing import Any

_PLAIN: dict[str, Any] = {
    "string": "example",
    "integer": 1,
    "number": 1.5,
    "boolean": True,
    "null": None,
}
_FORMATS = {
    "date": "2026-11-22",
    "date-time": "2026-11-22T12:00:00Z",
    "email": "someone@example.com",
    "uri": "https://example.com/",
    "uuid": "00000000-0000-4000-8000-000000000000",
}
_DEEPEST = 8
"""Recursive schemas end here."""


def sample(schema: Any, root: Any = None, depth: int = 0) -> Any:
    """Return a value for `schema`; references are looked up in `root`, the whole schema."""
    root = schema if root is None else root
    if not isinstance(schema, dict) or depth > _DEEPEST:
        return None
    for key in ("const", "default"):
        if key in schema:
            return schema[key]
    for key in ("enum", "examples"):
        if isinstance(schema.get(key), list) and schema[key]:
            return schema[key][0]
    inner = _inner(schema, root)
    if inner is not None:
        return sample(inner, root, depth + 1)
    return _by_type(schema, root, depth)


def _inner(schema: dict[str, Any], root: Any) -> Any:
    if isinstance(reference := schema.get("$ref"), str):
        return _resolve(reference, root)
    for key in ("anyOf", "oneOf", "allOf"):
        if isinstance(schema.get(key), list) and schema[key]:
            return schema[key][0]
    return None


def _resolve(reference: str, root: Any) -> Any:
    value = root
    for token in reference.removeprefix("#/").split("/"):
        value = value.get(token) if isinstance(value, dict) else None
    return value


def _by_type(schema: dict[str, Any], root: Any, depth: int) -> Any:
    kind = schema.get("type") or ("object" if "properties" in schema else "string")
    if isinstance(kind, list) and kind:
        kind = kind[0]
    if kind == "object":
        properties = schema.get("properties")
        properties = properties if isinstance(properties, dict) else {}
        return {key: sample(value, root, depth + 1) for key, value in properties.items()}
    if kind == "array":
        return [sample(schema.get("items"), root, depth + 1)] if schema.get("items") else []
    if kind == "string":
        return _FORMATS.get(str(schema.get("format")), _PLAIN["string"])
    return schema.get("minimum", _PLAIN.get(str(kind)))
