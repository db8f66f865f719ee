"""Where a candidate is to run, and the keys that are used."""

from dataclasses import dataclass
from pathlib import Path

CALLER_KEY = "sk-bench-" + "0" * 28
"""What the load generator sends; no real key looks like it."""
UPSTREAM_KEY = "bench-upstream"
UPSTREAM_KEY_NAME = "TIDEGATE_BENCH_KEY"

Command = list[str | Path]


@dataclass(frozen=True)
class Place:
    """Where one is to run."""

    port: int
    upstream_port: int
    folder: Path
    """Its own, for configuration, journal and log."""
    admin_port: int = 0
    collector_port: int = 0
    """Where spans are taken."""
    files: int = 16_384
    """How many descriptors a process may have."""
    upstream_url: str = ""
    """Where it sends requests, if not to the mock upstream itself."""

    @property
    def upstream(self) -> str:
        return self.upstream_url or f"http://127.0.0.1:{self.upstream_port}"
