"""The image's steps, run without an engine: what is in its context is enough, and what comes out serves."""

import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from support.caches import unavailable
from support.ports import free_port
from tidegate import __version__

ROOT = Path(__file__).resolve().parents[2]
DOCKERFILE = (ROOT / "deploy/Dockerfile").read_text()
STEPS = re.findall(r"(?m)^([A-Z]+) ((?:.*\\\n)*.*)$", DOCKERFILE.partition("\nFROM")[2])
HEALTH = re.search(r'"python", "-c", "(.*)"\]', DOCKERFILE)
CONFIG = """
[listen]
port = 0
[admin]
port = 9464
[journal]
dir = "journal"
[[plugins]]
use = "redact"
[plugins.config]
key = { env = "KEY" }
"""


@pytest.mark.process
@pytest.mark.timeout(420)  # a whole installation
def test_the_steps_of_the_image_make_a_gateway(tmp_path: Path):
    context, target = tmp_path / "src", tmp_path / "opt"
    context.mkdir()
    for name, words in STEPS:
        if name == "COPY" and not words.startswith("--from"):
            copy(words.split(), context)
    (step,) = [words for name, words in STEPS if name == "RUN" and "build.sh" in words]

    build(step.replace("/opt/tidegate", str(target)), context)

    compiled = sorted((target / "cache/tidegate/redact-rules").iterdir())
    assert compiled
    said = subprocess.check_output([target / "bin/tidegate", "--version"], text=True)
    assert said == f"tidegate {__version__}\n"
    assert serves(target, tmp_path) == 0
    assert sorted((target / "cache/tidegate/redact-rules").iterdir()) == compiled


def copy(words: list[str], context: Path) -> None:
    """Do what COPY does."""
    *sources, to = words
    for source in sources:
        path = context / (Path(to) / Path(source).name if len(sources) > 1 or to == "./" else to)
        path.parent.mkdir(parents=True, exist_ok=True)
        if (ROOT / source).is_dir():
            shutil.copytree(ROOT / source, path, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / source, path)


def build(step: str, context: Path) -> None:
    """Do what RUN does, with this interpreter as the image's."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {k: v for k, v in os.environ.items() if not k.startswith("XDG_")}
    done = subprocess.run(
        ["sh", "-c", step],
        cwd=context,
        env=environment | {"PATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    if re.search("NewConnectionError|Temporary failure in name resolution", done.stderr):
        unavailable("the package registry cannot be reached")
    assert done.returncode == 0, done.stdout + done.stderr


def serves(target: Path, directory: Path) -> int:
    """Start what was installed, ask as the health check does, stop it; return its exit code."""
    port = free_port()
    (directory / "tidegate.toml").write_text(CONFIG.replace("9464", str(port)))
    environment = {"XDG_CACHE_HOME": str(target / "cache"), "KEY": "k" * 32, "PATH": os.defpath}
    gateway = subprocess.Popen(
        [str(target / "bin/tidegate"), "serve", "--config", "tidegate.toml"],
        cwd=directory,
        env=environment,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert gateway.stderr is not None
        said = ""
        while "/healthz" not in said:
            line = gateway.stderr.readline()
            assert line, said
            said += line
        assert HEALTH is not None
        check = [str(target / "bin/python"), "-c", HEALTH[1].replace("9464", str(port))]
        subprocess.run(check, check=True, env=environment)
    finally:
        gateway.send_signal(signal.SIGTERM)
        gateway.communicate(timeout=60)
    dead = subprocess.run(check, capture_output=True, check=False, env=environment)
    assert dead.returncode != 0  # the health check can tell
    return gateway.returncode
