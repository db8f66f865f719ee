"""models: what is allowed, wherever it hides, however it is spelled."""

import json
from pathlib import Path
from typing import Any

import pytest

from tidegate.errors import PluginError
from tidegate.exchange import Principal
from tidegate.plugin import Admit, Answer, Refuse
from tidegate.testing.fakes import DOCUMENT, make_exchange, make_request, open_plugin
from tidegate.wire.body import splice
from tidegate.wire.routes import Kind
from tidegate_plugins.models import plugin

ALLOW = {"allow": ["claude-sonnet-4-6", "claude-haiku-*"]}
OK = "claude-sonnet-4-6"
NO = "claude-opus-4-8"


async def decide(config, state_dir: Path, *, kind=Kind.MESSAGES, team="none", target=None, **body):
    document = {**DOCUMENT, **body}
    request = make_request(document, kind=kind, principal=Principal("p", team))
    async with open_plugin(plugin, config, state_dir=state_dir) as policy:
        return await policy.admit(make_exchange(kind, target=target), request)


@pytest.mark.parametrize("kind", [Kind.MESSAGES, Kind.COUNT_TOKENS])
@pytest.mark.parametrize(
    ("model", "rule"),
    [
        ("claude-sonnet-4-6", "allow:claude-sonnet-4-6"),
        ("claude-sonnet-4-6[1m]", "allow:claude-sonnet-4-6"),
        ("claude-sonnet-4-6-20260115", "allow:claude-sonnet-4-6"),
        ("claude-sonnet-4-6-20260115[1m]", "allow:claude-sonnet-4-6"),
        ("claude-haiku-4-5", "allow:claude-haiku-*"),
        ("claude-haiku-4-5-20251001", "allow:claude-haiku-*"),
    ],
)
async def test_allowed_ids(model: str, rule: str, kind: Kind, tmp_path: Path):
    decision = await decide(ALLOW, tmp_path, kind=kind, model=model)

    assert decision == Admit(rule=rule)


@pytest.mark.parametrize("kind", [Kind.MESSAGES, Kind.COUNT_TOKENS])
@pytest.mark.parametrize(
    "model",
    [
        NO,
        "claude-sonnet-4-60",
        "claude-sonnet-4-6-evil",
        "claude-sonnet-4-6-2026011",
        "claude-sonnet-4-6-202601155",
        "claude-sonnet-4-6-20260115-20260115",
        "CLAUDE-SONNET-4-6",
        "Claude-Haiku-4-5",
        "xclaude-haiku-4-5",
        "anthropic/claude-sonnet-4-6",
        "us.anthropic.claude-haiku-4-5",
    ],
)
async def test_other_ids_are_not_found(model: str, kind: Kind, tmp_path: Path):
    decision = await decide(ALLOW, tmp_path, kind=kind, model=model, team="search")

    assert isinstance(decision, Refuse)
    assert (decision.status, decision.error_type) == (404, "not_found_error")
    assert (decision.rule, decision.pointer) == ("not_allowed", "/model")
    assert decision.message == (
        f"model: {model} is not allowed here for team search; "
        "allowed: claude-sonnet-4-6, claude-haiku-*"
    )


ODD = [
    "",
    " claude-haiku-4-5",
    "claude-haiku-4-5 ",
    "claude-haiku-4-5\n",
    "claude-haiku-4-5\0",
    "claude haiku",
    "claude-haiku-4\u20115",  # non-breaking hyphen
    "claude-haiku-4-\uff15",  # fullwidth 5
    "cl\u0430ude-haiku-4-5",  # Cyrillic a
    "claude-haiku-\u0664",  # Arabic-Indic digit
    "claude-haiku-4-5\u200b",
    "claude-haiku-4-5\ufeff",
    "claude-haiku-\u212a",  # Kelvin sign
    "claude-sonnet-4-6-\u0662\u0660\u0662\u0666\u0660\u0661\u0661\u0665",
    "claude-haiku-4-5\ud800",
    "claude-haiku-4-5[1m][1m]",
    "claude-haiku-4-5[1M]",
    "claude-sonnet-4-6[1m]-20260115",
    "[1m]",
    "claude-haiku-4-5%00",
    "claude-haiku-4-5?",
    "claude-haiku-4-5;claude-opus-4-8",
    "claude-haiku-4-5,claude-opus-4-8",
    "*",
    "claude-haiku-*",
    "-claude",
    "../claude",
    "claude-haiku-" + "4" * 300,
]


