"""What the SDK drivers are told to do, as plain data: a call, its parameters, what goes wrong."""

import base64
import struct
import zlib
from dataclasses import asdict, dataclass, field
from typing import Any

HAIKU = "claude-haiku-4-5"
OPUS = "claude-opus-4-6"


@dataclass(frozen=True)
class Scenario:
    """One thing a program does with an SDK."""

    name: str
    call: str
    params: dict[str, Any]
    simulate: str = ""
    """The simulator's controls."""
    retries: int = 2
    """As in the SDK's `max_retries`."""
    timeout: float | None = None
    headers: dict[str, str] = field(default_factory=dict)
    node: bool = True
    """Whether the TypeScript driver has it, too."""
    wants: str = "result"
    """`result`, `error`, or `either` where it depends on the SDK."""
    attempts: int = 1
    """Of each request in it."""
    node_attempts: int | None = None
    """Where the TypeScript SDK makes another number."""

    def requests(self, *, node: bool = False) -> int:
        """How many the API gets."""
        attempts = self.node_attempts if node else None
        return (attempts or self.attempts) * (2 if self.call in ("tools", "twice") else 1)

    def plan(self) -> dict[str, Any]:
        return asdict(self)


def ask(content: Any = "How high is the tide at noon?", **more: Any) -> dict[str, Any]:
    return {
        "model": HAIKU,
        "max_tokens": 2000,
        "messages": [{"role": "user", "content": content}],
        **more,
    }


def _png() -> str:
    """A picture of one pixel, in base64."""

    def part(kind: bytes, data: bytes) -> bytes:
        body = kind + data
        return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))

    header = part(b"IHDR", struct.pack(">IIBBBBB", 1, 1, 8, 2, 0, 0, 0))
    pixel = part(b"IDAT", zlib.compress(b"\x00\x10\x60\xa0"))
    return base64.b64encode(b"\x89PNG\r\n\x1a\n" + header + pixel + part(b"IEND", b"")).decode()


LOOK: dict[str, Any] = {
    "name": "look_up_tide",
    "description": "Height of the tide at a place, in metres",
    "input_schema": {
        "type": "object",
        "properties": {
            "place": {"const": 'Saint-Malo, "the gate" é 潮 \N{WATER WAVE}'},
            "hours": {"type": "array", "items": {"type": "integer"}},
        },
        "required": ["place", "hours"],
    },
}
SEARCH: dict[str, Any] = {"type": "web_search_20250305", "name": "web_search"}
PICTURE = {"type": "base64", "media_type": "image/png", "data": _png()}
LINK = {"type": "url", "url": "https://example.com/tide.png"}
THINK = {"type": "enabled", "budget_tokens": 1024}
GIVE_UP: dict[str, Any] = {"retries": 0, "timeout": 2}
RETRIED: dict[str, Any] = {"attempts": 3, "node_attempts": 1}
UNHEARD_OF = {"type": "tool", "name": "unheard_of"}
QUESTION = {"type": "text", "text": "What does it show?"}
LONG_SYSTEM = [
    {"type": "text", "text": "You know the sea. " * 40, "cache_control": {"type": "ephemeral"}},
    {"type": "text", "text": "Be brief."},
]
WORDS = 'Zeilen\r\n\tund "Anführung" \\ / \u2028 \u0000 潮汐 \N{WATER WAVE} é e\u0301'


def image(source: dict[str, Any]) -> list[Any]:
    return [{"type": "image", "source": source}, QUESTION]


ANSWERED = [
    Scenario("create", "create", ask()),
    Scenario("create-unicode", "create", ask(WORDS)),
    Scenario("create-raw", "raw", ask(), node=False),
    Scenario("create-length", "create", ask(), "framing=length"),
    Scenario("create-gzip", "create", ask(), "gzip=1"),
    Scenario("create-large", "create", ask("tide " * 60_000, max_tokens=8000), "tokens=4000"),
    Scenario("create-stopped", "create", ask(stop_sequences=["tide"])),
    Scenario("create-short", "create", ask(max_tokens=3)),
    Scenario("create-metadata", "create", ask(metadata={"user_id": "u-1"})),
    Scenario("create-refusal", "create", ask(), "answer=refusal"),
    Scenario("system", "create", ask(system="Answer as a pilot would.")),
    Scenario("system-cached", "twice", ask(system=LONG_SYSTEM)),
    Scenario("image-base64", "create", ask(image(PICTURE))),
    Scenario("image-url", "stream", ask(image(LINK))),
    Scenario("thinking", "create", ask(model=OPUS, thinking=THINK)),
    Scenario("thinking-adaptive", "create", ask(model=OPUS, thinking={"type": "adaptive"})),
    Scenario("thinking-stream", "stream", ask(model=OPUS, thinking=THINK)),
    Scenario("thinking-redacted", "stream", ask(), "answer=redacted_thinking"),
    Scenario("tools", "tools", ask(tools=[LOOK], tool_choice={"type": "any"})),
    Scenario("tools-stream", "stream", ask(tools=[LOOK], tool_choice={"type": "any"})),
    Scenario("tools-server", "stream", ask(tools=[SEARCH])),
    Scenario("stream", "stream", ask()),
    Scenario("stream-unicode", "stream", ask(WORDS)),
    Scenario("stream-text", "text", ask()),
    Scenario("stream-raw-events", "events", ask()),
    Scenario("stream-long", "text", ask(max_tokens=20_000), "events=2000"),
    Scenario("stream-one-byte", "stream", ask(), "chunk=1"),
    Scenario("stream-one-write", "stream", ask(), "chunk=0"),
    Scenario("stream-gzip", "stream", ask(), "gzip=1, chunk=7"),
    # one of the TypeScript SDKs takes a CR LF for the end of an event
    Scenario("stream-crlf", "stream", ask(), "crlf=1, chunk=5", wants="either"),
    Scenario("stream-unknown-event", "stream", ask(), "unknown_event=1"),
    Scenario("stream-refusal", "stream", ask(), "answer=refusal"),
    Scenario("stream-context-window", "stream", ask(), "answer=context_window"),
    Scenario("stream-old-usage", "stream", ask(), "usage=output_only"),
    Scenario("stream-late-usage", "stream", ask(), "usage=zero_start"),
    Scenario("beta", "beta", ask()),
    Scenario("beta-stream", "beta_stream", ask(), "answer=compaction"),
    Scenario("count", "count", {"model": HAIKU, "messages": ask()["messages"]}),
    Scenario("models", "models", {"limit": 100}),
    Scenario("models-paged", "models", {"limit": 8}, attempts=3),
    Scenario("model", "model", {"model_id": HAIKU}),
]
"""Calls that come to a good end."""

