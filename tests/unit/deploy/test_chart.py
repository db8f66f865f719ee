"""The chart's values keep their schema, and its templates read what there is."""

import json
import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from tidegate.registry import resolve

CHART = Path(__file__).resolve().parents[3] / "deploy/helm/tidegate"
VALUES = yaml.safe_load((CHART / "values.yaml").read_text())


def references() -> set[str]:
    """Every `.Values.a.b` that the templates read."""
    texts = [path.read_text() for path in (CHART / "templates").iterdir()]
    return {name for text in texts for name in re.findall(r"\.Values\.([\w.]+)", text)}


def test_the_templates_read_values_that_there_are():
    for name in references():
        value: Any = VALUES
        for part in name.split("."):
            assert part in value, name
            value = value[part]


def test_the_values_keep_the_schema_and_the_schema_names_all_of_them():
    schema = json.loads((CHART / "values.schema.json").read_text())
    jsonschema.Draft7Validator.check_schema(schema)
    jsonschema.validate(VALUES, schema)
    assert schema["properties"].keys() - {"global"} == VALUES.keys()
    for name, table in schema["properties"].items():
        if "properties" in table:
            assert table["properties"].keys() == VALUES[name].keys()


@pytest.mark.parametrize(
    "wrong",
    [
        {"image": {"repository": "tidegate", "digest": "latest"}},
        {"config": "[listen]\nport = 1\n"},
        {"config": 'a = 1\n[admin]\nhost = "0.0.0.0"\n'},
        {"journal": {"kind": "hostPath"}},
        {"replica": 3},
    ],
)
def test_the_schema_refuses(wrong: dict[str, Any]):
    schema = json.loads((CHART / "values.schema.json").read_text())
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(VALUES | wrong, schema)


def test_the_configuration_of_the_chart_is_one():
    config, _ = resolve(VALUES["config"])
    assert {plugin.use for plugin in config.plugins} >= {"identify", "redact", "metrics"}


def test_the_chart_brings_the_dashboards_and_rules():
    for name, there in {"dashboards": "*.json", "rules": "*.rules.yml"}.items():
        assert list((CHART / "files" / name).glob(there))
