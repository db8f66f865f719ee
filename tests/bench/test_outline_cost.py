"""What each request pays for its outline, beside what it pays to be parsed."""

import json
import timeit
from typing import Any

from tidegate.wire.body import parse
from tidegate.wire.outline import outline

ROUNDS = 9


def conversation(turns: int, number: int) -> bytes:
    messages: list[dict[str, Any]] = []
    for turn in range(turns):
        use = {"type": "tool_use", "id": f"toolu_{turn}", "name": "read", "input": {"n": turn}}
        text = [{"type": "text", "text": f"so much for {number}. " * 50}]
        result = {"type": "tool_result", "tool_use_id": f"toolu_{turn}", "content": text}
        messages.append({"role": "assistant", "content": [{"type": "text", "text": "well"}, use]})
        messages.append({"role": "user", "content": [result]})
    tools = [{"name": f"t{n}", "description": "does " * 40, "input_schema": {}} for n in range(40)]
    document = {"model": "claude-opus-5-5", "max_tokens": 9, "tools": tools, "messages": messages}
    return json.dumps(document).encode()


def test_an_outline_costs_less_than_half_of_parsing() -> None:
    parsing, outlining = [], []
    for number in range(ROUNDS):  # alternating: whatever else the machine does is in both
        raw = conversation(100, number)  # read for the first time: what is known costs less
        parsing.append(timeit.timeit(lambda raw=raw: parse(raw), number=1))
        document = parse(raw).document
        outlining.append(timeit.timeit(lambda known=document: outline(known), number=1))

    assert min(outlining) < min(parsing) / 2
