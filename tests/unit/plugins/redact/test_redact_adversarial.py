"""Bodies made to be expensive: what they cost is counted, and the verdict is honest.

No test reads a real clock: time passes with each look at it, work is counted in calls.
"""

import random
import string
import tracemalloc
from dataclasses import replace
from typing import Any

import pytest

from redacting import (
    ALL_PII,
    EXCHANGE,
    conversation,
    dumps,
    engine,
    github,
    policy,
    redacted,
    request,
)
from tidegate.plugin import Admit, Decision, Note, Refuse
from tidegate_plugins.redact import Redact, ruleset
from tidegate_plugins.redact.config import RedactConfig
from tidegate_plugins.redact.engine import Engine, EngineTimeout, Finding
from tidegate_plugins.redact.examples import expand
from tidegate_plugins.redact.locate import inside
from tidegate_plugins.redact.search import OVERLAP, WINDOW, dull
from tidegate_plugins.redact.unescape import unescape

TOKEN = github("adversary")
MIB = 2**20
MS = 1_000_000
LONG = RedactConfig(deadline_ms=3_600_000, window_timeout_ms=60_000)


class Counting:
    """An engine that counts what it is asked; without another it finds nothing."""

    def __init__(self, other: Engine | None = None) -> None:
        self.calls = self.largest = 0
        self._other = other

    def find(self, data: bytes, timeout_s: float) -> list[Finding]:
        self.calls += 1
        self.largest = max(self.largest, len(data))
        return self._other.find(data, timeout_s) if self._other else []


class Ticking:
    """A clock that goes on by so much at each look."""

    def __init__(self, tick_ms: float) -> None:
        self.looks = 0
        self._tick_ns = int(tick_ms * MS)

    def now(self) -> float:
        return 0.0

    def monotonic_ns(self) -> int:
        self.looks += 1
        return self.looks * self._tick_ns


def ticking(tick_ms: float, other: Engine, config: RedactConfig | None = None) -> Redact:
    return replace(policy(config or RedactConfig(), other), clock=Ticking(tick_ms))


async def ask(plugin: Redact, *contents: Any) -> Decision:
    return await plugin.admit(EXCHANGE, request(dumps(conversation(*contents))))


def is_late(decision: Decision) -> bool:
    return (
        isinstance(decision, Refuse)
        and (decision.status, decision.rule) == (503, "deadline")
        and decision.notes == (Note("deadline", "not_evaluated"),)
    )


# many strings


async def test_a_million_short_words_never_reach_the_engine() -> None:
    counting = Counting()
    decision = await ask(policy(LONG, counting), [f"s{i:06}" for i in range(10**6)])
    assert isinstance(decision, Admit)
    assert decision.notes == ()
    assert counting.calls == 0


async def test_a_secret_among_them_is_found_where_it_stands() -> None:
    words = [f"word {i}" for i in range(5000)]
    body = conversation([*words, TOKEN, {"password": "k" + TOKEN[6:17]}, *words])
    text = (await redacted(body, LONG))["messages"][0]["content"]
    assert text[:5000] == text[5002:] == words
    assert text[5000].startswith("[REDACTED:github-token:")
    assert text[5001]["password"].startswith("[REDACTED:secret:")


async def test_the_clock_is_looked_at_while_strings_are_passed() -> None:
    plugin = ticking(1000, Counting())
    assert is_late(await ask(plugin, ["word"] * 20_000))
    assert plugin.clock.looks <= 7


@pytest.mark.parametrize("memo", [0, 131_072])
async def test_and_while_strings_are_searched_or_remembered(memo: int) -> None:
    counting = Counting()
    plugin = ticking(100, counting, RedactConfig(memo_entries=memo))
    assert is_late(await ask(plugin, ["key: value"] * 2000))
    assert counting.calls <= 500


def test_what_is_passed_over_holds_nothing_that_a_rule_takes() -> None:
    chance = random.Random(20_262)
    letters = string.ascii_letters + string.digits + "_.,()!?-"
    found = []
    for i in range(3000):
        longest = 7 if i % 2 else 11
        words = ["".join(chance.choices(letters, k=chance.randint(1, longest))) for _ in range(4)]
        text = f"{chance.choice(['password', 'token', 'Bearer', 'is'])} {' '.join(words)}"[:64]
        if dull(text, named=bool(i % 2)):
            data = f'api_key="{text}"' if i % 2 else text
            found += engine(*ALL_PII).find(data.encode(), 60)
    assert found == []


def test_no_example_of_a_rule_is_passed_over() -> None:
    rules = ruleset.load(ALL_PII).rules
    examples = [expand(text, rule.name) for rule in rules for text in rule.match]
    assert [example for example in examples if dull(example.text, named=False)] == []


@pytest.mark.parametrize(
    "text", ["a" * 12, "a=b", "a@b.co", "1234 1234 1", "+49 30", '"a"', "a\\nb", "é", "x " * 33]
)
def test_what_could_hold_something_is_searched(text: str) -> None:
    assert not dull(text, named=False)


