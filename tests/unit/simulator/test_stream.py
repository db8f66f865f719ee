import json
from typing import Any

import pytest

from simulating import events as decoded
from tidegate.simulator import answers, catalogue, messages, stream
from tidegate.simulator.ids import Ids
from tidegate.simulator.messages import Answer
from tidegate.simulator.options import Options
from tidegate.simulator.prompt import Prompt

TOOL = {
    "name": "look",
    "input_schema": {"type": "object", "properties": {"a": {"const": 'é "1" \\'}}},
}


def answer(controls: Options | None = None, **more: Any) -> Answer:
    document = {
        "model": "sim-echo",
        "max_tokens": 4000,
        "messages": [{"role": "user", "content": "héllo, \u2028 look"}],
        **more,
    }
    ids = Ids("seed")
    draft = answers.compose(document, controls or Options(), ids)
    model = catalogue.find("sim-echo")
    return messages.build(document, model, Prompt(10, 20, 30, 40), draft, ids)


def written(said: Answer, **controls: Any) -> list[dict[str, Any]]:
    return decoded(b"".join(stream.frames(said, Options(**controls), "req_1")))


def assembled(found: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the Message that the events make, as a client does."""
    message: dict[str, Any] = {}
    partial = ""
    for event in found:
        match event["type"]:
            case "message_start":
                message = event["message"]
            case "content_block_start":
                assert event["index"] == len(message["content"])
                message["content"].append(event["content_block"])
                partial = ""
            case "content_block_delta":
                partial += _apply(message["content"][-1], event["delta"])
            case "content_block_stop" if partial:
                message["content"][-1]["input"] = json.loads(partial)
            case "message_delta":
                usage = message["usage"] | event["usage"]
                message |= event["delta"] | {"usage": usage}
    return message


def _apply(block: dict[str, Any], delta: dict[str, Any]) -> str:
    match delta["type"]:
        case "input_json_delta":
            return str(delta["partial_json"])
        case "citations_delta":
            block["citations"].append(delta["citation"])
        case "compaction_delta":
            block |= {key: delta[key] for key in ("content", "encrypted_content")}
        case kind:
            key = kind.removesuffix("_delta")
            block[key] += delta[key]
    return ""


SERVER = [
    {"type": "web_search_20260318", "name": "web_search"},
    {"type": "web_fetch_20260318", "name": "web_fetch"},
    {"type": "code_execution_20260521", "name": "code_execution"},
    {"type": "advisor_20260301", "name": "advisor", "model": "claude-opus-5-5"},
]
REQUESTS: list[dict[str, Any]] = [
    {},
    {"tools": [TOOL]},
    {"thinking": {"type": "adaptive"}, "speed": "fast"},
    {"thinking": {"type": "adaptive", "display": "omitted"}},
    {"tools": SERVER},
    {"controls": Options(answer="compaction")},
    {"controls": Options(answer="refusal")},
    {"controls": Options(answer="redacted_thinking")},
    {"compaction": {"type": "summarize"}},
]


@pytest.mark.parametrize("request_", REQUESTS)
def test_the_stream_makes_the_same_message(request_: dict[str, Any]) -> None:
    said = answer(**request_)
    assert assembled(written(said)) == said.message


def test_a_fallback_is_named_by_its_first_model_at_the_start() -> None:
    said = answer(controls=Options(answer="fallback"))
    start, made = written(said)[0], assembled(written(said))
    assert start["message"]["model"] == "sim-echo"
    assert said.message["model"] == "claude-opus-4-8"
    assert made | {"model": "claude-opus-4-8"} == said.message


def test_every_delta_type_appears() -> None:
    seen = {
        event["delta"]["type"]
        for request_ in REQUESTS
        for event in written(answer(**request_))
        if event["type"] == "content_block_delta"
    }
    assert seen == {
        "text_delta",
        "input_json_delta",
        "thinking_delta",
        "signature_delta",
        "citations_delta",
        "compaction_delta",
    }


def test_the_order_is_the_apis() -> None:
    kinds = [event["type"] for event in written(answer())]
    assert kinds == [
        "message_start",
        "content_block_start",
        "ping",
        "content_block_delta",
        "content_block_stop",
        "message_delta",
        "message_stop",
    ]


def test_hidden_thinking_has_a_signature_only() -> None:
    said = answer(thinking={"type": "adaptive", "display": "omitted"})
    deltas = [event["delta"] for event in written(said) if event["type"] == "content_block_delta"]
    assert [delta["type"] for delta in deltas[:2]] == ["signature_delta", "text_delta"]
    assert said.message["usage"]["output_tokens_details"]["thinking_tokens"] > 0


def test_data_is_padded_before_the_last_brace() -> None:
    frames = stream.frames(answer(), Options(), "req_1")
    assert frames[1].endswith(b'""}       }\n\n')
    assert frames[2] == b'event: ping\ndata: {"type": "ping"}\n\n'


def test_the_number_of_deltas_is_exact() -> None:
    said = answer(Options(events=37))
    kinds = [event["type"] for event in written(said, events=37)]
    assert kinds.count("content_block_delta") == 37


def test_the_start_counts_little_and_the_end_everything() -> None:
    first, *_, last, _ = written(answer(tools=SERVER))
    start, end = first["message"]["usage"], last["usage"]
    assert start["output_tokens"] == 1
    assert start["input_tokens"] < end["input_tokens"]
    assert not {"cache_creation", "service_tier", "inference_geo"} & end.keys()


def test_a_start_of_zeros() -> None:
    first, *_, last, _ = written(answer(), usage="zero_start")
    usage = first["message"]["usage"]
    assert {key: value for key, value in usage.items() if key.endswith("tokens")} == {
        "input_tokens": 0,
        "output_tokens": 0,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": 0,
    }
    assert last["usage"]["input_tokens"] == 10


def test_an_old_model_repeats_the_output_only() -> None:
    *_, last, _ = written(answer(), usage="output_only")
    assert last["usage"].keys() == {"output_tokens"}


def test_an_error_in_the_stream_is_its_end() -> None:
    found = written(answer(), error_event=3)
    assert [event["type"] for event in found[2:]] == ["ping", "error"]
    assert found[-1]["error"]["type"] == "overloaded_error"
    assert found[-1]["request_id"] == "req_1"


def test_an_end_without_message_stop() -> None:
    assert len(written(answer(), eof=4)) == 4


def test_an_unknown_event_and_other_line_ends() -> None:
    frames = stream.frames(answer(), Options(unknown_event=True, crlf=True), "req_1")
    assert b"event: tide_report\r\ndata: " in frames[3]
    assert all(frame.endswith(b"\r\n\r\n") and frame.count(b"\n") == 3 for frame in frames)


@pytest.mark.parametrize(
    ("text", "size", "number", "expected"),
    [
        ("", 4, None, []),
        ("", 4, 3, []),
        ("abcdefgh", 4, None, ["abcd", "efgh"]),
        ("abcdefghi", 4, None, ["abc", "def", "ghi"]),
        ("abc", 4, 2, ["a", "bc"]),
        ("abc", 4, 9, ["a", "b", "c"]),
    ],
)
def test_pieces(text: str, size: int, number: int | None, expected: list[str]) -> None:
    assert stream.pieces(text, size, number) == expected
