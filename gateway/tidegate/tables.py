"""From TOML to structs, strictly: every problem at once, each with its path."""

import difflib
import typing
from typing import Any, TypeVar

import msgspec

from tidegate.errors import Problem


class Table(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Base of all tables: unknown keys are errors."""


T = TypeVar("T")


def convert(value: Any, kind: type[T], path: str, problems: list[Problem]) -> T | None:
    """Return `value` as `kind`, or None if that cannot be; `problems` gets every reason.

    Tables are taken apart field by field, as msgspec alone stops at the first error; a
    table is returned with defaults in place of what is wrong in it.
    """
    if isinstance(value, dict) and _is_table(kind):
        return _convert_table(value, kind, path, problems)
    item = _item_type(kind)
    if item is not None and isinstance(value, list):
        items = [convert(v, item, f"{path}[{i}]", problems) for i, v in enumerate(value)]
        return typing.cast("T", tuple(item for item in items if item is not None))
    try:
        return msgspec.convert(value, kind, strict=True)
    except msgspec.ValidationError as error:
        message, _, at = str(error).partition(" - at `$")
        problems.append(Problem(path + at.rstrip("`"), message))
        return None


def _convert_table(
    value: dict[str, Any], kind: type[T], path: str, problems: list[Problem]
) -> T | None:
    fields = {
        field.encode_name: field for field in msgspec.structs.fields(typing.cast("Any", kind))
    }
    unknown = sorted(value.keys() - fields.keys())
    problems += [Problem(_join(path, key), _unknown(key, list(fields))) for key in unknown]
    known = {key: field for key, field in fields.items() if key in value}
    for key in fields.keys() - known.keys():
        if fields[key].required:
            problems.append(Problem(_join(path, key), "is required"))
    converted = {
        field.name: found
        for key, field in known.items()
        if (found := convert(value[key], field.type, _join(path, key), problems)) is not None
    }
    if any(field.required and field.name not in converted for field in fields.values()):
        return None
    try:
        return kind(**converted)
    except (TypeError, ValueError) as error:  # a table's own __post_init__
        problems.append(Problem(path or "configuration", str(error)))
        return None


def _item_type(kind: Any) -> Any:
    """Return the struct type of `tuple[X, ...]` or `list[X]`, if X is one."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin not in (tuple, list) or not arguments:
        return None
    item = arguments[0]
    return item if _is_table(item) else None


def _is_table(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, msgspec.Struct)


def _join(path: str, key: str) -> str:
    return f"{path}.{key}" if path else key


def _unknown(key: str, known: list[str]) -> str:
    close = difflib.get_close_matches(key, known, n=1, cutoff=0.5)
    if close:
        return f"unknown key; did you mean `{close[0]}`?"
    return f"unknown key; known are {', '.join(f'`{name}`' for name in known)}"
