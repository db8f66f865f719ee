"""The lock held against advisories, in the format of OSV."""

import json
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest

DEPLOY = Path(__file__).resolve().parents[3] / "deploy"
LOCK = "aiohttp==3.14.5 \\\n    --hash=sha256:0\nhiredis==3.0.0 ; python_version > '3' \\\n"


def advisory(**affected: Any) -> dict[str, Any]:
    package = {"ecosystem": "PyPI", "name": "AioHTTP"}
    return {"id": "PYSEC-1", "summary": "bad", "affected": [{"package": package, **affected}]}


def between(*events: dict[str, str], kind: str = "ECOSYSTEM") -> dict[str, Any]:
    return advisory(ranges=[{"type": kind, "events": list(events)}])


def audit(tmp_path: Path, *documents: dict[str, Any]) -> tuple[int, str]:
    archive, lock = tmp_path / "all.zip", tmp_path / "lock.txt"
    lock.write_text(LOCK)
    with zipfile.ZipFile(archive, "w") as members:
        for number, document in enumerate(documents):
            members.writestr(f"PYSEC-{number}.json", json.dumps(document))
    command = [sys.executable, DEPLOY / "audit.py", archive, "--lock", lock]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout


@pytest.mark.parametrize(
    "found",
    [
        advisory(versions=["3.14.4", "3.14.5"]),
        between({"introduced": "0"}),
        between({"introduced": "0"}, {"fixed": "3.14.6"}),
        between({"introduced": "3.14.5"}, {"fixed": "3.15"}),
        between({"introduced": "0"}, {"last_affected": "3.14.5"}),
        between({"introduced": "0"}, {"fixed": "3.2"}, {"introduced": "3.14"}),
    ],
)
def test_what_is_affected_is_named(found: dict[str, Any], tmp_path: Path) -> None:
    assert audit(tmp_path, found) == (1, "aiohttp 3.14.5: PYSEC-1 bad\n")


@pytest.mark.parametrize(
    "other",
    [
        advisory(versions=["3.14.4"]),
        between({"introduced": "0"}, {"fixed": "3.14.5"}),
        between({"introduced": "3.14.6"}),
        between({"introduced": "0"}, {"last_affected": "3.9.5"}),
        between({"introduced": "0"}, kind="GIT"),
        between({"introduced": "0"}) | {"withdrawn": "2026-01-01T00:00:00Z"},
        {"id": "GHSA-1", "affected": [{"package": {"ecosystem": "npm", "name": "aiohttp"}}]},
    ],
)
def test_what_is_not_affected_is_not(other: dict[str, Any], tmp_path: Path) -> None:
    assert audit(tmp_path, other) == (0, "")


def test_an_archive_without_advisories_proves_nothing(tmp_path: Path) -> None:
    assert audit(tmp_path)[0] == 1
