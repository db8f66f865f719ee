"""Other gateways: how each is installed below a folder, configured and started."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from bench.side_by_side.candidates import Candidate
from bench.side_by_side.place import CALLER_KEY, UPSTREAM_KEY, UPSTREAM_KEY_NAME, Command, Place

INSTALL_S = 900.0


class NotInstalled(Exception):
    """A peer that cannot be had here, and why."""


@dataclass(frozen=True)
class Peer:
    """Another gateway."""

    name: str
    install: Callable[[Path], str]
    """Puts it into a folder, unless it is there; returns its version.

    Raises NotInstalled."""
    candidate: Callable[[Path, str], Candidate]
    """Of the folder it is in, and its version."""


def run(*command: str | Path, more: Mapping[str, str] | None = None) -> str:
    """Run a command to its end; return what it prints.

    Raises:
        NotInstalled: it fails, with its last line.
    """
    environ = {**os.environ, **(more or {})}
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=INSTALL_S, check=True, env=environ
        )
    except FileNotFoundError:
        raise NotInstalled(f"{command[0]} is not installed") from None
    except subprocess.TimeoutExpired:
        raise NotInstalled(f"no end of its installation after {INSTALL_S:g} s") from None
    except subprocess.CalledProcessError as failed:
        said = (failed.stderr or failed.stdout).strip().splitlines() or ["no reason given"]
        raise NotInstalled(said[-1].strip()[:200]) from None
    return done.stdout.strip()


def _from_pypi(folder: Path, package: str, name: str) -> str:
    python = folder / "bin" / "python"
    if not python.exists():
        run(sys.executable, "-m", "venv", folder)
        run(python, "-m", "pip", "install", "--quiet", package)
    asked = f"import importlib.metadata as m; print(m.version({name!r}))"
    return run(python, "-c", asked)


# LiteLLM

LITELLM = """\
model_list:
  - model_name: claude-sonnet-4-6
    litellm_params:
      model: anthropic/claude-sonnet-4-6
      api_key: {upstream_key}
      api_base: {upstream}
litellm_settings:
  num_retries: 0
general_settings:
  master_key: {key}
"""


def _litellm(folder: Path, version: str) -> Candidate:
    def command(place: Place) -> Command:
        config = place.folder / "litellm.yaml"
        text = LITELLM.format(upstream_key=UPSTREAM_KEY, upstream=place.upstream, key=CALLER_KEY)
        config.write_text(text)
        program = folder / "bin" / "litellm"
        given = ["--config", config, "--host", "127.0.0.1", "--port", str(place.port)]
        return [program, *given, "--num_workers", "1", "--telemetry", "False"]

    about = f"{version}, one worker, master key, no database"
    settings = (("LITELLM_LOG", "ERROR"),)
    return Candidate("litellm", about, command, settings=settings, start_s=300)


# Portkey


def _install_portkey(folder: Path) -> str:
    package = folder / "node_modules" / "@portkey-ai" / "gateway" / "package.json"
    if not package.exists():
        run("npm", "install", "--silent", "--prefix", folder, "@portkey-ai/gateway")
    version: str = json.loads(package.read_text())["version"]
    return version


def _portkey(folder: Path, version: str) -> Candidate:
    server = folder / "node_modules" / "@portkey-ai" / "gateway" / "build" / "start-server.js"

    def command(place: Place) -> Command:
        return ["node", server, "--headless", f"--port={place.port}"]

    def headers(place: Place) -> dict[str, str]:
        return {
            "x-portkey-provider": "anthropic",
            "x-portkey-custom-host": f"{place.upstream}/v1",
        }

    settings = (("TRUSTED_CUSTOM_HOSTS", "127.0.0.1,localhost"), ("NODE_ENV", "production"))
    return Candidate(
        "portkey", f"{version}, no key check", command, headers=headers, settings=settings
    )


# mitmproxy


def _mitmproxy(folder: Path, version: str) -> Candidate:
    def command(place: Place) -> Command:
        program = folder / "bin" / "mitmdump"
        given = ["--mode", f"reverse:{place.upstream}", "--listen-host", "127.0.0.1"]
        given += ["--listen-port", str(place.port), "--set", "stream_large_bodies=1"]
        return [program, "--quiet", "--set", f"confdir={place.folder}", *given]

    return Candidate("mitmproxy", f"{version}, reverse, streaming", command)


# Bifrost

BIFROST = "github.com/maximhq/bifrost/transports/bifrost-http"


def _install_bifrost(folder: Path) -> str:
    program = folder / "bifrost-http"
    go = shutil.which("go", path=f"{os.environ.get('PATH', '')}:/usr/local/go/bin") or "go"
    if not program.exists():
        folder.mkdir(parents=True, exist_ok=True)
        run(go, "install", f"{BIFROST}@latest", more={"GOBIN": str(folder)})
    return run(go, "version", "-m", program).partition(BIFROST.rpartition("/")[0])[2].split()[0]


def _bifrost(folder: Path, version: str) -> Candidate:
    def command(place: Place) -> Command:
        key = {"value": f"env.{UPSTREAM_KEY_NAME}", "models": ["claude-sonnet-4-6"], "weight": 1.0}
        provider = {"keys": [key], "network_config": {"base_url": place.upstream}}
        config = place.folder / "config.json"
        config.write_text(json.dumps({"providers": {"anthropic": provider}}))
        given = ["-host", "127.0.0.1", "-port", str(place.port), "-app-dir", place.folder]
        return [folder / "bifrost-http", *given]

    path = "/anthropic/v1/messages"
    return Candidate("bifrost", f"{version}, no key check", command, path=path)


PEERS = (
    Peer("litellm", lambda folder: _from_pypi(folder, "litellm[proxy]", "litellm"), _litellm),
    Peer("portkey", _install_portkey, _portkey),
    Peer("bifrost", _install_bifrost, _bifrost),
    Peer("mitmproxy", lambda folder: _from_pypi(folder, "mitmproxy", "mitmproxy"), _mitmproxy),
)
