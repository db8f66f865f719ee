from typing import Any

import pytest

from tidegate.simulator import prompt
from tidegate.simulator.prompt import Prompt, PromptCache

MODEL = "claude-opus-5-5"


def document(*texts: str, ttl: dict[int, str] | None = None, **more: Any) -> dict[str, Any]:
    blocks: list[dict[str, Any]] = [{"type": "text", "text": text} for text in texts]
    for index, value in (ttl or {}).items():
        blocks[index]["cache_control"] = {"type": "ephemeral", "ttl": value}
    return {"messages": [{"role": "user", "content": blocks}], **more}


def total(found: Prompt) -> int:
    return found.fresh + found.read + found.write_5m + found.write_1h


def test_a_text_costs_a_token_for_four_characters() -> None:
    assert [prompt.tokens("x" * length) for length in (0, 1, 4, 5)] == [0, 1, 1, 2]


def test_a_file_costs_the_same_whatever_its_size() -> None:
    def image(data: str) -> dict[str, Any]:
        source = {"type": "base64", "media_type": "image/png", "data": data}
        return {"messages": [{"role": "user", "content": [{"type": "image", "source": source}]}]}

    assert prompt.count(image("A" * 8)) == prompt.count(image("A" * 80_000))


def test_without_breakpoints_everything_is_fresh() -> None:
    cache = PromptCache()
    asked = document("a" * 40)
    assert cache.measure(MODEL, asked) == Prompt(prompt.count(asked))
    assert cache.measure(MODEL, asked) == Prompt(prompt.count(asked))


def test_a_prefix_is_written_once_and_then_read() -> None:
    cache = PromptCache()
    asked = document("a" * 400, "b" * 40, ttl={0: "5m"})
    first, second = cache.measure(MODEL, asked), cache.measure(MODEL, asked)
    assert first.write_5m == second.read > 0
    assert first.fresh == second.fresh > 0
    assert second.write_5m == first.read == 0
    assert total(first) == total(second) == prompt.count(asked)


def test_the_split_follows_the_breakpoints() -> None:
    asked = document("a" * 400, "b" * 80, "c", ttl={0: "1h", 1: "5m"})
    found = PromptCache().measure(MODEL, asked)
    assert found.write_1h > found.write_5m > 0
    assert total(found) == prompt.count(asked)


def test_a_longer_conversation_reads_what_it_shares() -> None:
    cache = PromptCache()
    first = cache.measure(MODEL, document("a" * 400, "b" * 40, ttl={1: "5m"}))
    longer = cache.measure(MODEL, document("a" * 400, "b" * 40, "c" * 40, ttl={2: "5m"}))
    assert longer.read == first.write_5m
    assert longer.write_5m > 0
    assert longer.fresh == 0


def test_automatic_caching_marks_the_end() -> None:
    asked = document("a" * 400, cache_control={"type": "ephemeral", "ttl": "1h"})
    found = PromptCache().measure(MODEL, asked)
    assert found == Prompt(0, write_1h=prompt.count(asked))


@pytest.mark.parametrize(
    "other",
    [
        (MODEL, document("A" * 400, "b", ttl={0: "5m"})),
        (MODEL, document("a" * 400, "b", ttl={0: "5m"}, system="You are a bot.")),
        ("claude-opus-5", document("a" * 400, "b", ttl={0: "5m"})),
    ],
)
def test_another_prefix_is_not_read(other: tuple[str, dict[str, Any]]) -> None:
    cache = PromptCache()
    cache.measure(MODEL, document("a" * 400, "b", ttl={0: "5m"}))
    assert cache.measure(*other).read == 0


def test_the_cache_forgets_the_oldest() -> None:
    cache = PromptCache(limit=2)
    asked = [document(letter * 400, ttl={0: "5m"}) for letter in "abc"]
    for each in asked:
        cache.measure(MODEL, each)
    assert [cache.measure(MODEL, each).read > 0 for each in reversed(asked)] == [True, True, False]


def test_lone_surrogates_do_no_harm() -> None:
    asked = document("\ud800 text", ttl={0: "5m"})
    assert PromptCache().measure(MODEL, asked).write_5m == prompt.count(asked)
    assert prompt.text_of(prompt.last_turn(asked)) == "? text"
