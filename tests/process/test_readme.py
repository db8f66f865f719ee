"""Every command of README.md is run, in a fresh copy of this repository.

The first, which installs, runs as it stands, with Debian's own Python. The second is the
test suite: here only its form is checked, as `.ci/run` runs it.
"""

import contextlib
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
import tomllib
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from support.gateway import read_records
from support.ports import free_port
from tidegate.keys import new_key

pytestmark = [pytest.mark.process, pytest.mark.timeout(400)]

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text()
PYTHON = "/usr/bin/python3.11" if Path("/usr/bin/python3.11").exists() else sys.executable


def blocks(language: str) -> list[str]:
    """The fenced blocks of one language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


SHELL = [block.strip() for block in blocks("sh")]


@dataclass
class Clone:
    """A copy of the repository in which the first command has been run."""

    path: Path

    def environment(self, **more: str) -> dict[str, str]:
        kept = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "VIRTUAL_ENV")}
        path = f"{self.path / '.venv/bin'}:{os.environ['PATH']}"
        return kept | {"PATH": path, "ANTHROPIC_API_KEY": "a key of nobody"} | more

    def run(self, command: str, **more: str) -> str:
        done = subprocess.run(
            ["sh", "-c", command],
            cwd=self.path,
            env=self.environment(**more),
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    @contextlib.contextmanager
    def running(self, command: str, log: str) -> Iterator[Path]:
        """Run a command that does not end; interrupt it as Ctrl-C does, and wait for its end."""
        output = self.path.parent / log
        with output.open("wb") as file:
            # A suite begun in a shell's background ignores SIGINT, and its children inherit that.
            process = subprocess.Popen(
                ["env", "--default-signal=INT", "sh", "-c", command],
                cwd=self.path,
                env=self.environment(),
                stdout=file,
                stderr=file,
                start_new_session=True,
            )
        try:
            yield output
            os.killpg(process.pid, signal.SIGINT)
            process.wait(30)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


@dataclass
class Served:
    """The gateway of the clone, with a simulator behind it."""

    clone: Clone
    port: int
    admin_port: int

    def here(self, text: str) -> str:
        """`text` with the default ports replaced by those in use."""
        text = text.replace("127.0.0.1:8080", f"127.0.0.1:{self.port}")
        return text.replace("127.0.0.1:9464", f"127.0.0.1:{self.admin_port}")


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Clone:
    """What `git clone` would give, with what is not yet committed."""
    target = tmp_path_factory.mktemp("readme") / "tidegate"
    listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(listed, cwd=ROOT, capture_output=True, check=True).stdout.decode()
    for name in filter(None, names.split("\0")):
        if (ROOT / name).is_file():  # a deleted file is still listed
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, target / name)
    (target / "tidegate.toml").write_text(blocks("toml")[0])
    fresh = Clone(target)
    (target.parent / "bin").mkdir()
    (target.parent / "bin/python3").symlink_to(PYTHON)
    return fresh


@pytest.fixture(scope="module")
def installed(clone: Clone) -> Clone:
    """The clone after the first command, which is interrupted as soon as it serves."""
    first = SHELL[0]
    if not (_free(8080) and _free(9464)):
        port, admin_port = free_port(), free_port()
        first += f" --port {port} --admin-port {admin_port}"
    else:
        port, admin_port = 8080, 9464
    with_python = f"PATH={shlex.quote(str(clone.path.parent / 'bin'))}:$PATH; {first}"
    with clone.running(with_python, "first.log") as log:
        _wait_ready(admin_port, log, within_s=300)
        assert _status(f"http://127.0.0.1:{port}/", "HEAD") == 200
        assert b"api.anthropic.com" in log.read_bytes()
    assert b"Traceback" not in log.read_bytes()
    assert [end["by"] for end in read_records(clone.path / "tidegate-journal", "end")] == ["writer"]
    return clone


@pytest.fixture(scope="module")
def served(installed: Clone) -> Iterator[Served]:
    port, admin_port, upstream = free_port(), free_port(), free_port()
    simulator = f"exec tidegate simulator --port {upstream}"
    command = (
        f"exec tidegate serve --port {port} --admin-port {admin_port} "
        f"--upstream http://127.0.0.1:{upstream}"
    )
    with installed.running(simulator, "sim.log"), installed.running(command, "serve.log") as log:
        _wait_ready(admin_port, log)
        assert _status(f"http://127.0.0.1:{port}/", "HEAD") == 200
        yield Served(installed, port, admin_port)


def test_the_first_two_blocks_install_and_test_in_one_line_each():
    install, tests = SHELL[:2]
    assert len(install.splitlines()) == len(tests.splitlines()) == 1
    assert install.endswith("tidegate serve")
    assert tests.startswith("python3 -m venv .venv && .venv/bin/pip install --quiet -e '.[")
    assert ".venv/bin/pytest" in tests
    extras = re.findall(r"\[(.*?)\]", tests)[0].split(",")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert set(extras) <= set(project["optional-dependencies"])
    assert "eval" in (ROOT / ".ci/run").read_text()


def test_the_first_command_leaves_a_gateway_serving(installed: Clone):
    assert (installed.path / "tidegate-journal").is_dir()


def test_no_command_is_left_out():
    assert {_kind(command) for command in SHELL[2:]} <= {"once", "http", "serve", "demo", "export"}
    assert len([command for command in SHELL[2:] if _kind(command) == "once"]) >= 6


def _kind(command: str) -> str:
    if command.startswith("curl"):
        return "http"
    for word in ("serve", "demo"):
        if command.startswith(f"tidegate {word}"):
            return word
    return "export" if command.startswith("export ") else "once"


def _of(kind: str) -> list[str]:
    return [command for command in SHELL[2:] if _kind(command) == kind]


@pytest.mark.parametrize("command", _of("http"))
def test_requests_are_answered(served: Served, command: str):
    answer = served.clone.run(served.here(command).replace("-sS", "-sSf"))

    assert answer


def test_the_python_example_works(served: Served):
    pytest.importorskip("anthropic")
    (example,) = blocks("python")
    environment = os.environ | {"ANTHROPIC_API_KEY": "a key of nobody"}
    done = subprocess.run(
        [sys.executable, "-c", served.here(example)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()


def test_the_variable_for_clients_names_the_gateway(served: Served):
    (command,) = _of("export")
    url = served.clone.run(f'{served.here(command)}; printf %s "$ANTHROPIC_BASE_URL"')

    assert _status(f"{url}/", "HEAD") == 200


@pytest.mark.parametrize("command", _of("once"))
def test_commands_end_well_and_say_something(served: Served, command: str):
    assert served.clone.run(command)


def test_it_serves_with_the_example_configuration(installed: Clone):
    (command,) = _of("serve")
    port, admin_port = free_port(), free_port()
    flags = f"--port {port} --admin-port {admin_port} --journal other-journal"
    with installed.running(f"exec {command} {flags}", "config.log") as log:
        _wait_ready(admin_port, log)
        request = urllib.request.Request(
            f"http://127.0.0.1:{port}/v1/models", headers={"x-api-key": new_key()}
        )
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(request, timeout=10)
        refused.value.close()
    assert refused.value.code == 401


def test_the_demo_runs(installed: Clone):
    (command,) = _of("demo")
    shorter = command.replace("30s", "1s")
    assert shorter != command

    assert "verified" in installed.run(f"{shorter} --port 0 --admin-port 0")


def _status(url: str, method: str) -> int:
    request = urllib.request.Request(url, method=method, headers={"x-api-key": "k"})
    with urllib.request.urlopen(request, timeout=10) as answer:
        status: int = answer.status
        return status


def _wait_ready(admin_port: int, log: Path, *, within_s: float = 60) -> None:
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError):
            if _status(f"http://127.0.0.1:{admin_port}/readyz", "GET") == 200:
                return
        time.sleep(0.2)
    raise AssertionError(log.read_text())


def _free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True
