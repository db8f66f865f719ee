"""What the benchmarks take from the machine, and how their tests go on without it: not in CI."""

import os
import shutil

import pytest

from bench.side_by_side.nginx import nginx_program

_PROGRAMS = {
    "gcc": shutil.which("gcc"),
    "nginx": nginx_program(),
    "taskset": shutil.which("taskset"),
}
_MISSING = [name for name, path in _PROGRAMS.items() if path is None]

needs_programs = pytest.mark.skipif(
    bool(_MISSING) and os.environ.get("CI") != "true",
    reason=f"not installed: {', '.join(_MISSING)}",
)