# one long string


async def test_one_long_string_is_searched_in_windows() -> None:
    counting = Counting(engine())
    text = "lorem ipsum " * (32 * MIB // 12)
    decision = await ask(policy(LONG, counting), f"{text} {TOKEN} {text[:100]}")
    assert isinstance(decision, Admit)
    assert len(decision.edits) == 1
    assert counting.largest <= WINDOW
    windows = 32 * MIB // (WINDOW - OVERLAP) + 1
    assert counting.calls <= 2 * windows + 4  # found, then nothing more is


@pytest.mark.parametrize("escape", ["\\u0041", "\\\\u0041x", "\\/", "\\nabcdefabcdef"])
async def test_escapes_of_escapes_end_in_time(escape: str) -> None:
    counting = Counting()
    plugin = ticking(100, counting)
    assert is_late(await ask(plugin, escape * (8 * MIB // len(escape))))
    assert counting.calls <= 50
    assert counting.largest <= WINDOW


async def test_a_secret_among_escapes_is_found_and_located() -> None:
    text = "\\u00e9" * 40_000 + "\x01" * 40_000
    written = text + "".join(f"\\u{ord(c):04x}" for c in TOKEN) + text
    out = (await redacted(conversation(written), LONG))["messages"][0]["content"]
    assert out[: len(text)] == out[-len(text) :] == text
    assert out[len(text) : -len(text)].startswith("[REDACTED:secret:")


def test_locating_costs_no_memory() -> None:
    raw = b'"' + rb"\u0001" * (MIB // 6) + b'x"'
    size = MIB // 6
    tracemalloc.start()
    try:
        (span,) = inside(raw, (1, len(raw) - 1), [(size, size + 1)])
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert raw[slice(*span)] == b"x"
    assert peak < 4 * MIB


def test_locating_piece_by_piece_says_the_same_as_at_once() -> None:
    chance = random.Random(7)
    units = ["a", "é", "\\n", "\\u00e9", "\\ud83d\\ude00", "\\ud800", "\\u2028", '\\"', "\\\\", "€"]
    raw = "".join(chance.choices(units, k=20_000)).encode()
    whole = unescape(raw)
    ends = sorted(chance.sample(range(len(whole.text)), 400))
    spans = list(zip(ends[::2], ends[1::2], strict=True))
    assert inside(raw, (0, len(raw)), spans) == [whole.written(*span) for span in spans]


def test_locating_ends_in_time() -> None:
    def late() -> None:
        raise EngineTimeout

    with pytest.raises(EngineTimeout):
        inside(b"abc", (0, 3), [(0, 1)], late)


async def test_many_secrets_end_in_time() -> None:
    plugin = ticking(10, engine())
    assert is_late(await ask(plugin, [f"{github(i)} x" for i in range(400)]))


# bait, depth, odd characters


BAIT = {
    "pem": "-----BEGIN RSA PRIVATE " + "KEY-----\n",
    "names": "password secret token api_key ",
    "url": "https://a:",
    "quotes": "password=\"'",
    "jwt": "eyJ" + "a" * 20 + ".",
}


@pytest.mark.parametrize("bait", BAIT)
async def test_bait_for_slow_rules_is_searched_or_refused_but_never_let_pass(bait: str) -> None:
    text = BAIT[bait] * (MIB // len(BAIT[bait]))
    counting = Counting(engine())
    decision = await ask(policy(RedactConfig(deadline_ms=1500), counting), text, "ok", TOKEN)
    assert is_late(decision) or (isinstance(decision, Admit) and decision.edits)
    assert counting.largest <= WINDOW


async def test_a_window_that_takes_too_long_ends_the_search() -> None:
    class Stuck(Counting):
        def find(self, data: bytes, timeout_s: float) -> list[Finding]:
            super().find(data, timeout_s)
            assert timeout_s <= 0.5
            raise EngineTimeout

    stuck = Stuck()
    assert is_late(await ask(policy(None, stuck), "x" * MIB))
    assert stuck.calls == 1


async def test_the_deepest_body_that_is_taken() -> None:
    value: Any = TOKEN
    for _ in range(190):
        value = [value]
    out = dumps(await redacted(conversation(value)))
    assert TOKEN.encode() not in out
    assert out.count(b"[REDACTED:github-token:") == 1


@pytest.mark.parametrize(
    "around",
    ["\0", "\0\0\0", "\ufeff", "\ufffe", "ÿþ", "þÿ", "\ud800", "\u2028", "\x1b[0m", "\u200b"],
)
async def test_odd_characters_hide_nothing(around: str) -> None:
    out = await redacted(conversation(f"{around}{TOKEN}{around}", "ok", f"{around} {TOKEN}"))
    assert TOKEN not in str(out)
    assert out["messages"][0]["content"].startswith(around)
