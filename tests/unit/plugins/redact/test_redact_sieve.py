"""Strings looked at together: whatever is found alone is suspected in any company."""

import itertools

import pytest

from redacting import ALL_PII, engine
from tidegate_plugins.redact import ruleset
from tidegate_plugins.redact.engine import Finding
from tidegate_plugins.redact.examples import expand
from tidegate_plugins.redact.search import WINDOW, Look
from tidegate_plugins.redact.sieve import LARGEST, Asked, sifted

RULES = ruleset.load(ALL_PII)
EXAMPLES = [
    expand(text, f"{rule.name} {at}").text.encode()
    for rule in RULES.rules
    for at, text in enumerate(rule.match)
]
BAIT = (
    b"password = ",
    b'secret: "',
    b"-----BEGIN PRIVATE KEY-----\nMII",
    b"https://user:",
    b"plain",
)


def suspects(strings: list[Asked], looking: Look) -> list[Asked]:
    return [one for one, suspect in sifted(strings, looking) if suspect]


def look(data: bytes) -> list[Finding]:
    return engine(*ALL_PII).find(data, 10)


def asked(*strings: bytes, key: bytes = b"") -> list[Asked]:
    return [Asked(b"%d" % at, text, key) for at, text in enumerate(strings)]


@pytest.mark.parametrize("bait", BAIT)
def test_every_example_is_suspected_behind_the_beginning_of_another_secret(bait: bytes) -> None:
    mixed = asked(*itertools.chain.from_iterable((bait, text) for text in EXAMPLES))
    kept = {one.name for one in suspects(mixed, look)}
    missed = [one.data for one in mixed[1::2] if one.name not in kept]
    assert len(EXAMPLES) > 40
    assert [text for text in missed if look(text)] == []


def test_plain_words_are_no_suspects_and_cost_one_look() -> None:
    looks: list[bytes] = []

    def counted(data: bytes) -> list[Finding]:
        looks.append(data)
        return look(data)

    words = asked(*[b"nothing to see here, and nothing there %d" % n for n in range(100)])
    assert suspects(words, counted) == []
    assert len(looks) == 1


def test_a_key_plays_its_part() -> None:
    value = b"xK9mPq2vR8nL4tY7"
    assert suspects(asked(value, b"some other words"), look) == []
    [found] = suspects(asked(value, key=b"password") + asked(b"some other words"), look)
    assert (found.data, found.key) == (value, b"password")


def test_what_is_long_or_escaped_is_always_searched() -> None:
    long, escaped = b"word " * (LARGEST // 5 + 1), b"a \\u0070assword \\n"
    kept = suspects(asked(b"one short string", long, escaped, b"another one"), look)
    assert {one.data for one in kept} == {long, escaped}


def test_no_look_is_longer_than_a_window() -> None:
    sizes: list[int] = []

    def measured(data: bytes) -> list[Finding]:
        sizes.append(len(data))
        return []

    suspects(asked(*[b"w" * 3000] * 100), measured)
    assert max(sizes) <= WINDOW
    assert sum(sizes) >= 300_000


def test_every_string_comes_out_once() -> None:
    strings = asked(
        *[b"w" * size for size in (0, 5, 20_000, 70_000, 15_000, 15_000, 15_000, 15_000, 9)]
    )
    assert sorted(one.name for one, _ in sifted(strings, look)) == [one.name for one in strings]
    assert list(sifted([], look)) == []
