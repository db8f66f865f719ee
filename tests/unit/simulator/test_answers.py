import json
from typing import Any

import pytest

from tidegate.simulator import answers, tools
from tidegate.simulator.answers import Draft
from tidegate.simulator.ids import Ids
from tidegate.simulator.options import AnswerKind, Options

WEATHER = {
    "name": "get_weather",
    "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}},
}
SEARCH = {"type": "web_search_20260318", "name": "web_search"}


def compose(text: str = "hello", *, controls: Options | None = None, **more: Any) -> Draft:
    document = {
        "model": "sim-echo",
        "max_tokens": 1000,
        "messages": [{"role": "user", "content": text}],
        **more,
    }
    return answers.compose(document, controls or Options(), Ids("seed"))


def kinds(draft: Draft) -> list[str]:
    return [block["type"] for block in draft.blocks]


def test_it_says_what_was_said() -> None:
    draft = compose("héllo")
    assert draft.blocks == [{"type": "text", "text": "You said: héllo"}]
    assert draft.stop_reason == "end_turn"


def test_the_same_request_gets_the_same_answer() -> None:
    asked: dict[str, Any] = {"tools": [WEATHER], "thinking": {"type": "adaptive"}}
    assert compose("use a tool", **asked) == compose("use a tool", **asked)


@pytest.mark.parametrize("text", ["please use get_weather", "use a tool"])
def test_a_tool_is_used_if_the_text_asks_for_it(text: str) -> None:
    draft = compose(text, tools=[WEATHER])
    assert draft.stop_reason == "tool_use"
    assert draft.blocks[-1]["name"] == "get_weather"
    assert draft.blocks[-1]["input"] == {"city": "example"}


@pytest.mark.parametrize(
    ("choice", "used"), [("any", True), ("tool", True), ("auto", False), ("none", False)]
)
def test_tool_choice_decides(choice: str, used: bool) -> None:
    draft = compose(tools=[WEATHER], tool_choice={"type": choice, "name": "get_weather"})
    assert (draft.stop_reason == "tool_use") is used


def test_several_tools_are_used_at_once_unless_forbidden() -> None:
    offered = [WEATHER, WEATHER | {"name": "get_time"}]
    text = "get_weather and get_time"
    assert kinds(compose(text, tools=offered)).count("tool_use") == 2
    one = {"type": "auto", "disable_parallel_tool_use": True}
    assert kinds(compose(text, tools=offered, tool_choice=one)).count("tool_use") == 1


def test_a_tool_result_is_answered_in_words() -> None:
    messages = [
        {"role": "user", "content": "use a tool"},
        {"role": "assistant", "content": [{"type": "tool_use", "id": "toolu_1"}]},
        {
            "role": "user",
            "content": [{"type": "tool_result", "tool_use_id": "toolu_1", "content": "sunny"}],
        },
    ]
    draft = compose(tools=[WEATHER], tool_choice={"type": "any"}, messages=messages)
    assert draft.blocks == [{"type": "text", "text": "The tool returned: sunny"}]


def test_server_tools_are_used_where_they_are_given() -> None:
    draft = compose("tides?", tools=[SEARCH])
    assert kinds(draft) == ["server_tool_use", "web_search_tool_result", "text"]
    assert draft.blocks[0]["input"] == {"query": "tides?"}
    assert draft.blocks[0]["id"] == draft.blocks[1]["tool_use_id"]
    assert draft.blocks[2]["citations"] == [tools.search_citation()]


def test_a_paused_turn_goes_on_when_it_comes_back() -> None:
    paused = compose(tools=[SEARCH], controls=Options(answer="pause_turn"))
    assert paused.stop_reason == "pause_turn"
    messages = [
        {"role": "user", "content": "hello"},
        {"role": "assistant", "content": paused.blocks},
    ]
    rest = compose(tools=[SEARCH], messages=messages, controls=Options(answer="pause_turn"))
    assert (kinds(rest), rest.stop_reason) == (["text"], "end_turn")


@pytest.mark.parametrize(
    "asked",
    [
        {"thinking": {"type": "adaptive"}},
        {"thinking": {"type": "enabled", "budget_tokens": 1024}},
        {"output_config": {"effort": "high"}},
    ],
)
def test_it_thinks_if_asked(asked: dict[str, Any]) -> None:
    assert kinds(compose(**asked)) == ["thinking", "text"]


def test_it_does_not_think_if_told_not_to() -> None:
    asked = {"thinking": {"type": "disabled"}, "output_config": {"effort": "high"}}
    assert kinds(compose(**asked)) == ["text"]


def test_a_schema_is_followed() -> None:
    schema = {
        "type": "object",
        "properties": {"tide": {"$ref": "#/$defs/Tide"}, "days": {"type": "array"}},
        "$defs": {"Tide": {"enum": ["ebb", "flood"]}},
    }
    config = {"format": {"type": "json_schema", "schema": schema}}
    draft = compose(output_config=config)
    assert json.loads(draft.blocks[0]["text"]) == {"tide": "ebb", "days": []}


@pytest.mark.parametrize("limit", [0, 1, 3, 20, 60])
def test_max_tokens_ends_the_answer(limit: int) -> None:
    draft = compose("x" * 400, max_tokens=limit, thinking={"type": "adaptive"})
    assert draft.stop_reason == "max_tokens"
    assert sum(map(answers.cost, draft.blocks)) == limit


def test_a_tool_use_is_never_half() -> None:
    draft = compose("use a tool", tools=[WEATHER], max_tokens=8)
    assert (kinds(draft), draft.stop_reason) == (["text"], "max_tokens")


def test_a_stop_sequence_ends_the_answer() -> None:
    draft = compose("one two three", stop_sequences=["three", "two"])
    assert draft.blocks == [{"type": "text", "text": "You said: one "}]
    assert (draft.stop_reason, draft.stop_sequence) == ("stop_sequence", "two")


def test_a_text_has_the_tokens_asked_for() -> None:
    draft = compose(controls=Options(tokens=123))
    assert answers.cost(draft.blocks[0]) == 123


@pytest.mark.parametrize(
    ("kind", "blocks", "reason"),
    [
        ("refusal", [], "refusal"),
        ("compaction", ["compaction", "text"], "end_turn"),
        ("fallback", ["fallback", "text"], "end_turn"),
        ("redacted_thinking", ["redacted_thinking", "text"], "end_turn"),
        ("context_window", ["text"], "model_context_window_exceeded"),
        ("pause_turn", ["text"], "pause_turn"),
        ("text", ["text"], "end_turn"),
    ],
)
def test_an_answer_on_demand(kind: AnswerKind, blocks: list[str], reason: str) -> None:
    draft = compose(controls=Options(answer=kind))
    assert (kinds(draft), draft.stop_reason) == (blocks, reason)


def test_a_tool_use_on_demand() -> None:
    draft = compose(tools=[WEATHER], controls=Options(answer="tool_use"))
    assert draft.stop_reason == "tool_use"


def test_a_refusal_falls_back_if_it_may() -> None:
    fallbacks = [{"model": "claude-opus-5"}]
    draft = compose(fallbacks=fallbacks, controls=Options(answer="refusal"))
    assert draft.fallback == "claude-opus-5"


def test_a_document_is_cited_if_it_wants_to_be() -> None:
    source = {"type": "text", "media_type": "text/plain", "data": "The tide is high."}
    block = {"type": "document", "source": source, "citations": {"enabled": True}}
    draft = compose(messages=[{"role": "user", "content": [block]}])
    assert draft.blocks[0]["citations"][0]["cited_text"] == "The tide is high."
