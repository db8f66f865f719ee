"""Writes the bill of materials and the list of licences from the lock: `python deploy/sbom.py`.

What is installed tells the licences; run it in an environment with `tidegate[all]`. A package that
this platform does not need keeps the licence that was written before.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

DEPLOY = Path(__file__).parent
LOCK = DEPLOY / "locks/all.txt"
SBOM = DEPLOY / "sbom.json"
LICENCES = DEPLOY / "licences.md"

_ENTRY = re.compile(r"^(?P<name>[a-z0-9-]+)==(?P<version>[^ ;\\]+)")
_VIA = re.compile(r"^    # +(?:via )?(?P<by>[a-z0-9-]+)(?:\[[a-z0-9,]+\])?( \(.*\))?$")
_CLASSIFIER = {
    "License :: OSI Approved :: Apache Software License": "Apache-2.0",
    "License :: OSI Approved :: BSD License": "BSD-3-Clause",
    "License :: OSI Approved :: MIT License": "MIT",
}
_NAMED = {
    "Apache 2": "Apache-2.0",
    "Apache 2.0": "Apache-2.0",
    "3-Clause BSD License": "BSD-3-Clause",
}


@dataclass(frozen=True)
class Package:
    """One entry of a lock, and the entries that need it."""

    name: str
    version: str
    needed_by: tuple[str, ...]

    @property
    def purl(self) -> str:
        return f"pkg:pypi/{self.name}@{self.version}"


def packages(lock: str) -> list[Package]:
    """Return what a lock pins, in its order."""
    found: list[Package] = []
    for line in lock.splitlines():
        if entry := _ENTRY.match(line):
            found.append(Package(entry["name"], entry["version"], ()))
        elif found and (via := _VIA.match(line)) and via["by"] != "via":
            last = found[-1]
            found[-1] = Package(last.name, last.version, (*last.needed_by, via["by"]))
    return found


def licence(name: str) -> str | None:
    """Return the SPDX expression of an installed package; None if it is not installed."""
    try:
        about = metadata.metadata(name)
    except metadata.PackageNotFoundError:
        return None
    if expression := about.get("License-Expression"):
        return expression
    known = [_CLASSIFIER[c] for c in about.get_all("Classifier", []) if c in _CLASSIFIER]
    text = about.get("License") or ""
    return " OR ".join(sorted(set(known))) or _NAMED.get(text, text)


def bill(found: list[Package], licences: Mapping[str, str]) -> dict[str, Any]:
    """Return the CycloneDX document; the same for the same lock."""
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {
            "component": {"type": "application", "name": "tidegate", "bom-ref": "tidegate"}
        },
        "components": [
            {
                "type": "library",
                "bom-ref": package.purl,
                "name": package.name,
                "version": package.version,
                "purl": package.purl,
                "licenses": [{"expression": licences[package.name]}],
            }
            for package in found
        ],
        "dependencies": [
            {"ref": ref, "dependsOn": [p.purl for p in found if name in p.needed_by]}
            for name, ref in [("tidegate", "tidegate"), *((p.name, p.purl) for p in found)]
        ],
    }


def listing(found: list[Package], licences: Mapping[str, str]) -> str:
    """Return the list of licences, for people."""
    rows = [f"| {p.name} | {p.version} | {licences[p.name]} |" for p in found]
    return "\n".join(
        [
            "# Licences",
            "",
            "Of everything that an installation with all extras brings, from the lock; written by",
            "[sbom.py](sbom.py), as is the bill of materials, [sbom.json](sbom.json). tidegate itself:",
            "[Apache-2.0](../LICENSE).",
            "",
            "| package | version | licence |",
            "| --- | --- | --- |",
            *rows,
            "",
        ]
    )


def licences_of(found: list[Package], written: Mapping[str, Any]) -> dict[str, str]:
    """Return the licence of each package: of what is installed, else what was written before.

    Raises:
        SystemExit: a package is neither installed nor written down.
    """
    before = {c["name"]: c["licenses"][0]["expression"] for c in written.get("components", ())}
    stated = {p.name: licence(p.name) or before.get(p.name, "") for p in found}
    if missing := [name for name, text in stated.items() if not text]:
        raise SystemExit(f"install {', '.join(missing)}: nothing tells the licence otherwise")
    return stated


def main() -> None:
    """Write both files."""
    found = packages(LOCK.read_text())
    written = json.loads(SBOM.read_text()) if SBOM.exists() else {}
    licences = licences_of(found, written)
    SBOM.write_text(json.dumps(bill(found, licences), indent=2) + "\n")
    LICENCES.write_text(listing(found, licences))


if __name__ == "__main__":
    main()
