"""The same secret becomes the same text in every process, whatever came before."""

import json
import os
import subprocess
import sys
from pathlib import Path

from redacting import dumps, github, secret

CODE = """
import asyncio, json, sys
from redacting import redacted
print(json.dumps([asyncio.run(redacted(line)) for line in json.load(sys.stdin)]))
"""


def _run(documents: list[object], seed: str) -> list[object]:
    tests = Path(__file__).resolve().parents[1]
    done = subprocess.run(
        [sys.executable, "-c", CODE],
        input=json.dumps(documents),
        env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": str(tests)},
        capture_output=True,
        text=True,
        check=True,
    )
    found: list[object] = json.loads(done.stdout)
    return found


def test_processes_and_orders_agree() -> None:
    texts = [
        github(1),
        f"key {github(2)}\n{secret('AKIA{base32:16}')}",
        f"again {github(1)} and {github(2)}",
    ]
    documents = [{"model": "m", "messages": [{"role": "user", "content": text}]} for text in texts]
    there = _run(documents, "1")
    back = _run(documents[::-1], "2")
    assert there == back[::-1]
    assert dumps(there).count(b"[REDACTED:") == 5
    assert len(set(dumps(there).split(b"[REDACTED:"))) >= 4
