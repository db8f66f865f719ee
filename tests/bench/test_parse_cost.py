"""What it costs to be sure that no key stands twice, beside what it costs to be parsed."""

import json
import timeit
from pathlib import Path

import msgspec

from tidegate.wire import body
from tidegate.wire.body import parse

ROUNDS = 9


def conversation_about_code() -> bytes:
    """Text full of what looks like keys, as most of what agents send is."""
    code = Path(body.__file__).read_text() + 'found = {"a": 1, "\\\\": "b", \'"\': 2}\n' * 5
    turns = [{"role": "user", "content": [{"type": "text", "text": code}]} for _ in range(20)]
    return json.dumps({"model": "m", "max_tokens": 9, "messages": turns}).encode()


def test_source_code_is_parsed_as_fast_as_other_text() -> None:
    raw = conversation_about_code()
    parsing, decoding = [], []
    for _ in range(ROUNDS):  # alternating: whatever else the machine does is in both
        parsing.append(timeit.timeit(lambda: parse(raw), number=5))
        decoding.append(timeit.timeit(lambda: msgspec.json.decode(raw), number=5))

    assert min(parsing) < 20 * min(decoding)
