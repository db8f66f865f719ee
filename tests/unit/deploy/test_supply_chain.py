"""What an installation brings is locked, listed, licensed and reproducible."""

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).resolve().parents[3]
DEPLOY = ROOT / "deploy"


def test_every_file_of_the_lock_has_hashes_and_no_address():
    for lock in (DEPLOY / "locks").glob("*.txt"):
        text = lock.read_text()
        entries = re.split(r"(?m)^(?=[a-z0-9-]+==)", text)[1:]
        assert entries
        assert all("--hash=sha256:" in entry for entry in entries)
        assert "://" not in text


def test_what_is_installed_without_extras_is_the_same_as_with_them():
    pinned = {
        name: set(
            re.findall(r"(?m)^[a-z0-9-]+==[^ \\\n]+", (DEPLOY / f"locks/{name}.txt").read_text())
        )
        for name in ("runtime", "all")
    }
    assert pinned["runtime"]
    assert pinned["runtime"] < pinned["all"]


def materials() -> ModuleType:
    spec = importlib.util.spec_from_file_location("sbom", DEPLOY / "sbom.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["sbom"] = module
    spec.loader.exec_module(module)
    return module


def test_the_bill_of_materials_is_that_of_the_lock():
    sbom = materials()
    found = sbom.packages(sbom.LOCK.read_text())
    written = json.loads(sbom.SBOM.read_text())
    licences = sbom.licences_of(found, written)
    again = "python deploy/sbom.py"
    assert sbom.bill(found, licences) == written, again
    assert sbom.listing(found, licences) == sbom.LICENCES.read_text(), again


def test_every_licence_may_be_used():
    """Permissive ones, and that of certifi, which is a file of certificates."""
    written = json.loads((DEPLOY / "sbom.json").read_text())
    stated = {c["name"]: c["licenses"][0]["expression"] for c in written["components"]}
    assert stated.pop("certifi") == "MPL-2.0"
    words = {word for text in stated.values() for word in re.split(r" AND | OR ", text)}
    assert words <= {
        "Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "MIT", "MIT-0", "PSF-2.0",
    }  # fmt: skip


def test_direct_dependencies_are_at_most_a_dozen():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    optional = [line for name in extras if name not in ("all", "dev") for line in extras[name]]
    assert len(project["dependencies"] + optional) <= 12


def test_a_wheel_is_the_same_whenever_it_is_built(tmp_path: Path):
    wheels = []
    for name in ("one", "two"):
        source = tmp_path / name
        source.mkdir()
        for part in ("pyproject.toml", "README.md", "LICENSE"):
            shutil.copyfile(ROOT / part, source / part)  # with another time of its own
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / "gateway", source / "gateway", ignore=ignored)
        shutil.copytree(ROOT / "plugins", source / "plugins", ignore=ignored)
        build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel"]
        environment = os.environ | {"SOURCE_DATE_EPOCH": "1767225600"}
        subprocess.run(build, cwd=source, env=environment, check=True, capture_output=True)
        (wheel,) = (source / "dist").iterdir()
        wheels.append(wheel.read_bytes())
        os.utime(source / "gateway/tidegate/__init__.py", (1, 1))
    assert wheels[0] == wheels[1]