@pytest.mark.parametrize("model", ODD)
@pytest.mark.parametrize("allow", [["*"], ["claude-haiku-*", "claude-sonnet-4-6"]])
async def test_what_only_looks_like_an_id_matches_no_rule(model, allow, tmp_path: Path):
    decision = await decide({"allow": allow}, tmp_path, model=model)

    assert isinstance(decision, Refuse)
    assert decision.rule == "odd_id"
    assert decision.message.isascii()
    assert decision.message.isprintable()
    assert len(decision.message) < 300


def advisor(model: object = NO) -> dict[str, Any]:
    return {"type": "advisor_20260301", "name": "advisor", "model": model}


def added(tool: dict[str, Any]) -> dict[str, Any]:
    return {"type": "tool_addition", "tool": {"type": "tool_definition", "definition": tool}}


HIDDEN = [
    ("/fallbacks/0/model", {"fallbacks": [{"model": NO}]}),
    ("/fallbacks/1/model", {"fallbacks": [{"model": OK}, {"model": NO, "max_tokens": 5}]}),
    (
        "/fallbacks/0/fallbacks/0/model",
        {"fallbacks": [{"model": OK, "fallbacks": [{"model": NO}]}]},
    ),
    ("/tools/1/model", {"tools": [{"name": "f", "input_schema": {}}, advisor()]}),
    ("/tools/0/model", {"tools": [{"name": "new_kind", "type": "oracle_20270101", "model": NO}]}),
    (
        "/messages/1/content/0/tool/definition/model",
        {
            "messages": [
                {"role": "user", "content": "x"},
                {"role": "system", "content": [added(advisor())]},
            ]
        },
    ),
    (
        "/messages/0/content/0/tool_changes/0/tool/definition/model",
        {
            "messages": [
                {
                    "role": "user",
                    "content": [{"type": "compaction", "tool_changes": [added(advisor())]}],
                }
            ]
        },
    ),
]


@pytest.mark.parametrize("kind", [Kind.MESSAGES, Kind.COUNT_TOKENS])
@pytest.mark.parametrize(("pointer", "body"), HIDDEN, ids=[pointer for pointer, _ in HIDDEN])
async def test_a_model_is_found_wherever_it_hides(pointer, body, kind, tmp_path: Path):
    refused = await decide(ALLOW, tmp_path, kind=kind, **body)
    allowed = await decide({"allow": [OK, NO]}, tmp_path, kind=kind, **body)

    assert (refused.status, refused.pointer) == (404, pointer)
    assert refused.message.startswith(f"model: {NO} ({pointer[1:].replace('/', '.')}) ")
    assert isinstance(allowed, Admit)


@pytest.mark.parametrize(
    ("pointer", "body"),
    [
        ("/fallbacks", {"fallbacks": "other"}),
        ("/fallbacks", {"fallbacks": {"model": OK}}),
        ("/fallbacks", {"fallbacks": 1}),
        ("/fallbacks", {"fallbacks": False}),
        ("/fallbacks/0", {"fallbacks": [NO]}),
        ("/fallbacks/0", {"fallbacks": [[{"model": NO}]]}),
        ("/fallbacks/0/model", {"fallbacks": [{}]}),
        ("/fallbacks/0/model", {"fallbacks": [{"model": None}]}),
        ("/fallbacks/0/model", {"fallbacks": [{"model": [NO]}]}),
        ("/fallbacks/0/model", {"fallbacks": [{"MODEL": OK}]}),
        ("/tools/0/model", {"tools": [{"type": "advisor_20260301", "name": "advisor"}]}),
        ("/tools/0/model", {"tools": [advisor(model={"id": NO})]}),
    ],
)
async def test_what_cannot_be_read_is_refused(pointer, body, tmp_path: Path):
    decision = await decide({"allow": ["*"]}, tmp_path, **body)

    assert (decision.status, decision.error_type) == (400, "invalid_request_error")
    assert decision.pointer == pointer
    assert decision.message.startswith(pointer[1:].replace("/", ".") + ": must be ")


@pytest.mark.parametrize(
    ("config", "admitted"),
    [
        ({"allow": ["*"]}, True),
        ({"allow": ["claude-*"]}, False),
        ({"allow": ["*"], "deny": ["claude-mythos-*"]}, False),
        (ALLOW, False),
    ],
)
async def test_the_servers_choice_needs_everything_allowed(config, admitted, tmp_path: Path):
    decision = await decide(config, tmp_path, fallbacks="default")

    assert isinstance(decision, Admit) == admitted
    if not admitted:
        assert decision.pointer == "/fallbacks"
        assert decision.message.startswith("model: default (fallbacks) is not allowed")


