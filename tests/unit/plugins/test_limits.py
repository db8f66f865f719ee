"""limits: which cap counts, what is clamped, what is refused and where."""

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tidegate.errors import PluginError
from tidegate.exchange import Principal
from tidegate.plugin import ADMIT, NOT_CONCERNED, Admit, Refuse
from tidegate.testing.fakes import DOCUMENT, make_exchange, make_request, open_plugin
from tidegate.wire.body import splice
from tidegate.wire.routes import Kind
from tidegate_plugins.limits import plugin

FORBIDDEN_WORDS = ("prompt is too long", "signature")
"""Claude Code takes a 400 with these for something else, and starts to repair."""


async def decide(
    config, state_dir: Path, *, kind=Kind.MESSAGES, team="none", raw=None, headers=None, **body
):
    document = raw if raw is not None else {**DOCUMENT, **body}
    request = make_request(document, kind=kind, principal=Principal("p", team))
    async with open_plugin(plugin, config, state_dir=state_dir) as policy:
        return await policy.admit(make_exchange(kind, headers=headers), request)


def assert_bad_request(decision, pointer: str, rule: str) -> None:
    assert isinstance(decision, Refuse)
    assert (decision.status, decision.error_type) == (400, "invalid_request_error")
    assert (decision.pointer, decision.rule) == (pointer, rule)
    assert decision.message.startswith(pointer[1:].replace("/", ".") + ": ")
    assert not any(word in decision.message for word in FORBIDDEN_WORDS)


CAPS = {
    "max_tokens": 8192,
    "models": {
        "claude-opus-*": {"max_tokens": 32000},
        "claude-opus-4-8": {"max_tokens": 64000},
        "claude-opus-4-*": {"max_tokens": 16000},
        "*": {"max_tokens": 4096},
    },
    "teams": {
        "search": {"max_tokens": 2048, "models": {"claude-haiku-*": {"max_tokens": 1024}}},
        "legal": {"models": {"claude-opus-4-8-20260701": {"max_tokens": 100}}},
        "lab": {"effort": "low"},
    },
}


@pytest.mark.parametrize(
    ("team", "model", "cap"),
    [
        ("none", "claude-opus-5", 32000),
        ("none", "claude-opus-4-7", 16000),
        ("none", "claude-opus-4-8", 64000),
        ("none", "claude-opus-4-8[1m]", 64000),
        ("none", "claude-opus-4-8-20260701", 64000),
        ("none", "claude-sonnet-5", 4096),
        ("none", "claude-sonnet-5 ", 8192),
        ("search", "claude-haiku-4-5", 1024),
        ("search", "claude-opus-4-8", 2048),
        ("legal", "claude-opus-4-8-20260701", 100),
        ("legal", "claude-opus-4-8", 64000),
        ("legal", "claude-opus-4-7", 16000),
    ],
)
async def test_the_most_specific_cap_counts(team, model, cap, tmp_path: Path):
    within = await decide(CAPS, tmp_path, team=team, model=model, max_tokens=cap)
    over = await decide(CAPS, tmp_path, team=team, model=model, max_tokens=cap + 1)

    assert within is ADMIT
    assert_bad_request(over, "/max_tokens", "max_tokens")
    assert f"at most {cap} is allowed" in over.message


async def test_each_field_finds_its_own_cap(tmp_path: Path):
    effort = {"output_config": {"effort": "low"}}
    decision = await decide(CAPS, tmp_path, team="lab", model="claude-x", max_tokens=4097, **effort)

    assert_bad_request(decision, "/max_tokens", "max_tokens")


@pytest.mark.parametrize("kind", [Kind.COUNT_TOKENS, Kind.MODELS, Kind.MODEL])
async def test_only_what_produces_tokens_is_limited(kind: Kind, tmp_path: Path):
    assert await decide({"max_tokens": 1}, tmp_path, kind=kind) is NOT_CONCERNED


@pytest.mark.parametrize(
    "spelling",
    [
        '{"model":"m","max_tokens":64000,"messages":[]}',
        '{ "max_tokens" :\t64000\n, "model":"m","messages":[],"metadata":{"max_tokens":64000}}',
        '{"metadata":{"max_tokens":1},"model":"\\ud83d\\ude00","max_\\u0074okens":64000,"messages":[]}',
        '{"messages":[{"role":"user","content":"ü \\"max_tokens\\":1"}],"model":"m","max_tokens":64000}',
        '{"model":"m","messages":[],"max_tokens":' + "9" * 40 + "}",
    ],
)
async def test_a_clamp_replaces_the_number_and_nothing_else(spelling: str, tmp_path: Path):
    raw = spelling.encode()
    decision = await decide({"max_tokens": 8192, "over": "clamp"}, tmp_path, raw=raw)
    (edit,) = decision.edits

    assert isinstance(decision, Admit)
    assert (edit.pointer, edit.rule, edit.replacement) == ("/max_tokens", "max_tokens", b"8192")
    assert raw[edit.start : edit.end].isdigit()
    assert json.loads(splice(raw, decision.edits)) == {**json.loads(raw), "max_tokens": 8192}
    assert decision.headers == (("x-tidegate-max-tokens", "8192"),)
    assert decision.rule == "max_tokens"


