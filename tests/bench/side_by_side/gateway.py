"""tidegate's configurations: the whole chain, and nothing."""

import hashlib
import sys
from collections.abc import Callable

from bench.side_by_side.place import CALLER_KEY, UPSTREAM_KEY_NAME, Command, Place

MARKER = "tidegate.worker"
"""What the command line of a worker contains."""

BARE = """\
[listen]
port = {port}
workers = {workers}
[admin]
port = {admin_port}
[upstream]
url = "{upstream}"
credential = {{ env = "{key_name}" }}
[journal]
dir = "{folder}/journal"
"""

IN_PATH = """\
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
use = "quota"
[plugins.config]
store = "{store}"
limits = [
  {{ name = "org-minute", scope = "org", per = "minute", requests = 100_000_000 }},
  {{ name = "team-day", scope = "team", per = "day", usd = 10_000_000.0, soft = 0.8 }},
  {{ name = "key-open", scope = "key", concurrent = 100_000 }},
]
[[plugins]]
use = "redact"
[plugins.config]
action = "mask"
"""

METRICS = """\
[[plugins]]
use = "metrics"
"""

TRACING = """\
[[plugins]]
use = "tracing"
[plugins.config]
endpoint = "http://127.0.0.1:{collector_port}"
"""

CHAIN = IN_PATH + METRICS + TRACING


def written(place: Place, chain: str = CHAIN, *, workers: int = 1, store: str = "memory") -> str:
    """Return a configuration with the plugins of `chain`."""
    return (BARE + chain).format(
        port=place.port,
        admin_port=place.admin_port,
        upstream=place.upstream,
        key_name=UPSTREAM_KEY_NAME,
        folder=place.folder,
        sha256=hashlib.sha256(CALLER_KEY.encode()).hexdigest(),
        collector_port=place.collector_port,
        workers=workers,
        store=store,
    )


def serving(chain: str, *, workers: int = 1) -> Callable[[Place], Command]:
    """Return how tidegate is started with the plugins of `chain`."""

    def command(place: Place) -> Command:
        config = place.folder / "tidegate.toml"
        config.write_text(written(place, chain, workers=workers))
        return [sys.executable, "-m", "tidegate", "serve", "--config", config]

    return command
