"""Medians and ratios: inside one round only."""

import json
from pathlib import Path

import pytest

from bench.side_by_side import bodies, readme
from bench.side_by_side.report import Result, summary
from bench.side_by_side.summary import Spread, summarize, with_added
from bench.side_by_side.targets import Target, against

ROUNDS = [
    {"nginx": {"worker_us": 10.0}, "tidegate": {"worker_us": 30.0}},
    {"nginx": {"worker_us": 20.0}, "tidegate": {"worker_us": 80.0}},
    {"nginx": {"worker_us": 40.0}, "tidegate": {"worker_us": 80.0}},
]


def test_a_ratio_is_the_median_of_the_rounds_ratios() -> None:
    figure = summarize(ROUNDS)["tidegate"]["worker_us"]
    assert figure.value == Spread(80, 30, 80, 3)
    assert figure.to == {"nginx": Spread(3, 2, 4, 3)}


def test_a_round_without_the_other_has_no_ratio() -> None:
    rounds = [{"tidegate": {"worker_us": 1.0}}, *ROUNDS[:1]]
    figure = summarize(rounds)["tidegate"]["worker_us"]
    assert figure.value.rounds == 2
    assert figure.to["nginx"].rounds == 1


def test_added_is_what_direct_does_not_have() -> None:
    found = with_added({"direct": {"p50_us": 100.0}, "nginx": {"p50_us": 150.0, "per_second": 9.0}})
    assert found["nginx"] == {"p50_us": 150, "per_second": 9, "added_p50_us": 50}
    assert found["direct"] == {"p50_us": 100}


def test_no_ratio_to_what_added_nothing() -> None:
    rounds = [
        {"direct": {"p50_us": 9.0}, "nginx": {"p50_us": 8.0}, "tidegate": {"p50_us": 20.0}},
        {"direct": {"p50_us": 9.0}, "nginx": {"p50_us": 10.0}, "tidegate": {"p50_us": 13.0}},
    ]
    assert summarize(rounds)["tidegate"]["added_p50_us"].to["nginx"] == Spread(4, 4, 4, 1)


def test_targets_are_read_where_they_were_measured() -> None:
    cases = {"unary_1k": summarize(ROUNDS)}
    ratio = Target("", "unary_1k", "worker_us", "nginx", 4.5)
    value = Target("", "unary_1k", "worker_us", "", 100)
    other = Target("", "paced_40", "tree_us", "nginx", 1.25)
    assert against(ratio, cases) == Spread(3, 2, 4, 3)
    assert against(value, cases) == Spread(80, 30, 80, 3)
    assert against(other, cases) is None


def test_a_target_may_be_a_least_and_in_another_unit() -> None:
    least = Target("", "", "", "", 1.8, at_least=True)
    assert least.met(Spread(1.9, 1, 2, 5))
    assert not least.met(Spread(1.7, 1, 2, 5))
    in_ms = Target("", "unary_1k", "worker_us", "", 1, unit="ms", scale=1e-3)
    assert against(in_ms, {"unary_1k": summarize(ROUNDS)}) == Spread(0.08, 0.03, 0.08, 3)


def test_a_conversation_can_be_cut_after_each_turn() -> None:
    talk, cuts = bodies.mixed()
    end = ',"cache_control":{"type":"ephemeral"}}]}],"max_tokens":9}'
    turns = [json.loads(talk[:cut] + end)["messages"] for cut in cuts]
    assert all(turn[-1]["role"] == "user" for turn in turns)
    assert [len(turn) for turn in turns] == list(range(1, 2 * len(cuts), 2))
    assert cuts[0] < 25_000
    assert cuts[-1] > 900_000


@pytest.mark.parametrize("size", bodies.SIZES.values())
def test_bodies_have_their_size_and_marks(size: int) -> None:
    body = bodies.conversation(size)
    length = len(bodies._dumps(body))
    assert 0.9 * size < length <= size + 100
    texts = [block.get("text", "") for turn in body["messages"] for block in _blocks(turn)]
    assert all(bodies.MARK in text for text in texts if text)


def _blocks(turn: dict[str, object]) -> list[dict[str, str]]:
    content = turn["content"]
    return content if isinstance(content, list) else [{"text": str(content)}]


@pytest.mark.parametrize("name", ["targets", "stages"])
def test_the_readme_has_a_place_for_the_latest(name: str, tmp_path: Path) -> None:
    copy = tmp_path / "README.md"
    copy.write_text(readme.README.read_text())
    for text in ("first", "second"):
        readme.put(name, text, copy)
    assert f"<!-- {name} -->\n\nsecond\n\n<!-- /{name} -->" in copy.read_text()
    assert "first\n\n<!--" not in copy.read_text()
    with pytest.raises(ValueError, match="no place for nothing"):
        readme.put("nothing", "", copy)


def test_the_readme_shows_the_targets() -> None:
    result = Result(
        date="2026-01-02",
        quick=False,
        rounds=5,
        machine={"cores": "2", "cpu": "some", "kernel": "Linux"},
        versions={"commit": "abc"},
        samples={},
        summaries={"unary_1k": summarize(ROUNDS)},
        failures=(),
    )
    shown = summary(result)
    assert "| CPU of the worker per 1 KB request" in shown
    assert "3 (2-4)" in shown
    assert "| met" in shown
    assert "results/2026-01-02-cpu.svg" in shown