async def test_a_request_within_its_caps_is_not_edited(tmp_path: Path):
    config = {"max_tokens": 8192, "over": "clamp"}

    assert await decide(config, tmp_path, max_tokens=8192) is ADMIT


async def test_a_team_may_be_treated_otherwise(tmp_path: Path):
    config = {"max_tokens": 10, "teams": {"search": {"over": "clamp"}}}
    rejected = await decide(config, tmp_path, max_tokens=11)
    clamped = await decide(config, tmp_path, team="search", max_tokens=11)

    assert_bad_request(rejected, "/max_tokens", "max_tokens")
    assert clamped.headers == (("x-tidegate-max-tokens", "10"),)


FALLBACK_CAPS = {"max_tokens": 8000, "models": {"claude-opus-*": {"max_tokens": 500}}}


@pytest.mark.parametrize("over", ["reject", "clamp"])
async def test_a_fallback_inherits_the_number_but_not_the_cap(over: str, tmp_path: Path):
    decision = await decide(
        {**FALLBACK_CAPS, "over": over},
        tmp_path,
        max_tokens=501,
        fallbacks=[{"model": "claude-sonnet-5"}, {"model": "claude-opus-5"}],
    )

    assert_bad_request(decision, "/fallbacks/1/max_tokens", "max_tokens")


async def test_a_fallbacks_own_number_is_rejected_or_clamped(tmp_path: Path):
    body: dict[str, Any] = {
        "max_tokens": 9000,
        "fallbacks": [
            {"model": "claude-sonnet-5"},
            {"model": "claude-opus-5", "max_tokens": 9000},
        ],
    }
    raw = json.dumps({**DOCUMENT, **body}).encode()
    rejected = await decide(FALLBACK_CAPS, tmp_path, **{**body, "max_tokens": 100})
    clamped = await decide({**FALLBACK_CAPS, "over": "clamp"}, tmp_path, raw=raw)

    assert_bad_request(rejected, "/fallbacks/1/max_tokens", "max_tokens")
    sent = json.loads(splice(raw, clamped.edits))
    assert (sent["max_tokens"], sent["fallbacks"][1]["max_tokens"]) == (8000, 500)
    assert clamped.headers == (
        ("x-tidegate-max-tokens", "8000"),
        ("x-tidegate-clamped", "fallbacks.1.max_tokens=500"),
    )


async def test_many_fallbacks_are_announced_briefly(tmp_path: Path):
    fallbacks = [{"model": "m", "max_tokens": 9}] * 5000
    config = {"max_tokens": 5, "over": "clamp"}
    decision = await decide(config, tmp_path, max_tokens=1, fallbacks=fallbacks)

    assert len(decision.edits) == 5000
    assert len(decision.headers) == 1
    assert len(decision.headers[0][1]) < 300


async def test_an_advisor_has_a_cap_of_its_own(tmp_path: Path):
    tool = {"type": "advisor_20260301", "name": "advisor", "model": "claude-opus-5"}
    config = {"models": {"claude-opus-*": {"max_tokens": 500}}}
    within = await decide(config, tmp_path, tools=[{**tool, "max_tokens": 500}])
    unsaid = await decide(config, tmp_path, tools=[tool])
    over = await decide(config, tmp_path, tools=[{**tool, "max_tokens": 501}])

    assert within is ADMIT
    assert unsaid is ADMIT
    assert_bad_request(over, "/tools/0/max_tokens", "max_tokens")


def thinking(budget: object, **more: object) -> dict[str, Any]:
    return {"thinking": {"type": "enabled", "budget_tokens": budget}, **more}


CLAMP = {"max_tokens": 8192, "over": "clamp"}


@pytest.mark.parametrize(
    ("config", "body", "pointer"),
    [
        ({"budget_tokens": 2000}, thinking(2001), "/thinking/budget_tokens"),
        (
            {"budget_tokens": 2000},
            {"fallbacks": [{"model": "m", **thinking(2001)}]},
            "/fallbacks/0/thinking/budget_tokens",
        ),
        (
            {"models": {"claude-opus-*": {"budget_tokens": 2000}}},
            {"fallbacks": [{"model": "claude-opus-4-5"}], **thinking(2001)},
            "/thinking/budget_tokens",
        ),
        (CLAMP, thinking(8192, max_tokens=9000), "/thinking/budget_tokens"),
        (
            CLAMP,
            {"max_tokens": 9000, "fallbacks": [{"model": "m", **thinking(8192)}]},
            "/fallbacks/0/thinking/budget_tokens",
        ),
    ],
    ids=["own", "fallback", "fallback's cap", "above the clamp", "above the inherited clamp"],
)
async def test_thinking_budgets_are_refused(config, body, pointer, tmp_path: Path):
    assert_bad_request(await decide(config, tmp_path, **body), pointer, "budget_tokens")


