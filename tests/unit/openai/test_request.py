"""A chat request, field by field: what it becomes in Messages, and what is refused by which name."""

import json
from typing import Any

import pytest

from tidegate.openai.request import to_messages
from tidegate.wire.body import BodyError

USER = {"role": "user", "content": "hi"}
PARAMETERS = {"type": "object", "properties": {"a": {"type": "string"}}}


def function(name: str, **more: Any) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name, **more}}


F, G = function("f", parameters=PARAMETERS), function("g")
TOOL_F = {"name": "f", "input_schema": PARAMETERS}
TOOL_G = {"name": "g", "input_schema": {"type": "object", "properties": {}}}
BOTH = {"tools": [F, G]}
CHOSEN = {"type": "function", "function": {"name": "g"}}


def allowed(mode: str, *names: str) -> dict[str, Any]:
    tools = [function(name) for name in names]
    return {
        "tool_choice": {"type": "allowed_tools", "allowed_tools": {"mode": mode, "tools": tools}}
    }


def form(**fields: Any) -> dict[str, Any]:
    return {"response_format": {"type": "json_schema", "json_schema": {"name": "n", **fields}}}


def schema(found: dict[str, Any]) -> dict[str, Any]:
    return {"output_config": {"format": {"type": "json_schema", "schema": found}}}


CONVERTED: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "max_tokens": ({"max_tokens": 5}, {"max_tokens": 5}),
    "max_completion_tokens": ({"max_completion_tokens": 5}, {"max_tokens": 5}),
    "the same limit twice": ({"max_tokens": 5, "max_completion_tokens": 5}, {"max_tokens": 5}),
    "no limit": ({"max_tokens": None}, {"max_tokens": 77}),
    "sampling": ({"temperature": 0, "top_p": 0.5}, {"temperature": 0, "top_p": 0.5}),
    "stop": ({"stop": "a"}, {"stop_sequences": ["a"]}),
    "stops": ({"stop": ["a", "b"]}, {"stop_sequences": ["a", "b"]}),
    "stream": ({"stream": True, "stream_options": {"include_usage": True}}, {"stream": True}),
    "user": ({"user": "u"}, {"metadata": {"user_id": "u"}}),
    "users who agree": ({"user": "u", "safety_identifier": "u", "metadata": {"user_id": "u"}}, {"metadata": {"user_id": "u"}}),
    "empty metadata": ({"metadata": {}}, {}),
    "tiers": ({"service_tier": "default"}, {"service_tier": "standard_only"}),
    "effort": ({"reasoning_effort": "low"}, {"output_config": {"effort": "low"}}),
    "no effort": ({"reasoning_effort": "none"}, {"thinking": {"type": "disabled"}}),
    "thinking": ({"thinking": {"type": "adaptive"}}, {"thinking": {"type": "adaptive"}}),
    "effort and a schema": ({"reasoning_effort": "low", **form(schema={"type": "object"})}, {"output_config": {"effort": "low", "format": schema({"type": "object"})["output_config"]["format"]}}),
    "text": ({"response_format": {"type": "text"}}, {}),
    "a described schema": (form(schema={"type": "object"}, description="d", strict=False), schema({"description": "d", "type": "object"})),
    "tools": (BOTH, {"tools": [TOOL_F, TOOL_G]}),
    "a strict tool": ({"tools": [function("g", strict=True, description="d")]}, {"tools": [{**TOOL_G, "description": "d", "strict": True}]}),
    "any tool": ({**BOTH, "tool_choice": "required"}, {"tools": [TOOL_F, TOOL_G], "tool_choice": {"type": "any"}}),
    "that tool": ({**BOTH, "tool_choice": CHOSEN}, {"tools": [TOOL_F, TOOL_G], "tool_choice": {"type": "tool", "name": "g"}}),
    "that tool alone": ({**BOTH, "tool_choice": CHOSEN, "parallel_tool_calls": False}, {"tools": [TOOL_F, TOOL_G], "tool_choice": {"type": "tool", "name": "g", "disable_parallel_tool_use": True}}),
    "no tool, none at once": ({**BOTH, "tool_choice": "none", "parallel_tool_calls": False}, {"tools": [TOOL_F, TOOL_G], "tool_choice": {"type": "none"}}),
    "nothing at once": ({"parallel_tool_calls": False}, {}),
    "allowed tools": ({**BOTH, **allowed("required", "g")}, {"tools": [TOOL_G], "tool_choice": {"type": "any"}}),
    "what says nothing": ({"n": 1, "seed": None, "logprobs": False, "top_logprobs": 0, "logit_bias": {}, "presence_penalty": 0.0, "frequency_penalty": 0, "store": False, "modalities": ["text"], "verbosity": "medium", "stop": [], "tools": [], "stream_options": {"include_obfuscation": False}}, {}),
}  # fmt: skip


