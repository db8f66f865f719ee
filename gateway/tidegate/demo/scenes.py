"""The scenes: what goes right in a day, and what goes wrong in a week."""

from collections.abc import Awaitable, Callable
from dataclasses import replace

from tidegate.demo.caller import Caller, ask, tool_use_in

Scene = Callable[[Caller], Awaitable[None]]

HAIKU = "claude-haiku-5-5"
SONNET = "claude-sonnet-4-6"
OPUS = "claude-opus-5-5"

_HANDBOOK = (
    "You answer for the harbour office. " + "The gate opens two hours before high tide. " * 60
)
_QUESTIONS = (
    "When is the next high tide?",
    "Which berths are free tonight?",
    "Summarize the log of the last watch.",
    "What does the flag with the blue square mean?",
)
_TOOL = {
    "name": "tide_table",
    "description": "The times of high and low water at a place.",
    "input_schema": {"type": "object", "properties": {"place": {"type": "string"}}},
}


def _question(caller: Caller) -> str:
    return caller.chance.choice(_QUESTIONS)


async def question(caller: Caller) -> None:
    """A plain JSON answer."""
    simulate = f"delay_ms={caller.chance.randint(20, 150)}, tokens=60"
    await caller.post(caller.people.search, ask(HAIKU, _question(caller)), simulate=simulate)


async def stream(caller: Caller) -> None:
    """A streamed answer, passed on as it comes."""
    document = ask(SONNET, _question(caller), stream=True)
    events = caller.chance.randint(15, 50)
    await caller.post(caller.people.web, document, simulate=f"pace_ms=15, events={events}")


async def tools(caller: Caller) -> None:
    """The model asks for a tool, gets its result, and goes on."""
    document = ask(SONNET, "Use tide_table for Husum.", tools=[_TOOL])
    use = tool_use_in(await caller.post(caller.people.web, document))
    if use is None:
        return
    result = {"type": "tool_result", "tool_use_id": use["id"], "content": "high 04:12, low 10:31"}
    document["messages"] += [
        {"role": "assistant", "content": [use]},
        {"role": "user", "content": [result]},
    ]
    await caller.post(caller.people.web, document | {"stream": True}, simulate="pace_ms=10")


async def thinking(caller: Caller) -> None:
    """A model that thinks first; its signature must come back untouched."""
    document = ask(OPUS, _question(caller), stream=True, thinking={"type": "adaptive"})
    await caller.post(caller.people.research, document, simulate="pace_ms=20, tokens=80")


async def cached(caller: Caller) -> None:
    """Two questions about a long system prompt: the second reads it from the provider's cache."""
    system = [{"type": "text", "text": _HANDBOOK, "cache_control": {"type": "ephemeral"}}]
    for _ in range(2):
        document = ask(HAIKU, _question(caller), system=system, stream=True)
        await caller.post(caller.people.data, document, simulate="pace_ms=5, tokens=40")


async def count_tokens(caller: Caller) -> None:
    """What would it cost?"""
    document = ask(SONNET, _HANDBOOK)
    del document["max_tokens"]
    await caller.post(caller.people.search, document, path="/v1/messages/count_tokens")


async def models(caller: Caller) -> None:
    """Which models are there?"""
    await caller.get(caller.people.web, "/v1/models?limit=1000")


async def forbidden_model(caller: Caller) -> None:
    """A model that team web may not use: 404, and nothing leaves."""
    await caller.post(caller.people.web, ask(OPUS, _question(caller)))


async def too_much(caller: Caller) -> None:
    """More output than team search may ask for: 400, and nothing leaves."""
    await caller.post(caller.people.search, ask(HAIKU, _question(caller), max_tokens=60_000))


async def clamped(caller: Caller) -> None:
    """The same by team data, whose requests are lowered to the cap instead."""
    document = ask(HAIKU, _question(caller), max_tokens=60_000)
    await caller.post(caller.people.data, document, simulate="tokens=30")


async def secret(caller: Caller) -> None:
    """Credentials in a prompt: a placeholder leaves in place of each."""
    text = f"Why does this fail?\nAWS_ACCESS_KEY_ID={caller.secret()}\ngit token: {caller.token()}"
    await caller.post(caller.people.search, ask(HAIKU, text), simulate="tokens=30")


async def stranger(caller: Caller) -> None:
    """A key that the gateway does not know: 401."""
    who = replace(caller.people.search, key=caller.people.search.key[:-2])
    await caller.post(who, ask(HAIKU, _question(caller)))


async def overloaded(caller: Caller) -> None:
    """The upstream is overloaded: its 529 is passed on as it is."""
    document = ask(SONNET, _question(caller), stream=True)
    await caller.post(caller.people.research, document, simulate="error=529")


async def leaving(caller: Caller) -> None:
    """A client that leaves in the middle of a stream, which ends the upstream's work."""
    document = ask(SONNET, _question(caller), stream=True)
    await caller.post(caller.people.web, document, simulate="pace_ms=25, events=80", leave_after=5)


async def cut(caller: Caller) -> None:
    """The upstream breaks off: the client sees a cut, and no clean end."""
    document = ask(SONNET, _question(caller), stream=True)
    await caller.post(caller.people.research, document, simulate="pace_ms=10, cut=6")


async def error_event(caller: Caller) -> None:
    """The upstream ends a stream with an error in it."""
    document = ask(SONNET, _question(caller), stream=True)
    await caller.post(caller.people.data, document, simulate="pace_ms=10, error_event=6")


SCENES: tuple[tuple[Scene, int], ...] = (
    (question, 14),
    (stream, 20),
    (forbidden_model, 3),
    (secret, 4),
    (leaving, 3),
    (overloaded, 2),
    (too_much, 2),
    (cached, 12),
    (tools, 8),
    (thinking, 8),
    (count_tokens, 5),
    (clamped, 3),
    (models, 3),
    (stranger, 1),
    (cut, 1),
    (error_event, 1),
)
"""With their weights; every one is played once at first, in this order."""