@pytest.mark.parametrize(
    ("config", "body"),
    [
        ({"budget_tokens": 2000}, thinking(2000)),
        ({"budget_tokens": 2000}, {"thinking": {"type": "adaptive"}}),
        ({"budget_tokens": 2000}, {"thinking": None}),
        (CLAMP, thinking(8191, max_tokens=9000)),
        # Below the cap nothing is clamped, and the provider is the one to judge.
        (CLAMP, thinking(9000, max_tokens=8192)),
        (
            {**CLAMP, "models": {"big": {"max_tokens": 20000}}},
            {
                "max_tokens": 9000,
                "fallbacks": [{"model": "big", "max_tokens": 20000, **thinking(10000)}],
            },
        ),
    ],
    ids=["equal", "adaptive", "null", "below the clamp", "no clamp", "fallback without clamp"],
)
async def test_thinking_budgets_are_admitted(config, body, tmp_path: Path):
    assert isinstance(await decide(config, tmp_path, **body), Admit)


def effort(word: object) -> dict[str, Any]:
    return {"output_config": {"effort": word}}


SAY_LOW = effort("low")


@pytest.mark.parametrize(
    ("cap", "body", "pointer"),
    [
        ("medium", effort("high"), "/output_config/effort"),
        ("medium", {}, "/output_config/effort"),
        ("medium", effort(None), "/output_config/effort"),
        ("medium", {"output_config": {}}, "/output_config/effort"),
        ("max", effort("MAX"), "/output_config/effort"),
        ("max", effort("ultra"), "/output_config/effort"),
        ("max", effort(["low"]), "/output_config/effort"),
        ("high", effort("xhigh"), "/output_config/effort"),
        (
            "medium",
            {**SAY_LOW, "fallbacks": [{"model": "m", **effort("max")}]},
            "/fallbacks/0/output_config/effort",
        ),
        (
            "medium",
            {**SAY_LOW, "messages": [{"role": "system", "content": "x", **effort("max")}]},
            "/messages/0/output_config/effort",
        ),
    ],
)
async def test_effort_is_refused(cap, body, pointer, tmp_path: Path):
    assert_bad_request(await decide({"effort": cap}, tmp_path, **body), pointer, "effort")


@pytest.mark.parametrize(
    ("cap", "body"),
    [
        ("high", {}),
        ("high", effort("high")),
        ("max", effort("max")),
        ("low", SAY_LOW),
        ("low", {**SAY_LOW, "fallbacks": [{"model": "m"}]}),
        ("low", {**SAY_LOW, "messages": [{"role": "system", "content": "x"}]}),
    ],
)
async def test_effort_is_admitted(cap, body, tmp_path: Path):
    assert await decide({"effort": cap}, tmp_path, **body) is ADMIT


def task(**budget: object) -> dict[str, Any]:
    return {"output_config": {"task_budget": {"type": "tokens", **budget}}}


async def test_task_budgets(tmp_path: Path):
    config = {"task_budget": 50_000}
    at = "/output_config/task_budget"

    assert await decide(config, tmp_path, **task(total=50_000)) is ADMIT
    over = await decide(config, tmp_path, **task(total=50_001))
    assert_bad_request(over, f"{at}/total", "task_budget")
    over = await decide(config, tmp_path, **task(total=1, remaining=50_001))
    assert_bad_request(over, f"{at}/remaining", "task_budget")


@pytest.mark.parametrize("wrong", [True, False, 8192.0, 1e3, "8192", [], {}, [1]], ids=repr)
@pytest.mark.parametrize(
    ("pointer", "body"),
    [
        ("/fallbacks/0/max_tokens", lambda it: {"fallbacks": [{"model": "m", "max_tokens": it}]}),
        ("/thinking/budget_tokens", thinking),
        ("/output_config/task_budget/total", lambda it: task(total=it)),
        (
            "/tools/0/max_tokens",
            lambda it: {"tools": [{"type": "advisor_1", "model": "m", "max_tokens": it}]},
        ),
    ],
    ids=["fallback", "thinking", "task", "advisor"],
)
async def test_numbers_of_another_type_are_refused(pointer, body, wrong, tmp_path: Path):
    decision = await decide({"max_tokens": 10**6}, tmp_path, **body(wrong))

    assert_bad_request(decision, pointer, "unreadable")


