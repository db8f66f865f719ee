"""A real Prometheus that scrapes one target four times a second."""

import asyncio
import os
import shutil
import signal
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientError, ClientSession

from support.ports import free_port

needed = pytest.mark.skipif(
    not shutil.which("prometheus") and os.environ.get("CI") != "true",
    reason="prometheus is not installed",
)


@dataclass(frozen=True)
class Prometheus:
    """Where it answers."""

    api: str

    async def ask(self, path: str, **parameters: str) -> Any:
        async with (
            ClientSession() as session,
            session.get(f"{self.api}/{path}", params=parameters) as got,
        ):
            answer = await got.json()
            assert answer["status"] == "success", answer
            return answer["data"]

    async def values(self, expression: str) -> dict[tuple[tuple[str, str], ...], float]:
        """Return the values of an expression now, by their labels."""
        found = (await self.ask("query", query=expression))["result"]
        return {tuple(sorted(r["metric"].items())): float(r["value"][1]) for r in found}

    async def wait_for(self, expression: str, expected: float, *, timeout_s: float = 12) -> None:
        """Wait until an expression has this one value."""
        found: Any = None
        for _ in range(int(timeout_s * 10)):
            try:
                found = await self.values(expression)
            except ClientError:
                found = "no answer yet"
            else:
                if list(found.values()) == [expected]:
                    return
            await asyncio.sleep(0.1)
        pytest.fail(f"{expression} is {found}, not {expected}")


@asynccontextmanager
async def prometheus(directory: Path, target: int) -> AsyncGenerator[Prometheus, None]:
    """Run one that scrapes this port of loopback."""
    directory.mkdir(parents=True, exist_ok=True)
    address = f"127.0.0.1:{free_port()}"
    (directory / "prometheus.yml").write_text(
        f"""
global: {{scrape_interval: 250ms}}
scrape_configs:
- job_name: tidegate
  static_configs: [{{targets: ["127.0.0.1:{target}"]}}]
"""
    )
    process = await asyncio.create_subprocess_exec(
        "prometheus",
        f"--config.file={directory / 'prometheus.yml'}",
        f"--storage.tsdb.path={directory / 'data'}",
        f"--web.listen-address={address}",
        "--enable-feature=exemplar-storage",
        "--log.level=error",
    )
    try:
        yield Prometheus(f"http://{address}/api/v1")
    finally:
        process.send_signal(signal.SIGTERM)
        await process.wait()
