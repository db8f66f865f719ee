"""How much is found of generated secrets, and that recorded traffic passes untouched."""

import base64
import gzip
import json
import subprocess
import sys
from collections import Counter

import pytest

from redacting import KEY, decide, engine, shared
from tidegate.plugin import Admit
from tidegate_plugins.redact.placeholder import digest, placeholder
from tidegate_plugins.redact.search import search

SEED = "5417"


def _cover(label: str, value: bytes) -> bytes:
    return placeholder(label, digest(KEY, value))


def _clean(text: str) -> str:
    data = text.encode()
    for found in reversed(search(data, b"", lambda window: engine().find(window, 5), _cover)):
        data = (
            data[: found.start]
            + _cover(found.label, data[found.start : found.end])
            + data[found.end :]
        )
    return data.decode()


def test_recall_on_generated_secrets() -> None:
    script = shared("secrets/generate_vectors.py")
    done = subprocess.run(
        [sys.executable, str(script), SEED], capture_output=True, text=True, check=True
    )
    all_of, found = Counter[str](), Counter[str]()
    for line in done.stdout.splitlines():
        row = json.loads(line)
        clean = _clean(row["text"])
        if not row["expect"]:
            assert clean == row["text"], row["rule"]
            continue
        kind = row["rule"].split(" / ")[0]
        all_of[kind] += 1
        found[kind] += not any(value in clean for value in row["secret"])
    assert found.total() / all_of.total() >= 0.99
    assert {kind for kind in all_of if found[kind] / all_of[kind] < 0.85} == set()


@pytest.mark.parametrize("name", ["llm-anthropic.jsonl.gz", "openllmetry.jsonl.gz"])
async def test_recorded_requests_hold_no_secrets(name: str) -> None:
    with gzip.open(shared(f"recordings/{name}"), "rt") as file:
        bodies = [base64.b64decode(json.loads(line)["request"]["body_b64"]) for line in file]
    for body in filter(None, bodies):
        decision = await decide(body)
        assert isinstance(decision, Admit)
        assert (decision.edits, decision.notes) == ((), ())
