"""`tidegate demo`: what it says is what the journal says, and what it says to try works."""

import asyncio
import json
import re
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from support.gateway import read_records
from support.ports import free_port
from tidegate.journal.verify import verify

pytestmark = [pytest.mark.process, pytest.mark.timeout(120)]


@dataclass
class Demo:
    """A demo that runs, line by line."""

    process: asyncio.subprocess.Process
    said: list[str] = field(default_factory=list)

    @property
    def text(self) -> str:
        return "\n".join(self.said)

    async def until(self, pattern: str) -> str:
        """Read on to the line in which `pattern` is found."""
        assert self.process.stdout is not None
        async with asyncio.timeout(60):
            while line := await self.process.stdout.readline():
                self.said.append(line.decode().rstrip("\n"))
                if re.search(pattern, self.said[-1]):
                    return self.said[-1]
        raise AssertionError(self.text)

    async def end(self) -> int:
        """Read to the end; return the exit code."""
        assert self.process.stdout is not None
        async with asyncio.timeout(60):
            rest = await self.process.stdout.read()
            self.said += rest.decode().splitlines()
            return await self.process.wait()


@asynccontextmanager
async def demo(*flags: str, port: int = 0) -> AsyncGenerator[Demo, None]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tidegate", "demo", *flags),
        *("--port", str(port), "--admin-port", "0"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        yield Demo(process)
    finally:
        if process.returncode is None:
            process.terminate()
            await process.wait()


@dataclass
class Ended:
    """A demo that ended by itself."""

    text: str
    journal: Path
    records: list[dict[str, Any]]


@pytest.fixture(scope="module")
def ended(tmp_path_factory: pytest.TempPathFactory) -> Ended:
    journal = tmp_path_factory.mktemp("demo") / "journal"
    command = [sys.executable, "-m", "tidegate", "demo", "--for", "4s", "--journal", str(journal)]
    ports = ["--port", "0", "--admin-port", "0"]
    done = subprocess.run(
        [*command, *ports], capture_output=True, text=True, timeout=90, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    return Ended(done.stdout, journal, read_records(journal, "exchange"))


def test_its_numbers_are_those_of_the_journal(ended: Ended):
    text, records = ended.text, ended.records
    edits = Counter(edit["plugin"] for record in records for edit in record["edits"])
    refused = [record for record in records if record["refused_by"]]
    tokens = sum(_tokens(record["usage"]) for record in records if record["usage"])
    assert f"\n{len(records)} requests in " in text
    assert f"\ntokens     {tokens:,}: " in text
    assert f"\nrefused    {len(refused)}: " in text
    assert f"\nredacted   {edits['redact']}: " in text
    assert f"\nclamped    {edits['limits']}\n" in text
    for outcome, count in Counter(record["outcome"] for record in records).items():
        assert re.search(rf"^  {outcome} .* {count}$", text, re.MULTILINE)
    intents = len(read_records(ended.journal, "intent"))
    assert f"verified: {intents} intents, {len(records)} exchanges" in text
    assert verify(ended.journal).sound


def test_a_few_seconds_show_every_way_to_end(ended: Ended):
    records = ended.records
    assert {record["outcome"] for record in records} >= {
        "complete",
        "refused",
        "client_gone",
        "upstream_error",
        "upstream_cut",
        "upstream_error_event",
    }
    assert {record["principal"]["team"] for record in records} >= {"search", "web", "data"}
    assert {record["route"] for record in records} >= {"messages", "count_tokens", "models"}
    assert any(record["usage"]["cache_read"] for record in records if record["usage"])
    assert any(record["stop_reason"] == "tool_use" for record in records)


def test_no_secret_of_it_is_written_down(ended: Ended):
    written = b"".join(path.read_bytes() for path in ended.journal.glob("*.jsonl"))
    assert b"AK" + b"IA" not in written
    assert b"gh" + b"p_" not in written
    assert b"tgk" + b"_" not in written


async def test_what_it_says_to_try_works_and_ctrl_c_ends_it(tmp_path: Path):
    async with demo() as running:
        curl = (await running.until("^  curl ")).strip()
        tail = (await running.until("journal tail")).strip().replace(" --follow", "")
        metrics = next(line.split()[1] for line in running.said if line.startswith("  metrics"))
        await running.until("^requests ")
        answer = json.loads(await _shell(curl))
        assert answer["type"] == "message"
        assert answer["usage"]["output_tokens"] > 0
        assert b"tidegate_requests_total" in await _shell(f"curl -sf {metrics}")
        assert b"complete" in await _shell(tail)
        running.process.send_signal(signal.SIGINT)
        code = await running.end()

    assert code == 0, running.text
    assert "Traceback" not in running.text
    assert "requests in" in running.text
    removed = re.search(r"^removed +(\S+);", running.text, re.MULTILINE)
    assert removed is not None
    assert not Path(removed[1]).parent.exists()


async def test_a_port_in_use_is_said_with_its_flag():
    port = free_port()
    taken = await asyncio.start_server(lambda *_: None, "127.0.0.1", port)
    async with taken, demo(port=port) as running:
        code = await running.end()

    assert code == 2
    assert running.text.startswith(f"error: --port: 127.0.0.1 port {port}: Address already in use")


@pytest.mark.parametrize("text", ["", "soon", "0s", "-3s"])
async def test_a_time_that_is_none_is_an_error(text: str):
    async with demo(f"--for={text}") as running:
        assert await running.end() == 2

    assert "write 30s, 5m or 1h" in running.text


async def _shell(command: str) -> bytes:
    command = re.sub(r"^tidegate ", f"{sys.executable} -m tidegate ", command)
    process = await asyncio.create_subprocess_shell(command, stdout=asyncio.subprocess.PIPE)
    async with asyncio.timeout(30):
        found, _ = await process.communicate()
    assert process.returncode == 0
    return found


def _tokens(usage: dict[str, int]) -> int:
    names = ("input", "cache_read", "cache_write_5m", "cache_write_1h", "output")
    return sum(usage[name] for name in names)
