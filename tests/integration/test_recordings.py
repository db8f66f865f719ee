"""Recorded answers of the real API, behind the gateway: no byte changes, and nothing is miscounted."""

import asyncio
import hashlib
from pathlib import Path
from typing import Any

import pytest

from redacting import rules_dir
from support.caches import sdk_streams
from support.gateway import Gateway, gateway
from support.raw import Answer, ask, post, read_answer
from support.recordings import (
    KEY,
    NOT_TRAVELLING,
    NUMBER,
    Headers,
    Reading,
    Recording,
    Replay,
    load,
    of_stream,
    replaying,
    sdk_readings,
)
from tidegate.testing.upstream import ScriptedUpstream

pytestmark = pytest.mark.timeout(900)  # the first run downloads

SERVED = ("/v1/messages", "/v1/messages?beta=true")
CHUNKINGS = ("1", "7", "65536", "event")
CODINGS = ("recorded", "gzip", "identity")
REPLAYS = [
    *(Replay(coding, chunking) for coding in CODINGS for chunking in CHUNKINGS),
    Replay("recorded", "7", framed=False),
]
DIGESTS = "[journal]\ndigests = true\n"
FIRST_PARTY = f"""
[[plugins]]
use = "models"
[plugins.config]
allow = ["*"]
[[plugins]]
use = "limits"
[plugins.config]
max_tokens = 128000
[[plugins]]
use = "redact"
[plugins.config]
cache_dir = "{rules_dir()}"
"""
Read = tuple[list[Recording], list[Reading | None]]


def described(replay: Replay) -> str:
    how = "" if replay.framed else "-length"
    return f"{replay.coding}-{replay.chunking}{how}"


@pytest.fixture(scope="module")
def recorded() -> Read:
    """The recordings, and what the official SDK reads in them."""
    found = [recording for recording in load() if recording.target in SERVED]
    return found, asyncio.run(sdk_readings(found))


@pytest.fixture(scope="module")
def fixtures() -> Read:
    """The streams with which the official SDK tests itself."""
    found = [of_stream(path.name, path.read_bytes()) for path in sdk_streams("2.12.0")]
    return found, asyncio.run(sdk_readings(found))


@pytest.mark.parametrize("replay", REPLAYS, ids=described)
async def test_recordings(recorded: Read, replay: Replay, tmp_path: Path) -> None:
    recordings, readings = recorded
    assert None not in readings
    await _replay(*_changed(recordings, readings, replay), replay, tmp_path)


@pytest.mark.parametrize(
    "replay", [replay for replay in REPLAYS if replay.coding != "identity"], ids=described
)
async def test_the_sdks_own_streams(fixtures: Read, replay: Replay, tmp_path: Path) -> None:
    recordings, readings = fixtures
    assert readings.count(None) == 1  # the one that the SDK itself cannot read
    await _replay(recordings, readings, replay, tmp_path)


async def test_what_holds_no_secret_leaves_unchanged(recorded: Read, tmp_path: Path) -> None:
    recordings, _ = recorded
    async with (
        replaying(recordings, Replay("recorded", "event")) as upstream,
        gateway(tmp_path, upstream.url, FIRST_PARTY) as gate,
    ):
        for answer in await _ask_all(gate, recordings):
            assert answer[0] == 200
        assert [heard.body for heard in upstream.heard] == [each.sent for each in recordings]
        for record in await gate.exchanges(len(recordings)):
            assert not record["edits"]


async def test_other_endpoints_are_refused(tmp_path: Path) -> None:
    recordings = [recording for recording in load() if recording.target not in SERVED]
    async with (
        replaying(recordings, Replay("recorded", "event")) as upstream,
        gateway(tmp_path, upstream.url) as gate,
    ):
        for recording in recordings:
            status, _, _ = await ask(gate.port, post(recording.sent, target=recording.target))
            assert status == 404
        assert not upstream.heard


def _changed(recordings: list[Recording], readings: list[Reading | None], replay: Replay) -> Read:
    """Leave those that the replay's coding changes: the others are replayed as recorded."""
    pairs = zip(recordings, readings, strict=True)
    kept = [
        (recording, reading)
        for recording, reading in pairs
        if replay.coding == "recorded" or recording.in_coding(replay.coding) is not recording
    ]
    return [recording for recording, _ in kept], [reading for _, reading in kept]


