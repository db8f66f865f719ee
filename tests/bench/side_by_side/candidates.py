"""Who is measured: how each is configured and started."""

import hashlib
import os
import shutil
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

CALLER_KEY = "sk-bench-" + "0" * 28
"""What the load generator sends; no real key looks like it."""
UPSTREAM_KEY = "bench-upstream"
UPSTREAM_KEY_NAME = "TIDEGATE_BENCH_KEY"


@dataclass(frozen=True)
class Place:
    """Where one is to run."""

    port: int
    upstream_port: int
    folder: Path
    """Its own, for configuration, journal and log."""

    @property
    def upstream(self) -> str:
        return f"http://127.0.0.1:{self.upstream_port}"


Command = list[str | Path]


@dataclass(frozen=True)
class Candidate:
    """One whom the load goes through."""

    name: str
    about: str
    command: Callable[[Place], Command] | None = None
    """None: there is nobody, the load goes to the upstream."""
    worker: str = ""
    """What the worker's command line contains; empty: it is the first process."""


def environment() -> Mapping[str, str]:
    """Return what all are started with: no exporter is configured from outside."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("OTEL_")}
    return kept | {UPSTREAM_KEY_NAME: UPSTREAM_KEY}


# nginx

NGINX = """\
{user}worker_processes 1;
daemon off;
pid {folder}/nginx.pid;
worker_rlimit_nofile 20000;
events {{ worker_connections 16000; }}
http {{
  access_log off;
  client_max_body_size 64m;
  client_body_buffer_size 2m;
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  keepalive_requests 10000000;
  tcp_nodelay on;
  upstream api {{
    server 127.0.0.1:{upstream_port};
    keepalive 1024;
    keepalive_requests 10000000;
  }}
  server {{
    listen 127.0.0.1:{port} backlog=4096;
    location / {{
      proxy_pass http://api;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_set_header x-api-key {key};
      proxy_buffering off;
      proxy_read_timeout 600s;
    }}
  }}
}}
"""


def nginx_program() -> str | None:
    """Return where nginx is; distributions hide it from users' PATH."""
    places = os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin"))
    return shutil.which("nginx", path=places)


def _nginx(place: Place) -> Command:
    config = place.folder / "nginx.conf"
    config.write_text(
        NGINX.format(
            user="" if os.geteuid() else "user root;\n",
            folder=place.folder,
            port=place.port,
            upstream_port=place.upstream_port,
            key=UPSTREAM_KEY,
        )
    )
    return [nginx_program() or "nginx", "-e", "stderr", "-p", place.folder, "-c", config]


# the naive proxy


def _naive(place: Place) -> Command:
    script = Path(__file__).with_name("naive.py")
    return [sys.executable, script, str(place.port), place.upstream]


# tidegate

BARE = """\
[listen]
port = {port}
[admin]
port = 0
[upstream]
url = "{upstream}"
credential = {{ env = "{key_name}" }}
[journal]
dir = "{folder}/journal"
"""

CHAIN = """\
[[plugins]]
use = "identify"
[plugins.config]
keys = [{{ id = "bench", team = "bench", sha256 = "{sha256}" }}]
[[plugins]]
use = "models"
[plugins.config]
allow = ["claude-sonnet-4-6", "claude-haiku-*"]
[[plugins]]
use = "limits"
[plugins.config]
max_tokens = 32000
over = "reject"
[[plugins]]
use = "redact"
[plugins.config]
action = "mask"
[[plugins]]
use = "metrics"
"""


def _tidegate(template: str) -> Callable[[Place], Command]:
    def command(place: Place) -> Command:
        config = place.folder / "tidegate.toml"
        config.write_text(
            template.format(
                port=place.port,
                upstream=place.upstream,
                key_name=UPSTREAM_KEY_NAME,
                folder=place.folder,
                sha256=hashlib.sha256(CALLER_KEY.encode()).hexdigest(),
            )
        )
        return [sys.executable, "-m", "tidegate", "serve", "--config", config]

    return command


CANDIDATES = (
    Candidate("direct", "no gateway; the CPU is the mock upstream's own"),
    Candidate("nginx", "one worker, proxy_buffering off, keep-alive", _nginx, "worker process"),
    Candidate("naive", "aiohttp web.Application + ClientSession", _naive),
    Candidate(
        "tidegate",
        "identify, models, limits, redact, metrics; journal",
        _tidegate(BARE + CHAIN),
        "tidegate.worker",
    ),
    Candidate("tidegate-bare", "no plugins; journal", _tidegate(BARE), "tidegate.worker"),
)
