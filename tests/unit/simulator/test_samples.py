from typing import Any

import pytest

from tidegate.simulator.samples import sample


@pytest.mark.parametrize(
    ("schema", "expected"),
    [
        ({"type": "string"}, "example"),
        ({"type": "string", "format": "date"}, "2026-11-22"),
        ({"type": "integer", "minimum": 5}, 5),
        ({"type": "number"}, 1.5),
        ({"type": "boolean"}, True),
        ({"type": "null"}, None),
        ({"type": ["string", "null"]}, "example"),
        ({"const": 7}, 7),
        ({"enum": ["ebb", "flood"]}, "ebb"),
        ({"default": "x", "type": "string"}, "x"),
        ({"type": "array", "items": {"type": "integer"}}, [1]),
        ({"anyOf": [{"type": "integer"}, {"type": "null"}]}, 1),
        ({"properties": {"a": {"type": "string"}}}, {"a": "example"}),
        ({"$ref": "#/$defs/A", "$defs": {"A": {"type": "integer"}}}, 1),
        ({"$ref": "#/nowhere"}, "example"),
        ({"type": [], "enum": {}, "properties": 3}, {}),
        (True, None),
    ],
)
def test_a_sample_fits(schema: Any, expected: Any) -> None:
    assert sample(schema) == expected


def test_a_recursive_schema_ends() -> None:
    schema = {"type": "object", "properties": {"next": {"$ref": "#"}}}
    value = sample({**schema, "$defs": {}, "properties": {"next": {"$ref": "#/properties/next"}}})
    assert value == {"next": None}
