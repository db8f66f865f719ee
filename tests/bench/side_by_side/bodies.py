"""Request bodies in the shape of agents' conversations, the same ones on every machine.

Each text begins with a mark that the load generator replaces by a number, so that it can send
texts nobody has seen before. `max_tokens` tells the upstream how many deltas to stream.
"""

import json
import random
from pathlib import Path
from typing import Any

MARK = "@" * 12
SIZES = {"1k": 1024, "100k": 100 * 1024, "1m": 1024 * 1024}
SHORT_STREAM = 20
LONG_STREAM = 10_000
TURNS = (300, 1500, 4000, 9000)
PROSE = (
    "the request of a client goes through this gateway to an upstream and back with its usage "
    "recorded while tokens are counted and errors kept for later review by an operator who "
    'wants "facts" not guesses\nfile path src/main.py line 42 returns None instead of dict'
)
WORDS = PROSE.split(" ")

Json = dict[str, Any]


def write(folder: Path) -> None:
    """Write every body that a case asks for: `SIZE.json`, and `SIZE_sN.json` for N deltas."""
    for name, size in SIZES.items():
        _put(folder / f"{name}.json", conversation(size))
    for deltas in (SHORT_STREAM, LONG_STREAM):
        body = conversation(SIZES["1k"]) | {"max_tokens": deltas, "stream": True}
        _put(folder / f"1k_s{deltas}.json", body)


def _put(path: Path, body: Json) -> None:
    path.write_text(_dumps(body))


def _dumps(body: Json) -> str:
    return json.dumps(body, separators=(",", ":"))


def conversation(size: int) -> Json:
    """Return a request of about `size` bytes: tools and tool calls if there is room for them."""
    chance = random.Random(7)
    body: Json = {
        "model": "claude-sonnet-4-6",
        "max_tokens": 100,
        "system": "You are a careful assistant. " + text(chance, 150),
    }
    small = size < 20_000
    if not small:
        body["tools"] = [_tool(chance, number) for number in range(12)]
    body["messages"] = messages = []
    while (left := size - len(_dumps(body)) - 60) > 20:
        if small:
            messages.append({"role": "user", "content": text(chance, left)})
        else:
            messages.append(_turn(chance, len(messages), min(left, chance.choice(TURNS))))
    return body


def text(chance: random.Random, length: int) -> str:
    """Return prose of `length` characters, which begins with the mark."""
    prose = MARK
    while len(prose) < length:
        prose += " " + chance.choice(WORDS)
    return prose[: max(length, len(MARK))]


def _tool(chance: random.Random, number: int) -> Json:
    properties = {
        f"p{each}": {"type": "string", "description": text(chance, 60)} for each in range(5)
    }
    schema = {"type": "object", "properties": properties, "required": ["p0"]}
    return {"name": f"tool_{number}", "description": text(chance, 400), "input_schema": schema}


def _turn(chance: random.Random, number: int, length: int) -> Json:
    if number % 2:
        said = {"type": "text", "text": text(chance, length // 4)}
        call = {"type": "tool_use", "id": _call(number), "name": "tool_1"}
        call["input"] = {"p0": text(chance, length // 4)}
        return {"role": "assistant", "content": [said, call]}
    if number == 0:
        return {"role": "user", "content": [{"type": "text", "text": text(chance, length)}]}
    result = {"type": "tool_result", "tool_use_id": _call(number - 1)}
    return {"role": "user", "content": [result | {"content": text(chance, length)}]}


def _call(number: int) -> str:
    return f"toolu_{number:024d}"
