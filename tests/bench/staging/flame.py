"""A flame graph of the worker, by py-spy, which starts it: no rights beyond our own are needed."""

import re
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

RATE = 400
PLACES = re.compile(r"[^\s\"'()<>;]*/(?:site-packages|lib/python3\.\d+|gateway|plugins|tests)/")
TEMPORARY = re.compile(r"/(?:tmp|home|root|var)/[^\s\"'()<>;]*/")


def py_spy() -> str | None:
    """Return where py-spy is: beside our interpreter, or on the PATH."""
    return shutil.which("py-spy", path=str(Path(sys.executable).parent)) or shutil.which("py-spy")


def recording(program: str, to: Path, command: Sequence[str | Path]) -> list[str | Path]:
    """Return the command that runs another one and draws what it did."""
    options = ["--rate", str(RATE), "--function", "--format", "flamegraph", "--output", to]
    return [program, "record", *options, "--", *command]


def scrub(drawn: str) -> str:
    """Take the paths of this machine out of a drawing."""
    return TEMPORARY.sub("", PLACES.sub("", drawn))