async def _replay(
    recordings: list[Recording], readings: list[Reading | None], replay: Replay, directory: Path
) -> None:
    async with (
        replaying(recordings, replay) as upstream,
        gateway(directory, upstream.url, DIGESTS) as gate,
    ):
        answers = await _ask_all(gate, recordings)
        records = {record["id"]: record for record in await gate.exchanges(len(recordings))}
    assert len(records) == len(recordings)
    for number, recording in enumerate(recordings):
        expected = recording.in_coding(replay.coding)
        _check_request(upstream, number, recording)
        identity = _check_answer(answers[number], expected)
        _check_record(records[identity], expected, readings[number])


async def _ask_all(gate: Gateway, recordings: list[Recording]) -> list[Answer]:
    """Send the recorded requests over one connection, and return the answers."""
    reader, writer = await asyncio.open_connection("127.0.0.1", gate.port)
    answers = []
    for number, recording in enumerate(recordings):
        lines = [f"{k}: {v}\r\n" for k, v in _sent_headers(number, recording)]
        start = f"POST {recording.target} HTTP/1.1\r\nHost: gateway\r\n{''.join(lines)}"
        length = f"Content-Length: {len(recording.sent)}\r\n\r\n"
        writer.write((start + length).encode("latin-1") + recording.sent)
        answers.append(await read_answer(reader))
    writer.close()
    return answers


def _sent_headers(number: int, recording: Recording) -> Headers:
    return [*recording.sent_headers, ("x-api-key", KEY), (NUMBER, str(number))]


def _check_request(upstream: ScriptedUpstream, number: int, recording: Recording) -> None:
    heard = upstream.heard[number]
    assert heard.line == f"POST {recording.target} HTTP/1.1"
    assert heard.body == recording.sent, recording
    headers = [pair for pair in heard.headers if pair[0] not in ("Host", "Content-Length")]
    expected = [_as_offered(*pair) for pair in _sent_headers(number, recording)]
    assert headers == expected, recording


def _as_offered(name: str, value: str) -> tuple[str, str]:
    """Return a header as the upstream gets it: codings that the meter cannot read are left out."""
    if name != "accept-encoding":
        return name, value
    return name, ", ".join(each for each in value.split(", ") if each in ("gzip", "deflate"))


def _check_answer(answer: Answer, expected: Recording) -> str:
    """Check what came to the client; return the exchange's id."""
    status, headers, body = answer
    assert status == expected.status
    assert _sha256(body) == _sha256(expected.body), expected
    travelled = [pair for pair in headers if pair[0].lower() not in NOT_TRAVELLING]
    *passed, (name, identity) = travelled
    assert passed == expected.headers, expected
    assert name == "x-tidegate-id"
    return identity


def _check_record(record: dict[str, Any], expected: Recording, reading: Reading | None) -> None:
    assert record["outcome"] == "complete", expected
    assert record["events"] == (len(expected.pieces) if expected.is_stream else 0)
    assert record["meter"] is None
    assert record["bytes"]["response"] == len(expected.body)
    assert record["bytes"]["request_in"] == record["bytes"]["request_out"] == len(expected.sent)
    assert record["sha256"] == {
        "request_in": _sha256(expected.sent),
        "request_out": _sha256(expected.sent),
        "response": _sha256(expected.body),
    }
    if reading is not None:
        assert record["stop_reason"] == reading.stop_reason
        assert record["model"]["answered"] == reading.model
        assert record["usage_source"] == "final"
        assert record["usage"] == _disjoint(reading.usage), expected


def _disjoint(usage: dict[str, Any]) -> dict[str, Any]:
    """Return the SDK's usage as it should stand in the record."""
    split = usage.get("cache_creation") or {}
    hour = split.get("ephemeral_1h_input_tokens", 0)
    tools = usage.get("server_tool_use") or {}
    return {
        "input": usage["input_tokens"],
        "cache_read": usage.get("cache_read_input_tokens") or 0,
        "cache_write_5m": (usage.get("cache_creation_input_tokens") or 0) - hour,
        "cache_write_1h": hour,
        "output": usage["output_tokens"],
        "thinking": (usage.get("output_tokens_details") or {}).get("thinking_tokens", 0),
        "web_search_requests": tools.get("web_search_requests", 0),
        "web_fetch_requests": tools.get("web_fetch_requests", 0),
        "service_tier": usage.get("service_tier"),
        "speed": usage.get("speed"),
        "inference_geo": usage.get("inference_geo"),
        "iterations": usage.get("iterations") or [],
    }


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
