"""curl, as the API's documentation uses it, against `tidegate serve` as it is installed."""

import asyncio
import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from support.caches import unavailable
from support.driving import lasting, simulating
from support.gateway import Process, serve

pytestmark = [pytest.mark.process, pytest.mark.timeout(120)]

KEY = "-".join(("sk", "ant", "api03", "c" * 20))
VERSION = "anthropic-version: 2023-06-01"
JSON = "content-type: application/json"
CURL_TIMEOUT_S = "30"


def header(*lines: str) -> list[str]:
    return [word for line in lines for word in ("--header", line)]


def ask(**more: Any) -> str:
    question = {"role": "user", "content": "How high is the tide, in mètres?"}
    document = {"model": "claude-haiku-4-5", "max_tokens": 1024, "messages": [question], **more}
    return json.dumps(document, ensure_ascii=False)


KEYED = header(f"x-api-key: {KEY}", VERSION)
POST = [*KEYED, *header(JSON)]
BEARER = header(f"authorization: Bearer {KEY}", "anthropic-version: 2026-10-21", JSON)
COUNT = '{"model":"claude-haiku-4-5","messages":[{"role":"user","content":"How high?"}]}'
LONG = ask(system="The sea is wide. " * 100_000)

CALLS: dict[str, tuple[str, list[str]]] = {
    "create": ("/v1/messages", [*POST, "--data", ask()]),
    "create-beta": ("/v1/messages?beta=true", [*POST, "--data", ask()]),
    "create-bearer": ("/v1/messages", [*BEARER, "--data", ask()]),
    "create-compressed": (
        "/v1/messages",
        [*POST, *header("x-simulate: gzip=1"), "--compressed", "--data", ask()],
    ),
    "create-http-1.0": ("/v1/messages", [*POST, "--http1.0", "--data", ask()]),
    "create-long": ("/v1/messages", [*POST, "--data-binary", "@-"]),
    "stream": ("/v1/messages", [*POST, "--no-buffer", "--data", ask(stream=True)]),
    "stream-http-1.0": ("/v1/messages", [*POST, "--http1.0", "--data", ask(stream=True)]),
    "stream-cut": (
        "/v1/messages",
        [*POST, *header("x-simulate: cut=4"), "--data", ask(stream=True)],
    ),
    "stream-error": (
        "/v1/messages",
        [*POST, *header("x-simulate: error_event=4"), "--data", ask(stream=True)],
    ),
    "count": (
        "/v1/messages/count_tokens",
        [*POST, "--data", COUNT],
    ),
    "models": ("/v1/models", KEYED),
    "models-page": ("/v1/models?limit=2&after_id=claude-opus-5-5", KEYED),
    "model": ("/v1/models/claude-haiku-4-5", KEYED),
    "no-such-model": ("/v1/messages", [*POST, "--data", ask(model="claude-unheard-of")]),
    "no-key": ("/v1/messages", [*header(VERSION, JSON), "--data", ask()]),
    "no-version": ("/v1/messages", [*header(f"x-api-key: {KEY}", JSON), "--data", ask()]),
    "overloaded": ("/v1/messages", [*POST, *header("x-simulate: error=529"), "--data", ask()]),
    "bad-gateway": ("/v1/messages", [*POST, *header("x-simulate: error=502"), "--data", ask()]),
    "fail": (
        "/v1/messages",
        [*POST, "--fail-with-body", *header("x-simulate: error=429"), "--data", ask()],
    ),
}


@dataclass(frozen=True)
class Printed:
    """What came of a call."""

    code: int
    """curl's exit code."""
    status: int
    content: list[str]
    """The answer's headers that begin with `content-`, and `retry-after`."""
    body: Any


async def curl(base_url: str, name: str, directory: Path) -> Printed:
    target, arguments = CALLS[name]
    heads = directory / f"{name}.head"
    quiet = ("--silent", "--no-progress-meter", "--max-time", CURL_TIMEOUT_S, "--noproxy", "*")
    process = await asyncio.create_subprocess_exec(
        "curl", *quiet, "--dump-header", str(heads), base_url + target, *arguments,
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    body, _ = await process.communicate(LONG.encode() if "@-" in arguments else None)
    *_, last = heads.read_bytes().decode("latin-1").strip().split("\r\n\r\n")
    line, *fields = last.lower().splitlines()
    told = [field for field in fields if field.startswith(("content-", "retry-after"))]
    return Printed(process.returncode or 0, int(line.split()[1]), told, lasting(body.decode()))


async def curl_all(base_url: str, directory: Path) -> dict[str, Printed]:
    directory.mkdir()
    return {name: await curl(base_url, name, directory) for name in CALLS}


Both = tuple[dict[str, Printed], dict[str, Printed], Sequence[dict[str, Any]]]


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Both:
    if shutil.which("curl") is None:
        unavailable("curl is not installed")
    return asyncio.run(_both(tmp_path_factory.mktemp("curl")))


async def _both(directory: Path) -> Both:
    config = directory / "tidegate.toml"
    async with simulating() as first, simulating() as second:
        config.write_text(f'[upstream]\nurl = "{second.url}"\n')
        async with serve(directory / "journal", config) as running:
            direct, through = await asyncio.gather(
                curl_all(first.url, directory / "direct"),
                curl_all(running.url, directory / "through"),
            )
            return direct, through, await _records(running)


async def _records(running: Process) -> list[dict[str, Any]]:
    async with asyncio.timeout(10):
        while len(found := running.records()) < len(CALLS):
            await asyncio.sleep(0.01)
    return found


@pytest.mark.parametrize("name", CALLS)
def test_the_same_as_without_a_gateway(both: Both, name: str) -> None:
    direct, through, _ = both
    assert through[name] == direct[name]


def test_curl_notices_what_is_wrong(both: Both) -> None:
    _, through, _ = both
    codes = {name: printed.code for name, printed in through.items() if printed.code}
    assert codes == {"stream-cut": 18, "fail": 22}  # partial file; HTTP error
    wrong = {name: printed.status for name, printed in through.items() if printed.status != 200}
    assert wrong == {
        "no-such-model": 404,
        "no-key": 401,
        "no-version": 400,
        "overloaded": 529,
        "bad-gateway": 502,
        "fail": 429,
    }


def test_every_call_is_recorded_once(both: Both) -> None:
    _, _, records = both
    assert len(records) == len({record["id"] for record in records}) == len(CALLS)
    outcomes = [record["outcome"] for record in records]
    assert outcomes.count("upstream_error") == 6
    assert outcomes.count("upstream_cut") == outcomes.count("upstream_error_event") == 1
    assert outcomes.count("complete") == len(CALLS) - 8
