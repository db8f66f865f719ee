"""Where and of what a measurement was made."""

import importlib.metadata
import os
import platform
import subprocess
import sys
import sysconfig
from pathlib import Path

from bench.side_by_side.nginx import nginx_program

PACKAGES = ("tidegate", "aiohttp", "uvloop", "msgspec", "kingfisher-secret-scanner")


def machine() -> dict[str, str]:
    """Describe the machine, without its name."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return {
        "cpu": _cpu_model(),
        "cores": str(len(os.sched_getaffinity(0))),
        "memory": f"{memory:.0f} GiB",
        "kernel": f"{platform.system()} {platform.release()}",
        "load before": f"{os.getloadavg()[0]:.2f}",
    }


def versions() -> dict[str, str]:
    """Return the version of everything that takes part."""
    found = {name: importlib.metadata.version(name) for name in PACKAGES}
    return found | {
        "commit": _commit(),
        "python": f"{platform.python_version()}, {_built()}",
        "nginx": _said([nginx_program() or "nginx", "-v"]).rpartition("/")[2],
        "gcc": _said(["gcc", "-dumpfullversion"]),
    }


def _built() -> str:
    """Say whose build of Python this is: one made without profiles takes up to twice the CPU."""
    if sys.base_prefix == "/usr":
        return "the distribution's"
    options = sysconfig.get_config_var("CONFIG_ARGS") or ""
    return (
        "built with profiles" if "--enable-optimizations" in options else "built without profiles"
    )


def _cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _commit() -> str:
    here = ["git", "-C", str(Path(__file__).parent)]
    commit = _said([*here, "rev-parse", "--short", "HEAD"])
    changed = _said([*here, "status", "--porcelain", "--untracked-files=no"])
    return f"{commit} with changes" if commit and changed else commit


def _said(command: list[str]) -> str:
    try:
        ran = subprocess.run(command, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return ""
    return (ran.stdout or ran.stderr).strip()
