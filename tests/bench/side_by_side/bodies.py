"""Request bodies in the shape of agents' conversations, the same ones on every machine.

Each text begins with a mark that the load generator replaces by a number, so that it can send
texts nobody has seen before. `max_tokens` tells the upstream how many deltas to stream.
"""

import json
import random
from pathlib import Path
from typing import Any

MARK = "@" * 12
SIZES = {"1k": 1024, "100k": 100 * 1024, "1m": 1024 * 1024, "10m": 10 * 1024 * 1024}
SHORT_STREAM = 20
FULL_STREAM = 1_000
LONG_STREAM = 10_000
TURNS = (300, 1500, 4000, 9000)
MIXED_FROM, MIXED_TO = 20 * 1024, 1024 * 1024
MIXED_TURN = (12_000, 20_000, 40_000, 60_000)
"""What the user's side of a mixed conversation adds with a turn: mostly what tools found."""
PROSE = (
    "the request of a client goes through this gateway to an upstream and back with its usage "
    "recorded while tokens are counted and errors kept for later review by an operator who "
    'wants "facts" not guesses\nfile path src/main.py line 42 returns None instead of dict'
)
WORDS = PROSE.split(" ")
CACHED = {"type": "ephemeral"}

Json = dict[str, Any]


def write(folder: Path) -> None:
    """Write every body that a case asks for: `SIZE.json`, `SIZE_sN.json` for N deltas, `mixed`."""
    for name, size in SIZES.items():
        _put(folder / f"{name}.json", conversation(size))
    for deltas in (SHORT_STREAM, FULL_STREAM, LONG_STREAM):
        body = conversation(SIZES["1k"]) | {"max_tokens": deltas, "stream": True}
        _put(folder / f"1k_s{deltas}.json", body)
    talk, cuts = mixed()
    (folder / "mixed.json").write_text(talk)
    (folder / "mixed.cuts").write_text("".join(f"{cut}\n" for cut in cuts))


def _put(path: Path, body: Json) -> None:
    path.write_text(_dumps(body))


def _dumps(body: Any) -> str:
    return json.dumps(body, separators=(",", ":"))


def conversation(size: int) -> Json:
    """Return a request of about `size` bytes: tools and tool calls if there is room for them."""
    chance = random.Random(7)
    body = _head(chance, tools=size >= 20_000)
    body["messages"] = messages = []
    left = size - len(_dumps(body)) - 60
    while left > 20:
        if size < 20_000:
            turn: Json = {"role": "user", "content": text(chance, left)}
        else:
            turn = _turn(chance, len(messages), min(left, chance.choice(TURNS)))
        messages.append(turn)
        left -= len(_dumps(turn)) + 1
    return body


def mixed() -> tuple[str, list[int]]:
    """Return a conversation that grows from 20 KB to 1 MB, and where its turns can be cut.

    What stands before a cut is a body whose last text is that of a user; `cache_control` on
    that block and the body's end are for the load generator to add, as they move on with
    each turn. Tools and system prompt, which come first and stay, have one of their own.
    """
    chance = random.Random(11)
    body = _head(chance, tools=True)
    body["system"] = [{"type": "text", "text": body["system"], "cache_control": CACHED}]
    body["tools"][-1]["cache_control"] = CACHED
    del body["max_tokens"]
    parts, cuts, end = [_dumps(body | {"messages": []})[:-2]], [], "}]}"
    length = len(parts[0])
    while length < MIXED_TO - 2 * max(MIXED_TURN):
        number = 2 * len(cuts)
        size = chance.choice(MIXED_TURN) if cuts else MIXED_FROM - length
        said = [_said(number, chance, size // 8)] if cuts else []
        heard = {"role": "user", "content": [{"type": "text", "text": text(chance, size)}]}
        piece = ",".join(_dumps(message) for message in (*said, heard))
        parts.append(("," if cuts else "") + piece)
        length += len(parts[-1])
        cuts.append(length - len(end))
    return "".join(parts), cuts


def _head(chance: random.Random, *, tools: bool) -> Json:
    body: Json = {
        "model": "claude-sonnet-4-6",
        "max_tokens": 100,
        "system": "You are a careful assistant. " + text(chance, 150),
    }
    if tools:
        body["tools"] = [_tool(chance, number) for number in range(12)]
    return body


def _said(number: int, chance: random.Random, length: int) -> Json:
    return {"role": "assistant", "content": [{"type": "text", "text": text(chance, length)}]}


def text(chance: random.Random, length: int) -> str:
    """Return prose of `length` characters, which begins with the mark."""
    words = [MARK]
    there = len(MARK)
    while there < length:
        words.append(chance.choice(WORDS))
        there += len(words[-1]) + 1
    return " ".join(words)[: max(length, len(MARK))]


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
