"""What admission costs: microseconds of CPU a request, policy by policy, chains side by side.

Run it from the project's folder: `python tests/bench/admission_cost.py [--rounds N]`. Each row
is a request; each column a chain, one policy longer than the one before; rounds alternate
between chains, and the fastest of each counts. Reading the body is a part of it, as in the
gateway; with `redact`, the text has been seen before, as all but the last turn of a
conversation has.
"""

import argparse
import asyncio
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from redacting import rules_dir
from tidegate.clock import SystemClock
from tidegate.exchange import ANONYMOUS, Credential, Exchange
from tidegate.keys import digest, new_key
from tidegate.pipeline.admission import Admission, admit, read_request
from tidegate.pipeline.generation import Generation, open_generation
from tidegate.registry import resolve
from tidegate.testing import make_exchange
from tidegate.wire.routes import Kind

KEY = new_key()
POLICIES = {
    "identify": f'keys = [{{ id = "ci", team = "search", sha256 = "{digest(KEY)}" }}]',
    "models": 'allow = ["claude-sonnet-4-6", "claude-haiku-*"]\ndeny = ["family:opus"]\n'
    'aliases = { fast = "claude-haiku-4-5" }',
    "limits": 'max_tokens = 8192\neffort = "high"\nmodels."claude-haiku-*".max_tokens = 4096',
    "features": 'betas.deny = ["mcp-client-*"]\ntools.deny = ["web_fetch", "code_execution"]\n'
    'fields.deny = ["mcp_servers", "container", "unknown"]\nurl_hosts.allow = ["*.corp.example"]',
    "redact": f'cache_dir = "{rules_dir()}"',
}
CALLS = 200


def chain(names: list[str]) -> str:
    tables = (f'[[plugins]]\nuse = "{name}"\n[plugins.config]\n{POLICIES[name]}' for name in names)
    return "\n".join(tables)


def conversation(turns: int, text: int) -> bytes:
    messages: list[Any] = []
    for turn in range(turns):
        use = {"type": "tool_use", "id": f"t{turn}", "name": "read", "input": {"path": f"f{turn}"}}
        result = {
            "type": "tool_result",
            "tool_use_id": f"t{turn}",
            "content": "lorem ipsum " * text,
        }
        messages += [
            {"role": "user", "content": [{"type": "text", "text": f"turn {turn}"}]},
            {"role": "assistant", "content": [{"type": "text", "text": "so"}, use]},
            {"role": "user", "content": [result]},
        ]
    tools = [{"name": f"tool_{n}", "input_schema": {"type": "object"}} for n in range(30)]
    document = {"model": "claude-sonnet-4-6", "max_tokens": 4096, "messages": messages}
    return json.dumps(document | ({"tools": tools} if turns > 1 else {})).encode()


REQUESTS = {
    "1 turn, {size}": (Kind.MESSAGES, conversation(1, 60)),
    "20 turns and 30 tools, {size}": (Kind.MESSAGES, conversation(20, 400)),
    "200 turns and 30 tools, {size}": (Kind.MESSAGES, conversation(200, 400)),
}


async def once(generation: Generation, exchange: Exchange, kind: Kind, raw: bytes) -> float:
    """Return the microseconds of CPU that one admission takes, the fastest of some."""
    credential = Credential(KEY, "x-api-key")
    fastest = float("inf")
    for _ in range(max(5, CALLS * 1000 // max(len(raw), 1000))):
        began = time.process_time_ns()
        admission = Admission(read_request(raw, kind, ANONYMOUS, credential))
        await admit(generation.chain, exchange, admission)
        fastest = min(fastest, time.process_time_ns() - began)
        if admission.refusal is not None:
            raise SystemExit(f"refused: {admission.refusal.message}")
    return fastest / 1000


async def measure(rounds: int) -> None:
    names = list(POLICIES)
    columns = ["nothing", *names]
    with tempfile.TemporaryDirectory() as scratch:
        generations = []
        for count in range(len(names) + 1):
            flags = {"journal": {"dir": scratch}}
            config, chosen = resolve(chain(names[:count]), flags)
            clock = SystemClock()
            generations.append(await open_generation(config, chosen, clock=clock, worker=0))
        print(f"{'µs of CPU, with':<40}" + "".join(f"{name:>12}" for name in columns))
        for label, (kind, raw) in REQUESTS.items():
            found = [float("inf")] * len(generations)
            for _ in range(rounds):
                for at, generation in enumerate(generations):
                    found[at] = min(
                        found[at], await once(generation, make_exchange(kind), kind, raw)
                    )
            size = f"{len(raw) / 1000:.0f} KB"
            print(f"{label.format(size=size):<40}" + "".join(f"{took:>12.0f}" for took in found))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    asyncio.run(measure(parser.parse_args().rounds))


if __name__ == "__main__":
    main()
