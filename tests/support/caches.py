"""Other people's software that tests drive: installed once, kept in `tests/.cache`.

Where it cannot be had, the test is skipped with the reason; in CI that is a failure.
"""

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

import pytest

CACHE = Path(__file__).parents[1] / ".cache"
INSTALL_TIMEOUT_S = 840


def unavailable(reason: str) -> NoReturn:
    """Skip the test, or let it fail where everything has to be there."""
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)


def python_sdk(version: str) -> Path:
    """The interpreter of a virtual environment with that `anthropic`, and nothing of ours."""

    def make(folder: Path) -> None:
        _run([sys.executable, "-m", "venv", str(folder)])
        _run([str(folder / "bin/python"), *_PIP, "install", f"anthropic=={version}"])

    return _cached(f"sdk-{version}", make) / "bin/python"


def node_sdk(version: str) -> Path:
    """The folder where `@anthropic-ai/sdk` of that version can be imported from."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        unavailable("node and npm are not installed")

    def make(folder: Path) -> None:
        folder.mkdir()
        (folder / "package.json").write_text('{"private": true}\n')
        quiet = ["--no-audit", "--no-fund", "--ignore-scripts", "--fetch-retries=1"]
        _run(["npm", "install", *quiet, f"@anthropic-ai/sdk@{version}"], cwd=folder)

    return _cached(f"npm-{version}", make)


def grafana_schemas(source: Path) -> Path:
    """A copy of a folder that checks dashboards, with the types of each Grafana beside it."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        unavailable("node and npm are not installed")
    files = [source / name for name in ("package.json", "package-lock.json")]

    def make(folder: Path) -> None:
        folder.mkdir()
        for file in files:
            shutil.copy(file, folder)
        _run(["npm", "ci", "--no-audit", "--no-fund", "--ignore-scripts"], cwd=folder)

    digest = hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()[:12]
    folder = _cached(f"grafana-schemas-{digest}", make)
    shutil.copy(source / "check.mjs", folder)
    return folder


def sdk_streams(version: str) -> list[Path]:
    """The recorded streams with which the Python SDK of that version tests itself."""

    def make(folder: Path) -> None:
        folder.mkdir()
        source = ["--no-deps", "--no-binary", "anthropic", "--dest", str(folder)]
        _run([sys.executable, *_PIP, "download", *source, f"anthropic=={version}"])
        (archive,) = folder.glob("anthropic-*.tar.gz")
        with tarfile.open(archive) as members:
            for member in members:
                path = Path(member.name)
                if member.isfile() and _is_stream(path):
                    content = members.extractfile(member)
                    assert content is not None
                    (folder / path.name).write_bytes(content.read())
        archive.unlink()

    folder = _cached(f"sdk-streams-{version}", make)
    return sorted(path for path in folder.iterdir() if path.name != _MADE)


def otel_collector() -> Path:
    """An OpenTelemetry Collector, built from `collector/`; two minutes on two idle cores."""
    return _go_folder("collector")


def operator_kinds() -> Path:
    """Prints the definitions of the Prometheus operator's kinds, as YAML."""
    return _go_folder("operator_kinds")


def docker_compose() -> Path:
    """Docker Compose, which needs no engine to read a file."""
    return _go_program("docker-compose", "github.com/docker/compose/v5/cmd", "v5.6.0")


def helm() -> Path:
    """Helm, the one of this machine if it has one."""
    if there := shutil.which("helm"):
        return Path(there)
    return _go_program("helm", "helm.sh/helm/v3/cmd/helm", "v3.19.0")


def kubeconform() -> Path:
    """What holds Kubernetes' objects against schemas."""
    return _go_program("kubeconform", "github.com/yannh/kubeconform/cmd/kubeconform", "v0.7.0")


def _go() -> str:
    go = shutil.which("go", path=f"{os.environ.get('PATH', '')}:/usr/local/go/bin")
    return go or unavailable("go is not installed")


def _go_folder(name: str) -> Path:
    """The program of a folder beside this file, which has its sums."""
    go = _go()
    source = Path(__file__).with_name(name)
    pinned = b"".join(path.read_bytes() for path in sorted(source.iterdir()))

    def make(folder: Path) -> None:
        folder.mkdir()
        _go_build(go, ".", folder / name, source)

    return _cached(f"{name}-{hashlib.sha256(pinned).hexdigest()[:12]}", make) / name


def _go_program(name: str, package: str, version: str) -> Path:
    """A program of that version, as its module is in the checksum database."""
    go = _go()

    def make(folder: Path) -> None:
        folder.mkdir()
        _run([go, "mod", "init", f"tidegate.test/{name}"], cwd=folder)
        _run([go, "get", f"{package}@{version}"], cwd=folder)
        _go_build(go, package, folder / name, folder)

    return _cached(f"{name}-{version}", make) / name


def _go_build(go: str, package: str, program: Path, cwd: Path) -> None:
    flags = ["-buildvcs=false", "-trimpath", "-ldflags=-s -w", "-o", str(program)]
    _run(["env", "CGO_ENABLED=0", go, "build", *flags, package], cwd=cwd)


_PIP = ("-m", "pip", "--quiet", "--disable-pip-version-check", "--retries", "1")
_failed: dict[str, str] = {}
"""Why something could not be had: not tried twice in one run."""
_MADE = ".made"


def _is_stream(path: Path) -> bool:
    inside = path.as_posix()
    return "/tests/lib/streaming/fixtures/" in inside or (
        "/tests/fixtures/" in inside and path.suffix == ".sse"
    )


def _run(command: list[str], cwd: Path | None = None) -> None:
    subprocess.run(
        command, cwd=cwd, check=True, capture_output=True, text=True, timeout=INSTALL_TIMEOUT_S
    )


def _cached(name: str, make: Callable[[Path], None]) -> Path:
    """The folder of that name, made if it is not there or was not finished."""
    folder = CACHE / name
    with _locked(name):
        if name not in _failed and not (folder / _MADE).exists():
            shutil.rmtree(folder, ignore_errors=True)
            try:
                make(folder)
                (folder / _MADE).touch()
            except subprocess.CalledProcessError as error:
                _failed[name] = _complaint(error.stderr)
            except subprocess.TimeoutExpired:
                _failed[name] = f"not within {INSTALL_TIMEOUT_S} s"
    if name in _failed:
        unavailable(f"{name} cannot be installed: {_failed[name]}")
    return folder


def _complaint(printed: str) -> str:
    """What pip says last, or npm first."""
    lines = [line.strip() for line in printed.splitlines() if line.strip()] or [""]
    npm = [line for line in lines if line.startswith("npm error")]
    return (npm or lines[-1:])[0][:200]


@contextmanager
def _locked(name: str) -> Iterator[None]:
    """One process at a time: tests may run in several."""
    CACHE.mkdir(exist_ok=True)
    with (CACHE / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
