"""Small bodies at once: decided as each would be alone, with fewer calls of the engine."""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass, field

import pytest

from redacting import EXCHANGE, conversation, dumps, engine, github, policy, request
from tidegate.clock import SystemClock
from tidegate.exchange import ANONYMOUS
from tidegate.plugin import Admit, Decision
from tidegate.wire.transcript import Transcript
from tidegate_plugins.redact import Redact
from tidegate_plugins.redact.config import RedactConfig
from tidegate_plugins.redact.engine import Engine, EngineTimeout, Finding
from tidegate_plugins.redact.scan import Deadline, Hit
from tidegate_plugins.redact.search import WINDOW
from tidegate_plugins.redact.sieve import LARGEST
from tidegate_plugins.redact.together import Together
from tidegate_plugins.redact.walk import Part, whole

MANY = 24
CLEAN = [f"look at src/module_{number}/handler_of_requests.py" for number in range(MANY)]


@dataclass
class Watched:
    """The engine, with how often it was called, and something on which it takes too long."""

    engine: Engine = field(default_factory=engine)
    slow: bytes = b"\x00"
    calls: int = 0

    def find(self, data: bytes, timeout_s: float) -> list[Finding]:
        self.calls += 1
        if self.slow in data:
            raise EngineTimeout
        return self.engine.find(data, timeout_s)


async def decided(policy: Redact, texts: list[str]) -> list[Decision]:
    bodies = [request(dumps(conversation(text))) for text in texts]
    return await asyncio.gather(*(policy.admit(EXCHANGE, body) for body in bodies))


def replaced(decision: Decision) -> list[str]:
    assert isinstance(decision, Admit)
    return [edit.pointer for edit in decision.edits]


async def test_clean_bodies_that_come_at_once_take_two_calls() -> None:
    """One for the first, of which nobody knows that others come, and one for the rest."""
    watched = Watched()
    one = policy(other=watched)
    decisions = await decided(one, CLEAN)
    assert [replaced(decision) for decision in decisions] == [[]] * MANY
    assert watched.calls == 2
    await decided(one, [f"and {text}" for text in CLEAN])  # now it is known
    assert watched.calls == 3


async def test_one_alone_does_not_wait_for_others() -> None:
    work = policy().admit(EXCHANGE, request(dumps(conversation("hello to you all out there"))))
    with pytest.raises(StopIteration):
        work.send(None)


async def test_what_is_found_is_replaced_where_it_stands_and_nowhere_else() -> None:
    texts = list(CLEAN)
    texts[7], texts[19] = f"use {github(7)} now", f"or {github(19)}"
    decisions = await decided(policy(), texts)
    found = [number for number, decision in enumerate(decisions) if replaced(decision)]
    assert found == [7, 19]


async def test_a_secret_that_is_cut_in_two_by_two_bodies_is_none() -> None:
    token = github()
    decisions = await decided(policy(), [*CLEAN, token[:20], token[20:]])
    assert [replaced(decision) for decision in decisions] == [[]] * (MANY + 2)


async def test_what_takes_too_long_is_refused_and_the_others_are_not() -> None:
    slow = policy(other=Watched(slow=b"takes forever"))
    decisions = await decided(slow, [*CLEAN, "lib/long_winded_names.py takes forever"])
    assert [type(decision).__name__ for decision in decisions] == ["Admit"] * MANY + ["Refuse"]


async def test_who_leaves_keeps_nobody_waiting() -> None:
    one = policy()
    async with asyncio.timeout(20):
        tasks = [asyncio.create_task(decided(one, [text])) for text in CLEAN]
        await asyncio.sleep(0)
        for task in tasks[::2]:
            task.cancel()
        left = await asyncio.gather(*tasks[1::2])
    assert [replaced(decision) for (decision,) in left] == [[]] * (MANY // 2)


async def test_answers_are_searched_with_the_rest() -> None:
    watched = Watched()
    looking = policy(RedactConfig(responses="detect"), watched)
    texts = [*CLEAN, f"it is {github()}"]
    documents = [{"content": [{"type": "text", "text": text}]} for text in texts]
    answers = [Transcript(document, bytes=100) for document in documents]
    notes = await asyncio.gather(
        *(looking.inspect(EXCHANGE, ANONYMOUS, answer) for answer in answers)
    )
    assert [[note.rule for note in found] for found in notes] == [[]] * MANY + [["github-token"]]
    assert watched.calls < MANY


async def test_a_window_full_is_searched_before_the_turn_ends() -> None:
    """The end of the turn must not take long, whatever has come in it."""
    searched: list[int] = []

    def search(parts: Iterable[Part], deadline: Deadline) -> list[Hit]:
        searched.append(len(list(parts)))
        return []

    together, part = Together(search), whole({})
    deadline = Deadline(SystemClock(), 1 << 62, 1.0)
    sizes = [LARGEST, *[LARGEST] * (WINDOW // LARGEST), LARGEST, LARGEST + 1]
    work = [together.clean([part], size, deadline) for size in sizes]
    tasks = [asyncio.create_task(each) for each in work]
    in_the_turn: list[int] = []
    asyncio.get_running_loop().call_soon(lambda: in_the_turn.extend(searched))
    clean = await asyncio.gather(*tasks)
    assert in_the_turn == [WINDOW // LARGEST]
    assert searched == [WINDOW // LARGEST, 1]
    assert clean == [
        False,
        *[True] * (WINDOW // LARGEST + 1),
        False,
    ]  # the first, and what is large