@pytest.mark.parametrize(
    ("pointer", "body"),
    [
        ("/thinking", {"thinking": "enabled"}),
        ("/thinking", {"thinking": [{"budget_tokens": 1}]}),
        ("/output_config", {"output_config": "max"}),
        ("/output_config/task_budget", {"output_config": {"task_budget": 5}}),
        ("/messages/0/output_config", {"messages": [{"output_config": ["effort"]}]}),
        ("/fallbacks", {"fallbacks": "all"}),
    ],
)
async def test_objects_of_another_type_are_refused(pointer, body, tmp_path: Path):
    decision = await decide({"max_tokens": 10**6}, tmp_path, **body)

    assert_bad_request(decision, pointer, "unreadable")


@pytest.mark.parametrize(
    ("config", "error", "named"),
    [
        ({}, PluginError, "no limit is set"),
        ({"over": "clamp"}, PluginError, "no limit is set"),
        ({"max_tokens": 0}, msgspec.ValidationError, "max_tokens"),
        ({"max_tokens": True}, msgspec.ValidationError, "max_tokens"),
        ({"max_tokens": "8192"}, msgspec.ValidationError, "max_tokens"),
        ({"max_tokens": 1, "over": "insert"}, msgspec.ValidationError, "insert"),
        ({"effort": "huge"}, msgspec.ValidationError, "huge"),
        ({"models": {"claude opus": {"max_tokens": 1}}}, PluginError, "claude opus"),
        ({"models": {"m": {"over": "clamp"}}}, msgspec.ValidationError, "over"),
        ({"teams": {"t": {"models": {"?": {}}}}}, PluginError, "teams.t.models"),
    ],
)
async def test_a_wrong_configuration_is_named(config, error, named, tmp_path: Path):
    with pytest.raises(error, match=named.replace("?", r"\?")):
        async with open_plugin(plugin, config, state_dir=tmp_path):
            pass


ABSENT = b'{ "model":"claude-haiku-4-5" , "messages":[]}'


@pytest.mark.parametrize("version", ["2023-06-01", "2026-10-21", "2099-01-01"])
@pytest.mark.parametrize(
    ("config", "inserted"),
    [
        ({"default_max_tokens": 4096}, b"4096"),
        ({"default_max_tokens": 4096, "max_tokens": 1000}, b"1000"),
        ({"default_max_tokens": 9, "models": {"claude-haiku-*": {"default_max_tokens": 7}}}, b"7"),
        ({"max_tokens": 9, "teams": {"none": {"default_max_tokens": 5}}}, b"5"),
    ],
)
async def test_an_absent_max_tokens_is_put_in(config, inserted, version, tmp_path: Path):
    headers = {"anthropic-version": version}
    decision = await decide(config, tmp_path, raw=ABSENT, headers=headers)

    assert isinstance(decision, Admit)
    assert splice(ABSENT, decision.edits) == ABSENT.replace(b"{", b'{"max_tokens":%s,' % inserted)
    assert decision.headers == (("x-tidegate-max-tokens", inserted.decode()),)
    assert decision.edits[0].pointer == "/max_tokens"


@pytest.mark.parametrize("raw", [ABSENT, ABSENT.replace(b"{", b'{"max_tokens":null,')])
async def test_without_a_default_it_stays_required(raw, tmp_path: Path):
    decision = await decide({"max_tokens": 5}, tmp_path, raw=raw)

    assert_bad_request(decision, "/max_tokens", decision.rule)


async def test_a_budget_must_fit_what_is_put_in(tmp_path: Path):
    raw = ABSENT.replace(b"{", b'{"thinking":{"type":"enabled","budget_tokens":4096},')
    decision = await decide({"default_max_tokens": 4096}, tmp_path, raw=raw)

    assert_bad_request(decision, "/thinking/budget_tokens", "budget_tokens")


async def test_an_interleaved_budget_may_exceed_a_clamp(tmp_path: Path):
    config = {"max_tokens": 2048, "over": "clamp"}
    thinking = {"type": "enabled", "budget_tokens": 4096}
    beta = {"anthropic-beta": "a, interleaved-thinking-2025-05-14"}
    asked = {"max_tokens": 8192, "thinking": thinking}

    assert isinstance(await decide(config, tmp_path, **asked), Refuse)
    assert isinstance(await decide(config, tmp_path, headers=beta, **asked), Admit)


async def test_a_fallback_inherits_what_is_put_in(tmp_path: Path):
    config = {"default_max_tokens": 64, "models": {"claude-opus-*": {"max_tokens": 32}}}
    raw = ABSENT.replace(b"{", b'{"fallbacks":[{"model":"claude-opus-4-8"}],')
    decision = await decide(config, tmp_path, raw=raw)

    assert_bad_request(decision, "/fallbacks/0/max_tokens", "max_tokens")