@pytest.mark.parametrize(
    "body",
    [
        {"fallbacks": None},
        {"fallbacks": []},
        {"tools": [1, None, "x", {"name": "f"}]},
        {"messages": [1, None, {"content": [1, {"tool": 1}, {"tool": {"definition": "x"}}]}]},
        {"messages": [{"role": "user", "content": [{"type": "text", "text": NO}]}]},
        {"metadata": {"model": NO}},
    ],
)
async def test_nothing_is_seen_where_no_model_is(body, tmp_path: Path):
    assert isinstance(await decide(ALLOW, tmp_path, **body), Admit)


@pytest.mark.parametrize(
    ("model", "rule"),
    [
        ("claude-opus-4-8", "deny:claude-opus-*"),
        ("CLAUDE-OPUS-4-8", "deny:claude-opus-*"),
        ("claude-opus-4-8[1m]", "deny:claude-opus-*"),
        ("claude-sonnet-4-5", "deny:claude-sonnet-4-5-20250929"),
        ("claude-sonnet-4-5-20250929", "deny:claude-sonnet-4-5-20250929"),
        ("claude-haiku-4-5-20251001", "deny:claude-haiku-4-5"),
        ("Claude-Haiku-4-5", "deny:claude-haiku-4-5"),
        ("claude-sonnet-4-5-20260101", None),
        ("claude-haiku-4-50", None),
    ],
)
async def test_deny_wins_in_any_spelling(model, rule, tmp_path: Path):
    deny = ["claude-opus-*", "claude-sonnet-4-5-20250929", "claude-haiku-4-5"]
    decision = await decide({"deny": deny}, tmp_path, model=model)

    assert isinstance(decision, Admit) == (rule is None)
    if rule is not None:
        assert decision.rule == rule
        assert "but not claude-opus-*" in decision.message


TEAMS = {
    "allow": ["claude-haiku-*"],
    "deny": ["claude-mythos-*"],
    "teams": {
        "search": {"allow": ["*"]},
        "legal": {"deny": ["claude-haiku-4-5"]},
        "nobody": {"allow": []},
    },
}


@pytest.mark.parametrize(
    ("team", "model", "admitted"),
    [
        ("none", "claude-haiku-4-5", True),
        ("none", NO, False),
        ("search", NO, True),
        ("search", "claude-mythos-5", False),
        ("Search", NO, False),
        ("legal", "claude-haiku-4-5", False),
        ("legal", "claude-haiku-5-5", True),
        ("legal", NO, False),
        ("nobody", "claude-haiku-4-5", False),
    ],
)
async def test_teams_have_their_own_allow_and_more_deny(team, model, admitted, tmp_path: Path):
    decision = await decide(TEAMS, tmp_path, team=team, model=model)

    assert isinstance(decision, Admit) == admitted


@pytest.mark.parametrize(
    ("model", "admitted"),
    [(OK, True), ("claude-haiku-4-5", True), ("claude-sonnet-4-6[1m]", True), (NO, False)],
)
async def test_the_model_page_is_only_for_allowed_models(model, admitted, tmp_path: Path):
    target = f"/v1/models/{model}?model={OK}"
    decision = await decide(ALLOW, tmp_path, kind=Kind.MODEL, target=target)

    assert isinstance(decision, Answer) == admitted
    if not admitted:
        assert decision.status == 404
        assert decision.message.startswith(f"model: {model} is not allowed")


async def test_the_query_has_no_say(tmp_path: Path):
    decision = await decide(ALLOW, tmp_path, target=f"/v1/messages?model={OK}", model=NO)

    assert isinstance(decision, Refuse)


async def test_a_hint_is_short(tmp_path: Path):
    allow = [f"claude-model-{n}" for n in range(1000)]
    decision = await decide({"allow": allow}, tmp_path, model="x" * 200)

    assert decision.message.endswith("claude-model-7 and 992 more")
    assert len(decision.message) < 600


