"""The official client with a secret in a tool's result, turn after turn: only placeholders leave."""

import itertools
import json
from pathlib import Path
from typing import Any

import pytest
from anthropic import AsyncAnthropic

from redacting import github, rules_dir
from support.gateway import gateway
from tidegate.simulator import serve_simulator

TOKEN = github("sdk")
CHAIN = f'[[plugins]]\nuse = "redact"\n[plugins.config]\ncache_dir = "{rules_dir()}"\n'
READ: dict[str, Any] = {
    "name": "read_file",
    "description": "Read a file",
    "input_schema": {"type": "object", "properties": {"path": {"type": "string"}}},
}
USE = {"type": "tool_use", "id": "toolu_1", "name": "read_file", "input": {"path": ".env"}}
RESULT = {"type": "tool_result", "tool_use_id": "toolu_1", "content": f"GH={TOKEN}\nX=1\n"}
TURNS: list[dict[str, Any]] = [
    {"role": "user", "content": "read .env"},
    {"role": "assistant", "content": [USE]},
    {"role": "user", "content": [RESULT]},
]


@pytest.mark.parametrize("stream", [False, True])
async def test_only_placeholders_leave_on_every_turn(tmp_path: Path, stream: bool) -> None:
    async with (
        serve_simulator() as simulator,
        gateway(tmp_path, simulator.url, CHAIN) as gate,
        AsyncAnthropic(api_key="k", base_url=gate.url, max_retries=0) as client,
    ):
        turns = list(TURNS)
        for word in ("and now?", "go on", "once more"):
            asked: dict[str, Any] = {
                "model": "claude-haiku-4-5", "max_tokens": 200, "tools": [READ], "messages": turns,
            }  # fmt: skip
            if stream:
                async with client.messages.stream(**asked) as events:
                    answer = await events.get_final_message()
            else:
                answer = await client.messages.create(**asked)
            said = [block.model_dump() for block in answer.content if block.type == "text"]
            assert answer.stop_reason
            reply = [{"type": "text", "text": block["text"]} for block in said] or "ok"
            turns += [{"role": "assistant", "content": reply}, {"role": "user", "content": word}]
        records = await gate.exchanges(3)
        heard = [json.loads(received.body)["messages"] for received in simulator.requests]
    assert len(heard) == 3
    assert TOKEN not in json.dumps(heard)
    results = {messages[2]["content"][0]["content"] for messages in heard}
    (result,) = results
    assert result.startswith("GH=[REDACTED:github-token:")
    assert result.endswith("]\nX=1\n")
    for before, after in itertools.pairwise(heard):
        assert after[: len(before)] == before
    assert [[edit["pointer"] for edit in record["edits"]] for record in records] == [
        ["/messages/2/content/0/content"]
    ] * 3
