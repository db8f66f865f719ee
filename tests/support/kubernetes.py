"""JSON Schemas of Kubernetes' objects and the Prometheus operator's, as kubeconform looks for them."""

import json
import subprocess
from collections.abc import Iterator
from importlib import resources
from pathlib import Path
from typing import Any

import yaml

from support import caches

TEMPLATE = "{{ .ResourceKind }}{{ .KindSuffix }}.json"
KINDS = (
    *("configmap-v1", "service-v1", "deployment-apps-v1", "poddisruptionbudget-policy-v1"),
    *("horizontalpodautoscaler-autoscaling-v2", "networkpolicy-networking-v1"),
)


class _Loader(yaml.CSafeLoader):
    """Takes a bare `=` for the text that it is, as everybody else does."""


_Loader.add_constructor("tag:yaml.org,2002:value", lambda loader, node: node.value)


def schemas(folder: Path, version: str) -> str:
    """Write the strict ones of a version of Kubernetes; return where kubeconform finds them."""
    folder.mkdir()
    whole = resources.files("kubernetes_validate") / "kubernetes-json-schema"
    source = whole / f"v{version}-local-strict"
    definitions = json.loads((source / "_definitions.json").read_text())["$defs"]
    for kind in KINDS:
        text = (source / f"{kind}.json").read_text().replace("/api/_definitions.json#", "#")
        schema = json.loads(text) | {"$defs": definitions}
        (folder / f"{kind}.json").write_text(json.dumps(schema))
    for kind, schema in _operators():
        (folder / f"{kind}.json").write_text(json.dumps(schema))
    return str(folder / TEMPLATE)


def _operators() -> Iterator[tuple[str, dict[str, Any]]]:
    printed = subprocess.run([caches.operator_kinds()], check=True, capture_output=True, text=True)
    for definition in filter(None, yaml.load_all(printed.stdout, _Loader)):
        spec = definition["spec"]
        group, kind = spec["group"].partition(".")[0], spec["names"]["kind"].lower()
        for version in spec["versions"]:
            schema = version["schema"]["openAPIV3Schema"]
            schema["properties"]["metadata"] = {}  # Kubernetes' own
            yield f"{kind}-{group}-{version['name']}", _strict(schema)


def _strict(schema: Any) -> Any:
    """Return a schema that refuses what it does not name."""
    if isinstance(schema, list):
        return [_strict(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    closed = {name: _strict(value) for name, value in schema.items()}
    if "properties" in schema and not schema.get("x-kubernetes-preserve-unknown-fields"):
        closed.setdefault("additionalProperties", False)
    return closed
