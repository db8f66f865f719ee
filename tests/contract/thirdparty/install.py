"""Installs harbor-rules into a directory, as pip would, but without an index or a build.

    python tests/contract/thirdparty/install.py TARGET

With TARGET on the import path (`PYTHONPATH`), its entry points are found like any other's.
"""

import shutil
import sys
import tomllib
from pathlib import Path

HERE = Path(__file__).parent


def install(target: Path) -> Path:
    """Copy the package to `target` and write its metadata beside it; return `target`."""
    project = tomllib.loads((HERE / "pyproject.toml").read_text())["project"]
    package = project["name"].replace("-", "_")
    ignore = shutil.ignore_patterns("__pycache__")
    shutil.copytree(HERE / package, target / package, ignore=ignore)
    info = target / f"{package}-{project['version']}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n"
    )
    (info / "entry_points.txt").write_text("\n".join(_entry_points(project["entry-points"])))
    return target


def _entry_points(groups: dict[str, dict[str, str]]) -> list[str]:
    lines = []
    for group, points in groups.items():
        lines += [f"[{group}]", *(f"{name} = {value}" for name, value in points.items()), ""]
    return lines


if __name__ == "__main__":
    print(install(Path(sys.argv[1])))
