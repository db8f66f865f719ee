"""What each request pays for its outline, beside what it pays to be parsed."""

import json
import timeit
from typing import Any

from tidegate.wire.body import parse
from tidegate.wire.outline import outline

ROUNDS = 9


def conversation(turns: int) -> bytes:
    messages: list[dict[str, Any]] = []
    for turn in range(turns):
        use = {"type": "tool_use", "id": f"toolu_{turn}", "name": "read", "input": {"n": turn}}
        text = [{"type": "text", "text": "so much for that. " * 50}]
        result = {"type": "tool_result", "tool_use_id": f"toolu_{turn}", "content": text}
        messages.append({"role": "assistant", "content": [{"type": "text", "text": "well"}, use]})
        messages.append({"role": "user", "content": [result]})
    tools = [{"name": f"t{n}", "description": "does " * 40, "input_schema": {}} for n in range(40)]
    document = {"model": "claude-opus-5-5", "max_tokens": 9, "tools": tools, "messages": messages}
    return json.dumps(document).encode()


def test_an_outline_costs_less_than_half_of_parsing() -> None:
    raw = conversation(100)
    document = parse(raw).document
    parsing, outlining = [], []
    for _ in range(ROUNDS):  # alternating: whatever else the machine does is in both
        parsing.append(timeit.timeit(lambda: parse(raw), number=5))
        outlining.append(timeit.timeit(lambda: outline(document), number=5))

    assert min(outlining) < min(parsing) / 2