REFUSED = [
    Scenario("error-400", "create", ask(), "error=400", wants="error"),
    Scenario("error-400-real", "create", ask(tool_choice=UNHEARD_OF), wants="error"),
    Scenario("error-400-stream", "stream", ask(), "error=400", wants="error"),
    Scenario("error-401", "create", ask(), "error=401", wants="error"),
    Scenario("error-402", "create", ask(), "error=402", wants="error"),
    Scenario("error-403", "create", ask(), "error=403", wants="error"),
    Scenario("error-404-real", "create", ask(model="claude-unheard-of"), wants="error"),
    Scenario("error-404-stream", "stream", ask(model="claude-unheard-of"), wants="error"),
    Scenario("error-404-model", "model", {"model_id": "claude-unheard-of"}, wants="error"),
    Scenario("error-408", "create", ask(), "error=408", wants="error", attempts=3),
    Scenario("error-409", "create", ask(), "error=409", wants="error", attempts=3),
    Scenario("error-413", "create", ask(), "error=413", wants="error"),
    Scenario("error-429", "create", ask(), "error=429", wants="error", attempts=3),
    Scenario("error-429-stream", "stream", ask(), "error=429", wants="error", attempts=3),
    Scenario("error-429-final", "create", ask(), "error=429,should_retry=false", wants="error"),
    Scenario("error-500", "create", ask(), "error=500", wants="error", attempts=3),
    Scenario("error-500-final", "stream", ask(), "error=500,should_retry=false", wants="error"),
    Scenario("error-502-html", "create", ask(), "error=502", wants="error", attempts=3),
    Scenario("error-503", "create", ask(), "error=503", wants="error", attempts=3),
    Scenario("error-504", "create", ask(), "error=504", wants="error", attempts=3),
    Scenario("error-529", "create", ask(), "error=529", wants="error", attempts=3),
    Scenario("error-529-final", "create", ask(), "error=529,should_retry=false", wants="error"),
    Scenario(
        "error-403-again",
        "create",
        ask(),
        "error=403,should_retry=true",
        wants="error",
        retries=1,
        attempts=2,
    ),
    Scenario("error-once", "create", ask(), "error=529,times=1", attempts=2),
    Scenario("error-once-stream", "stream", ask(), "error=500,times=1", attempts=2),
    Scenario("error-no-retries", "create", ask(), "error=529", wants="error", retries=0),
    Scenario(
        "error-count",
        "count",
        {"model": "claude-unheard-of", "messages": ask()["messages"]},
        wants="error",
    ),
]
"""Calls that the API refuses, and how often an SDK asks."""

BROKEN = [
    Scenario("event-error", "stream", ask(), "error_event=5", wants="error"),
    Scenario("event-error-first", "stream", ask(), "error_event=0", wants="error"),
    Scenario("event-error-raw", "events", ask(), "error_event=5", wants="error"),
    Scenario("cut", "stream", ask(), "cut=5", wants="error"),
    Scenario("cut-raw", "events", ask(), "cut=5", wants="error"),
    Scenario("cut-at-once", "stream", ask(), "cut=0", wants="error"),
    Scenario("cut-gzip", "stream", ask(), "cut=5, gzip=1", wants="error"),
    Scenario("cut-json", "create", ask(), "cut=1", wants="error", **RETRIED),
    Scenario("cut-json-length", "create", ask(), "cut=1,framing=length", wants="error", **RETRIED),
    # the Python SDK takes these for whole
    Scenario("eof", "stream", ask(), "eof=5", wants="either"),
    Scenario("eof-raw", "events", ask(), "eof=5", wants="either"),
    Scenario("eof-at-once", "stream", ask(), "eof=0", wants="error"),
    Scenario("silent", "create", ask(), "delay=60000", wants="error", **GIVE_UP),
    # the TypeScript SDK waits for ever once it has the head
    Scenario("silent-json", "create", ask(), "stall=1", wants="error", **GIVE_UP, node=False),
    Scenario("silent-stream", "text", ask(), "stall=5", wants="error", **GIVE_UP, node=False),
    Scenario("leave", "leave", ask(), "stall=6"),
]
"""Answers that do not come to a good end."""

UNLIKE = [
    Scenario("hang-up", "create", ask(), "error=disconnect", retries=1),
    Scenario("reset", "stream", ask(), "cut=5, reset=1, pace_ms=5"),
]
"""Failures of a connection, which has two ends fewer without a gateway."""

SAME = [*ANSWERED, *REFUSED, *BROKEN]
"""What has to be the same with a gateway between as without."""