@pytest.mark.parametrize(
    ("config", "named"),
    [
        ({}, "no rules"),
        ({"teams": {"a": {"allow": ["*"]}}}, "general allow"),
        ({"allow": [""]}, "allow[0]"),
        ({"allow": ["ok", "claude-?"]}, "allow[1]"),
        ({"allow": ["claude-opus-4-7[1m]"]}, "leave [1m] away"),
        ({"allow": ["claude opus"]}, "allow[0]"),
        ({"deny": ["cl\u0430ude"]}, "deny[0]"),
        ({"allow": ["*"], "teams": {"a": {"deny": ["[a-z]"]}}}, "teams.a.deny[0]"),
    ],
)
async def test_a_rule_that_could_never_match_is_an_error(config, named, tmp_path: Path):
    with pytest.raises(PluginError) as caught:
        async with open_plugin(plugin, config, state_dir=tmp_path):
            pass

    assert named in str(caught.value)


async def test_a_wide_glob_is_fast(tmp_path: Path):
    glob = "*a" * 60 + "*b"
    decision = await decide({"allow": [glob]}, tmp_path, model="a" * 200)

    assert isinstance(decision, Refuse)


ALIASES = {"allow": ["family:haiku"], "aliases": {"fast": "claude-haiku-4-5", "big": NO}}


async def sent(config, state_dir: Path, raw: bytes, team="none"):
    """What leaves, byte for byte, or the refusal."""
    request = make_request(raw, principal=Principal("p", team))
    async with open_plugin(plugin, config, state_dir=state_dir) as policy:
        decision = await policy.admit(make_exchange(), request)
    return splice(raw, decision.edits) if isinstance(decision, Admit) else decision


async def test_an_alias_is_an_edit_of_that_one_value(tmp_path: Path):
    raw = b'{"max_tokens":1, "messages":[], "fallbacks":[{"model":"fast[1m]"}], "model" : "fast"}'

    assert await sent(ALIASES, tmp_path, raw) == (
        b'{"max_tokens":1, "messages":[], "fallbacks":[{"model":"claude-haiku-4-5"}],'
        b' "model" : "claude-haiku-4-5"}'
    )


async def test_an_alias_opens_nothing(tmp_path: Path):
    decision = await decide(ALIASES, tmp_path, model="big")
    denied = await decide({**ALIASES, "deny": ["fast"]}, tmp_path, model="fast")

    assert isinstance(decision, Refuse)
    assert (decision.rule, decision.pointer) == ("not_allowed", "/model")
    assert isinstance(denied, Refuse)
    assert denied.rule == "deny:fast"


async def test_a_team_has_its_own_aliases(tmp_path: Path):
    config = {**ALIASES, "teams": {"red": {"aliases": {"fast": "claude-3-5-haiku-latest"}}}}
    raw = b'{"model":"fast","max_tokens":1,"messages":[]}'

    assert b"claude-3-5-haiku-latest" in await sent(config, tmp_path, raw, "red")
    assert b"claude-haiku-4-5" in await sent(config, tmp_path, raw, "blue")


@pytest.mark.parametrize(
    "aliases",
    [{"a": "b", "b": "claude-x"}, {"a b": "claude-x"}, {"a": "not an id"}, {"a[1m]": "claude-x"}],
)
async def test_aliases_that_cannot_be_meant(aliases, tmp_path: Path):
    with pytest.raises(PluginError, match="aliases"):
        await decide({"allow": ["*"], "aliases": aliases}, tmp_path)


@pytest.mark.parametrize(
    ("model", "allowed"),
    [
        ("claude-haiku-4-5", True),
        ("claude-haiku-4-5-20251001", True),
        ("claude-3-5-haiku-latest", True),
        ("claude-haiku-5-5[1m]", True),
        ("claude-haiku", True),
        ("claude-haiku-4-5-evil", False),
        ("claude-haikus-4-5", False),
        ("claude-opus-4-8", False),
        ("xclaude-haiku-4-5", False),
        ("Claude-Haiku-4-5", False),
    ],
)
async def test_a_family_is_all_of_its_versions(model, allowed, tmp_path: Path):
    decision = await decide({"allow": ["family:haiku"]}, tmp_path, model=model)

    assert isinstance(decision, Admit) == allowed


@pytest.mark.parametrize(
    "model", ["claude-opus-4-8", "Claude-OPUS-9", "us.anthropic.claude-3-opus-20240229-v1:0"]
)
async def test_a_denied_family_is_denied_in_every_spelling(model, tmp_path: Path):
    decision = await decide({"deny": ["family:opus"]}, tmp_path, model=model)

    assert isinstance(decision, Refuse)
    assert decision.rule == "deny:family:opus"


