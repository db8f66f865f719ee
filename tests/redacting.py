"""What the tests of the redact plugin share: one engine, fake secrets, bodies."""

import functools
import json
import os
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tidegate.clock import SystemClock
from tidegate.exchange import ANONYMOUS, Client, Exchange, Principal, Request, Trace
from tidegate.plugin import Admit, Decision, Host
from tidegate.wire.body import parse, splice
from tidegate.wire.messages import View
from tidegate.wire.routes import resolve
from tidegate_plugins.redact import Redact, cache_dir, ruleset, scanner
from tidegate_plugins.redact.config import Pii, RedactConfig
from tidegate_plugins.redact.engine import Engine, Kingfisher, open_kingfisher
from tidegate_plugins.redact.examples import expand
from tidegate_plugins.redact.together import Together
from tidegate_plugins.redact.verdict import Rulebook

KEY = b"a key that only the tests use, 1"
ALL_PII: tuple[Pii, ...] = ("card", "iban", "ssn", "email", "phone")
SHARED = Path(__file__).resolve().parents[2] / "shared"


def rules_dir() -> Path:
    """Where compiled rules stay between test runs: where the gateway keeps them. It takes seconds."""
    return cache_dir(RedactConfig(), Path(tempfile.gettempdir()))


@functools.cache
def engine(*pii: Pii) -> Kingfisher:
    return open_kingfisher(ruleset.load(pii), rules_dir())


def policy(config: RedactConfig | None = None, other: Engine | None = None) -> Redact:
    """The plugin as opened, but with the engine that all tests share."""
    config = config or RedactConfig()
    rules = ruleset.load(config.pii)
    book = Rulebook(config, KEY, rules.groups(), "rules-test.key-test")
    found = scanner(other or engine(*config.pii), KEY, config.memo_entries)
    together = Together(found.scan_parts)
    return Redact(config, found, book, ThreadPoolExecutor(1), SystemClock(), together)


def host(state_dir: Path) -> Host:
    return Host(name="redact", clock=SystemClock(), spawn=lambda *_: None, state_dir=state_dir)


EXCHANGE = Exchange(
    id="x",
    at=0.0,
    route=resolve("POST", "/v1/messages"),
    peer="127.0.0.1",
    headers={},
    client=Client(),
    trace=Trace("0" * 32, "0" * 16),
)


def request(raw: bytes, principal: Principal = ANONYMOUS) -> Request:
    return Request(body=parse(raw), view=View(), principal=principal, credential=None)


def conversation(*contents: Any, **fields: Any) -> dict[str, Any]:
    """A document in which user and assistant take turns."""
    roles = ("user", "assistant")
    messages = [{"role": roles[i % 2], "content": c} for i, c in enumerate(contents)]
    return {"model": "claude-x", "max_tokens": 8, "messages": messages, **fields}


def dumps(document: Any) -> bytes:
    return json.dumps(document).encode()


async def decide(document: Any, config: RedactConfig | None = None, team: str = "none") -> Decision:
    raw = document if isinstance(document, bytes) else dumps(document)
    return await policy(config).admit(EXCHANGE, request(raw, Principal("p", team)))


async def redacted(document: Any, config: RedactConfig | None = None) -> Any:
    """The document as it leaves."""
    raw = document if isinstance(document, bytes) else dumps(document)
    decision = await decide(raw, config)
    assert isinstance(decision, Admit), decision
    return json.loads(splice(raw, decision.edits))


def secret(template: str, seed: object = 0) -> str:
    """A fake secret; templates are as in the rules' examples."""
    return expand(template, f"test {seed}").text


def github(seed: object = 0) -> str:
    return secret("ghp_{alnum:36}", seed)


def shared(name: str) -> Path:
    """A file of the shared material; tests that need it are skipped where it is not."""
    path = SHARED / name
    if not path.exists() and not os.environ.get("CI"):
        pytest.skip(f"needs {name} of the shared material beside the repository")
    return path
