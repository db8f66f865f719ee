"""nginx as a reverse proxy: one worker, nothing buffered on the way back."""

import os
import shutil
from pathlib import Path

from bench.side_by_side.place import UPSTREAM_KEY, Command, Place

NGINX = """\
{user}worker_processes 1;
daemon off;
pid {folder}/nginx.pid;
worker_rlimit_nofile {files};
events {{ worker_connections {connections}; }}
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
    server {authority};
    keepalive 1024;
    keepalive_requests 10000000;
  }}
  server {{
    listen 127.0.0.1:{port} {ssl}backlog=4096;
    {certificate}
    location / {{
      proxy_pass {scheme}://api;
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


def absent() -> str:
    return "" if nginx_program() else "nginx is not installed: no ratios to it"


def command(place: Place, certificate: Path | None = None) -> Command:
    """Return how it is started; with a certificate (and its key), it serves TLS."""
    scheme, _, authority = place.upstream.partition("://")
    own = f"ssl_certificate {certificate}; ssl_certificate_key {certificate};"
    config = place.folder / "nginx.conf"
    config.write_text(
        NGINX.format(
            user="" if os.geteuid() else "user root;\n",
            folder=place.folder,
            port=place.port,
            ssl="ssl " if certificate else "",
            certificate=own if certificate else "",
            scheme=scheme,
            authority=authority,
            key=UPSTREAM_KEY,
            files=place.files,
            connections=2 * place.files,  # it closes some when only a sixteenth is left
        )
    )
    return [nginx_program() or "nginx", "-e", "stderr", "-p", place.folder, "-c", config]