@pytest.mark.parametrize(
    ("model", "allowed"),
    [
        ("claude-3-5-haiku", False),
        ("claude-3-5-haiku-latest", False),
        ("claude-3-5-haiku-20241022", False),
        ("claude-3-5-haiku-20250101", True),
    ],
)
async def test_a_denied_snapshot_takes_what_may_mean_it(model, allowed, tmp_path: Path):
    decision = await decide({"deny": ["claude-3-5-haiku-20241022"]}, tmp_path, model=model)

    assert isinstance(decision, Admit) == allowed


async def listing(config, state_dir: Path, query="?limit=1000", team="none"):
    target = f"/v1/models{query}"
    decision = await decide(config, state_dir, kind=Kind.MODELS, target=target, team=team)
    return json.loads(decision.body) if isinstance(decision, Answer) else decision


def ids(page) -> list[str]:
    return [model["id"] for model in page["data"]]


async def test_the_list_holds_what_the_caller_may_use(tmp_path: Path):
    config = {
        "allow": ["family:haiku", "claude-new-9"],
        "aliases": {"fast": "claude-haiku-4-5", "big": NO},
        "catalogue": {"claude-haiku-6": "Claude Haiku 6", "claude-opus-6": "Claude Opus 6"},
        "teams": {"research": {"allow": ["*"]}},
    }
    page = await listing(config, tmp_path)
    research = await listing(config, tmp_path, team="research")

    assert ids(page) == [
        *("fast", "claude-haiku-6", "claude-haiku-5-5", "claude-haiku-4-5-20251001"),
        "claude-new-9",
    ]
    assert {"big", "claude-opus-6", "claude-fable-5-2"} <= set(ids(research))
    assert page["data"][2] == {
        "type": "model",
        "id": "claude-haiku-5-5",
        "display_name": "Claude Haiku 5.5",
        "created_at": "2026-10-07T00:00:00Z",
        "max_input_tokens": 1_000_000,
        "max_tokens": 128_000,
    }


async def test_the_list_comes_in_pages(tmp_path: Path):
    every = ids(await listing({"allow": ["*"]}, tmp_path))
    seen: list[str] = []
    query = "?limit=7"
    while True:
        page = await listing({"allow": ["*"]}, tmp_path, query)
        assert (page["first_id"], page["last_id"]) == (ids(page)[0], ids(page)[-1])
        seen += ids(page)
        if not page["has_more"]:
            break
        query = f"?limit=7&after_id={page['last_id']}"
    back = await listing({"allow": ["*"]}, tmp_path, f"?limit=2&before_id={every[5]}")

    assert seen == every
    assert (ids(back), back["has_more"]) == (every[3:5], True)
    assert len(ids(await listing({"allow": ["*"]}, tmp_path, ""))) == min(20, len(every))


@pytest.mark.parametrize(
    "query", ["?limit=0", "?limit=1001", "?limit=x", "?limit=", "?after_id=no", "?limit=1&limit=2"]
)
async def test_a_page_that_there_is_not_is_refused(query, tmp_path: Path):
    decision = await listing({"allow": ["*"]}, tmp_path, query)

    assert isinstance(decision, Refuse)
    assert decision.status == 400


async def test_nothing_allowed_is_an_empty_list(tmp_path: Path):
    page = await listing({"allow": []}, tmp_path)

    assert page == {"data": [], "has_more": False, "first_id": None, "last_id": None}


async def test_the_upstream_may_list(tmp_path: Path):
    config = {"allow": ["*"], "listing": "forward"}
    one = await decide(config, tmp_path, kind=Kind.MODEL, target=f"/v1/models/{OK}")

    assert isinstance(await listing(config, tmp_path), Admit)
    assert isinstance(one, Admit)


async def test_one_model_is_described_or_asked_for_upstream(tmp_path: Path):
    config = {"allow": ["*"], "aliases": {"fast": "claude-haiku-4-5"}}

    def one(name: str):
        return decide(config, tmp_path, kind=Kind.MODEL, target=f"/v1/models/{name}")

    assert json.loads((await one("claude-haiku-4-5")).body)["id"] == "claude-haiku-4-5-20251001"
    assert json.loads((await one("fast")).body)["id"] == "fast"
    assert isinstance(await one("claude-unheard-of"), Admit)
