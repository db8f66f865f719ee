"""Holds the lock against known vulnerabilities, without a network: `python deploy/audit.py all.zip`.

The archive is what OSV exports for PyPI: a JSON document for each advisory, as the OSV schema 1.7
has it. Whoever has a network fetches it; deploy/README.md says from where. Exit code 1: something
is known of what is locked.
"""

import argparse
import json
import re
import sys
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

LOCK = Path(__file__).parent / "locks/all.txt"


def pinned(lock: str) -> dict[str, str]:
    """Return the version of each package of a lock."""
    return dict(re.findall(r"(?m)^([a-z0-9-]+)==([^ ;\\\n]+)", lock))


def advisories(archive: Path) -> Iterator[dict[str, Any]]:
    """Yield each advisory, those too that have been withdrawn."""
    with zipfile.ZipFile(archive) as members:
        for name in members.namelist():
            if name.endswith(".json"):
                yield json.loads(members.read(name))


def concerns(advisory: Mapping[str, Any], name: str, version: str) -> bool:
    """Whether that version of a package is among what an advisory says is affected."""
    return "withdrawn" not in advisory and any(
        version in affected.get("versions", ())
        or any(_within(each, version) for each in affected.get("ranges", ()))
        for affected in advisory.get("affected", ())
        if affected.get("package", {}).get("ecosystem") == "PyPI"
        and canonicalize_name(affected["package"]["name"]) == name
    )


def _within(versions: Mapping[str, Any], version: str) -> bool:
    """Whether a version is in a range: the last event at or below it decides."""
    if versions.get("type") != "ECOSYSTEM":
        return False
    here, inside = Version(version), False
    for at, kind in sorted(_events(versions), key=lambda event: event[0]):
        if at > here or (at == here and kind == "last_affected"):
            break
        inside = kind == "introduced"
    return inside


def _events(versions: Mapping[str, Any]) -> Iterator[tuple[Version, str]]:
    for event in versions.get("events", ()):
        for kind, text in event.items():
            if kind in ("introduced", "fixed", "last_affected"):
                try:
                    yield Version(text), kind
                except InvalidVersion:  # older than versions of today: below everything
                    yield Version("0"), kind


def main() -> int:
    """Print what is known of what is locked; return the exit code."""
    options = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    options.add_argument("archive", type=Path, help="what OSV exports for PyPI, all.zip")
    options.add_argument("--lock", type=Path, default=LOCK)
    given = options.parse_args()
    packages = pinned(given.lock.read_text())
    read = found = 0
    for advisory in advisories(given.archive):
        read += 1
        for name, version in packages.items():
            if concerns(advisory, name, version):
                found += 1
                print(f"{name} {version}: {advisory['id']} {advisory.get('summary', '')}")
    print(
        f"{len(packages)} packages, {read} advisories, {found} that concern them", file=sys.stderr
    )
    return 1 if found or not read else 0


if __name__ == "__main__":
    raise SystemExit(main())