@pytest.mark.parametrize("name", CONVERTED)
def test_fields(name: str) -> None:
    given, expected = CONVERTED[name]
    document = {"model": "m", "messages": [USER], **given}
    made = to_messages(document, default_max_tokens=77)
    assert made == {"model": "m", "max_tokens": 77, "messages": [USER], **expected}


CALL = {
    "id": "t",
    "type": "function",
    "function": {"name": "f", "arguments": '{"a": [1, "\\u00e9"]}'},
}
USE = {"type": "tool_use", "id": "t", "name": "f", "input": {"a": [1, "é"]}}
RESULT = {"type": "tool_result", "tool_use_id": "t", "content": "r"}
SAID = {"role": "tool", "tool_call_id": "t", "content": "r"}
TURNS: dict[str, tuple[list[Any], dict[str, Any]]] = {
    "system prompts of all places": (
        [{"role": "system", "content": "a"}, USER, {"role": "developer", "content": [{"type": "text", "text": "b"}]}],
        {"system": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}], "messages": [USER]},
    ),
    "an empty system prompt": ([{"role": "system", "content": ""}, USER], {"messages": [USER]}),
    "a call, with what an SDK writes beside": (
        [USER, {"role": "assistant", "content": "t", "refusal": None, "annotations": [], "audio": None, "function_call": None, "tool_calls": [CALL]}],
        {"messages": [USER, {"role": "assistant", "content": [{"type": "text", "text": "t"}, USE]}]},
    ),
    "results, and what the user says then": (
        [{"role": "assistant", "content": "", "tool_calls": [CALL]}, SAID, SAID, USER, USER],
        {"messages": [{"role": "assistant", "content": [USE]}, {"role": "user", "content": [RESULT, RESULT, {"type": "text", "text": "hi"}]}, USER]},
    ),
    "a refusal": ([{"role": "assistant", "refusal": "no"}], {"messages": [{"role": "assistant", "content": [{"type": "text", "text": "no"}]}]}),
    "images": (
        [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:image/jpg;base64,AA==", "detail": "auto"}}, {"type": "image_url", "image_url": {"url": "HTTPS://x/y"}}]}],
        {"messages": [{"role": "user", "content": [{"type": "image", "source": {"type": "base64", "media_type": "image/jpeg", "data": "AA=="}}, {"type": "image", "source": {"type": "url", "url": "HTTPS://x/y"}}]}]},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", TURNS)
def test_messages(name: str) -> None:
    messages, expected = TURNS[name]
    before = json.dumps(messages)
    assert to_messages({"model": "m", "messages": messages}) == {"model": "m", **expected}
    assert json.dumps(messages) == before


def one(**fields: Any) -> dict[str, Any]:
    return {"messages": [{**USER, **fields}]}


def call(**fields: Any) -> dict[str, Any]:
    return {"messages": [{"role": "assistant", "tool_calls": [{**CALL, **fields}]}]}


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "n": ({"n": 2}, "n"),
    "penalty": ({"presence_penalty": 0.1}, "presence_penalty"),
    "logprobs": ({"logprobs": True}, "logprobs"),
    "modalities": ({"modalities": ["text", "audio"]}, "modalities"),
    "functions": ({"functions": []}, "functions"),
    "hot": ({"temperature": 1.1}, "temperature"),
    "temperature": ({"temperature": "1"}, "temperature"),
    "blank stop": ({"stop": ["a", " \n"]}, "stop[1]"),
    "minimal effort": ({"reasoning_effort": "minimal"}, "reasoning_effort"),
    "tier": ({"service_tier": "flex"}, "service_tier"),
    "metadata": ({"metadata": {"topic": "x"}}, "metadata.topic"),
    "users": ({"user": "a", "safety_identifier": "b"}, "safety_identifier"),
    "no effort and thinking": ({"reasoning_effort": "none", "thinking": {"type": "adaptive"}}, "thinking"),
    "obfuscation": ({"stream_options": {"include_obfuscation": True}}, "stream_options.include_obfuscation"),
    "include_usage": ({"stream_options": {"include_usage": 1}}, "stream_options.include_usage"),
    "format": ({"response_format": {"type": "grammar"}}, "response_format.type"),
    "no schema": (form(), "response_format.json_schema.schema"),
    "two descriptions": (form(schema={"description": "a"}, description="b"), "response_format.json_schema.description"),
    "custom tool": ({"tools": [{"type": "custom", "custom": {}}]}, "tools[0].type"),
    "choice": ({"tool_choice": "any"}, "tool_choice"),
    "allowed mode": ({**BOTH, **allowed("none", "g")}, "tool_choice.allowed_tools.mode"),
    "allowed stranger": ({**BOTH, **allowed("auto", "h")}, "tool_choice.allowed_tools.tools[0]"),
    "parallel": ({"parallel_tool_calls": "no"}, "parallel_tool_calls"),
    "name": (one(name="x"), "messages[0].name"),
    "role": (one(role="function"), "messages[0].role"),
    "detail": (one(content=[{"type": "image_url", "image_url": {"url": "https://x", "detail": "low"}}]), "messages[0].content[0].image_url.detail"),
    "address": (one(content=[{"type": "image_url", "image_url": {"url": "ftp://x"}}]), "messages[0].content[0].image_url.url"),
    "audio": (one(content=[{"type": "input_audio", "input_audio": {}}]), "messages[0].content[0].type"),
    "image in a system prompt": (one(role="system", content=[{"type": "image_url", "image_url": {"url": "https://x"}}]), "messages[0].content[0]"),
    "arguments": (call(function={"name": "f", "arguments": "[]"}), "messages[0].tool_calls[0].function.arguments"),
    "a custom call": (call(type="custom"), "messages[0].tool_calls[0].type"),
    "no id": (call(id=None), "messages[0].tool_calls[0].id"),
    "a part of no type": (one(content=[{"text": "a"}]), "messages[0].content[0].type"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_said_is_named(name: str) -> None:
    given, where = REFUSED[name]
    with pytest.raises(BodyError) as caught:
        to_messages({"model": "m", "messages": [USER], **given})
    assert caught.value.message.startswith(f"{where}: ")


def test_what_is_no_word_is_not_repeated() -> None:
    with pytest.raises(BodyError) as caught:
        to_messages({"model": "m", "messages": [USER], "My-Secret 1": 1})
    assert "Secret" not in caught.value.message + caught.value.pointer


def test_a_reading_keeps_what_it_does_not_know() -> None:
    given = {"model": "m", "messages": [{**USER, "name": "x"}], "seed": 1, "metadata": {"k": "v"}}
    made = to_messages(given, lenient=True)
    assert made == {"model": "m", "messages": [{**USER, "name": "x"}], "seed": 1, "metadata": {"k": "v"}}  # fmt: skip


@pytest.mark.parametrize(
    "hidden",
    [
        {"reasoning_effort": "low", "output_config": {"effort": "max"}},
        {"messages": [{"role": "system", "content": "a"}, USER], "system": "b"},
        {"messages": [{"role": "system", "content": "a", "output_config": {"effort": "max"}}]},
        {"messages": [{"role": "assistant", "tool_calls": [{**CALL, "input": {}}]}]},
        {"tools": [{**F, "input_schema": {}}]},
        {"stop": "a", "stop_sequences": ["b"]},
    ],
)
def test_nothing_hides_behind_what_is_read(hidden: dict[str, Any]) -> None:
    with pytest.raises(BodyError):
        to_messages({"model": "m", "messages": [USER], **hidden}, lenient=True)
