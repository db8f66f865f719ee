"""A Prometheus on loopback, with the rules as they are shipped."""

import asyncio
import signal
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

from aiohttp import ClientError, ClientSession

RULES = Path(__file__).parents[1] / "prometheus"


def free_port() -> int:
    """Return a port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@asynccontextmanager
async def prometheus(
    directory: Path, targets: Mapping[str, str], scrape_s: int
) -> AsyncIterator[str]:
    """Scrape `targets`, addresses by environment; give the URL of Prometheus once it is ready."""
    directory.mkdir(exist_ok=True)
    file = directory / "prometheus.yml"
    file.write_text(_config(targets, scrape_s))
    address = f"127.0.0.1:{free_port()}"
    process = await asyncio.create_subprocess_exec(
        *("prometheus", f"--config.file={file}", f"--storage.tsdb.path={directory / 'data'}"),
        *(f"--web.listen-address={address}", "--enable-feature=exemplar-storage"),
        *("--storage.tsdb.retention.time=60d", "--log.level=error"),
    )
    try:
        await _ready(f"http://{address}/-/ready")
        yield f"http://{address}"
    finally:
        process.send_signal(signal.SIGTERM)
        await process.wait()


def _config(targets: Mapping[str, str], scrape_s: int) -> str:
    jobs = "\n".join(
        f'  - targets: ["{address}"]\n    labels: {{environment: {environment}}}'
        for environment, address in targets.items()
    )
    return f"""\
global: {{scrape_interval: {scrape_s}s, evaluation_interval: {scrape_s}s}}
rule_files: ["{RULES}/*.rules.yml"]
scrape_configs:
- job_name: tidegate
  static_configs:
{jobs}
"""


async def _ready(url: str) -> None:
    async with asyncio.timeout(60), ClientSession() as session:
        while True:
            try:
                async with session.get(url) as answer:
                    if answer.status == 200:
                        return
            except ClientError:
                pass
            await asyncio.sleep(0.1)
