"""A real OpenTelemetry Collector, run with its file exporter.

What it wrote is read back as JSON, as OTLP has it: ids in hex, 64-bit numbers as strings.
"""

import asyncio
import json
import signal
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from support.ports import free_port


@dataclass
class Collector:
    """One collector on fixed ports, which can be stopped, killed and started again."""

    program: Path
    directory: Path
    http_port: int = field(default_factory=free_port)
    grpc_port: int = field(default_factory=free_port)
    process: asyncio.subprocess.Process | None = None

    @property
    def http(self) -> str:
        return f"http://127.0.0.1:{self.http_port}"

    @property
    def grpc(self) -> str:
        return f"http://127.0.0.1:{self.grpc_port}"

    async def start(self) -> None:
        self.directory.mkdir(parents=True, exist_ok=True)
        config = self.directory / "collector.json"
        config.write_text(json.dumps(self._config()))
        with (self.directory / "collector.log").open("ab") as log:
            self.process = await asyncio.create_subprocess_exec(
                str(self.program), f"--config=file:{config}", stdout=log, stderr=log
            )
        async with asyncio.timeout(30):
            for port in (self.http_port, self.grpc_port):
                while not await _accepts(port):
                    assert self.process.returncode is None, self.log
                    await asyncio.sleep(0.05)

    async def stop(self, number: int = signal.SIGTERM) -> None:
        if self.process is not None and self.process.returncode is None:
            self.process.send_signal(number)
            await self.process.wait()
        self.process = None

    @property
    def log(self) -> str:
        return (self.directory / "collector.log").read_text()

    def spans(self) -> list[dict[str, Any]]:
        """Every span received, duplicates too, each with its `resource`."""
        return list(self._items("traces", "resourceSpans", "scopeSpans", "spans"))

    def logs(self) -> list[dict[str, Any]]:
        """Every log record received, duplicates too, each with its `resource`."""
        return list(self._items("logs", "resourceLogs", "scopeLogs", "logRecords"))

    def _items(self, name: str, outer: str, scope: str, inner: str) -> Iterator[dict[str, Any]]:
        path = self.directory / f"{name}.jsonl"
        # A collector that was killed may have left half a line, which it had not yet taken.
        for line in path.read_text().splitlines() if path.exists() else ():
            try:
                message = json.loads(line)
            except json.JSONDecodeError:
                continue
            for resource in message[outer]:
                for each in resource[scope]:
                    for item in each[inner]:
                        yield {**item, "resource": said(resource["resource"])}

    def _config(self) -> dict[str, Any]:
        def file(name: str) -> dict[str, Any]:
            # With a rotation, however large, it answers when it has written, and not before.
            path = str(self.directory / f"{name}.jsonl")
            return {"path": path, "rotation": {"max_megabytes": 1000}}

        at = "127.0.0.1"
        protocols = {
            "http": {"endpoint": f"{at}:{self.http_port}"},
            "grpc": {"endpoint": f"{at}:{self.grpc_port}"},
        }
        signals = ("traces", "logs")
        return {
            "receivers": {"otlp": {"protocols": protocols}},
            "exporters": {f"file/{name}": file(name) for name in signals},
            "service": {
                "telemetry": {"metrics": {"level": "none"}},
                "pipelines": {
                    name: {"receivers": ["otlp"], "exporters": [f"file/{name}"]} for name in signals
                },
            },
        }


async def _accepts(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    writer.close()
    return True


def said(thing: dict[str, Any]) -> dict[str, Any]:
    """Return the attributes of a span, event, log record or resource as plain values."""
    return {pair["key"]: plain(pair["value"]) for pair in thing.get("attributes", ())}


def plain(value: dict[str, Any]) -> Any:
    """Return an OTLP value as Python has it; types are kept apart."""
    (kind,) = value or ("none",)
    match kind:
        case "intValue":
            return int(value[kind])
        case "doubleValue":
            return float(value[kind])
        case "arrayValue":
            return [plain(item) for item in value[kind].get("values", ())]
        case "kvlistValue":
            return {pair["key"]: plain(pair["value"]) for pair in value[kind].get("values", ())}
        case "none":
            return None
        case _:
            return value[kind]
