from typing import Any

import pytest

from tidegate.simulator import answers, catalogue, messages, prompt
from tidegate.simulator.ids import Ids
from tidegate.simulator.options import Options
from tidegate.simulator.prompt import Prompt

COUNTS = (
    "input_tokens",
    "output_tokens",
    "cache_creation_input_tokens",
    "cache_read_input_tokens",
)


def message(controls: Options | None = None, **more: Any) -> dict[str, Any]:
    document = {
        "model": "claude-opus-5-5",
        "max_tokens": 4000,
        "messages": [{"role": "user", "content": "hello"}],
        **more,
    }
    ids = Ids("seed")
    draft = answers.compose(document, controls or Options(), ids)
    model = catalogue.find("claude-opus-5-5")
    return messages.build(document, model, Prompt(10, 20, 30, 40), draft, ids).message


def usage(controls: Options | None = None, **more: Any) -> dict[str, Any]:
    found: dict[str, Any] = message(controls, **more)["usage"]
    return found


def test_the_parts_make_the_sum() -> None:
    found = usage()
    split = found["cache_creation"]
    assert found["cache_creation_input_tokens"] == sum(split.values()) == 70
    assert (found["input_tokens"], found["cache_read_input_tokens"]) == (10, 20)


def test_output_is_what_is_said() -> None:
    said = message(thinking={"type": "adaptive"})
    thinking, text = said["content"]
    thought = prompt.tokens(thinking["thinking"])
    assert said["usage"]["output_tokens"] == thought + prompt.tokens(text["text"])
    assert said["usage"]["output_tokens_details"] == {"thinking_tokens": thought}


def test_server_tools_are_counted_and_grow_the_input() -> None:
    offered = [{"type": "web_fetch_20260318", "name": "web_fetch"}]
    said = message(tools=offered)
    counts = {"web_search_requests": 0, "web_fetch_requests": 1}
    assert said["usage"]["server_tool_use"] == counts
    assert said["usage"]["input_tokens"] == 10 + prompt.weigh(said["content"][1])


def test_code_runs_in_a_container() -> None:
    offered = [{"type": "code_execution_20260521", "name": "code_execution"}]
    assert message(tools=offered)["container"]["id"].startswith("container_01")


def test_what_was_asked_for_is_reported() -> None:
    found = usage(speed="fast", inference_geo="us")
    assert (found["speed"], found["inference_geo"]) == ("fast", "us")


ADVISOR = {"type": "advisor_20260301", "name": "advisor", "model": "claude-fable-5-2"}
CASES: list[dict[str, Any]] = [
    {"controls": Options(answer="compaction")},
    {"controls": Options(answer="fallback")},
    {"tools": [ADVISOR]},
]


@pytest.mark.parametrize("case", CASES)
def test_the_serving_models_passes_make_the_sum(case: dict[str, Any]) -> None:
    said = message(**case)
    found = said["usage"]
    serving = [each for each in found["iterations"] if each.get("model") == said["model"]]
    for key in COUNTS:
        assert sum(each[key] for each in serving) == found[key]


@pytest.mark.parametrize(
    ("case", "kinds"),
    [
        (CASES[0], ["compaction", "message"]),
        (CASES[1], ["message", "fallback_message"]),
        (CASES[2], ["message", "advisor_message", "message"]),
    ],
)
def test_the_other_passes_stand_in_iterations_alone(case: dict[str, Any], kinds: list[str]) -> None:
    assert [each["type"] for each in usage(**case)["iterations"]] == kinds


def test_an_ordinary_answer_has_one_pass() -> None:
    assert "iterations" not in usage()


def test_a_refusal_before_any_output_says_nothing() -> None:
    said = message(Options(answer="refusal"), thinking={"type": "adaptive"})
    assert (said["content"], said["usage"]["output_tokens"]) == ([], 0)
    assert said["stop_details"]["type"] == "refusal"


def test_a_summary_alone_is_output() -> None:
    said = message(compaction={"type": "summarize"})
    summary = prompt.tokens(said["content"][0]["content"])
    assert (said["stop_reason"], said["usage"]["output_tokens"]) == ("compaction", summary)
