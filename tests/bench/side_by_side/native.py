"""The upstream and the load generator: C programs, compiled when their source is newer."""

import os
import shutil
import subprocess
from pathlib import Path

BENCH = Path(__file__).resolve().parents[1]
SOURCES = BENCH / "native"
BUILD = BENCH / "build"


def compiled(name: str) -> Path:
    """Return the program `name`, compiled."""
    source, program = SOURCES / f"{name}.c", BUILD / name
    if not program.exists() or program.stat().st_mtime < source.stat().st_mtime:
        _compile(source, program)
    return program


def _compile(source: Path, program: Path) -> None:
    if shutil.which("gcc") is None:
        raise SystemExit("gcc is needed to compile the load generator")
    BUILD.mkdir(exist_ok=True)
    fresh = program.with_suffix(f".{os.getpid()}")
    subprocess.run(["gcc", "-O2", "-Wall", "-o", fresh, source], check=True)
    fresh.replace(program)  # another run may be using the old one
