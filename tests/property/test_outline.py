"""An outline keeps what decides, and nothing else, whatever the request looks like."""

import asyncio
import json
from contextlib import AsyncExitStack
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import structs

from tidegate.exchange import Principal
from tidegate.plugin import Decision, Refuse
from tidegate.registry import load
from tidegate.testing import make_exchange, make_request, open_plugin
from tidegate.wire.body import Body
from tidegate.wire.outline import outline, restored

ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=12) | st.sampled_from(["default"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)  # fmt: skip
MODELS = st.sampled_from(["claude-opus-5-5", "claude-haiku-5-5[1m]", "claude-haiku-4-5-20251001"])
MODEL = MODELS | st.text(max_size=8)
NUMBERS = st.integers(0, 70_000)
EFFORT = st.sampled_from(["low", "high", "max", "loud"])


def table(**fields: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({}, optional=fields)


RUN = {
    "thinking": table(type=st.just("enabled"), budget_tokens=NUMBERS | ANYTHING) | ANYTHING,
    "output_config": table(effort=EFFORT | ANYTHING, task_budget=table(total=NUMBERS)) | ANYTHING,
}
TOOL = table(type=st.sampled_from(["custom", "advisor_20260301", "web_search_20260318"]), name=st.text(max_size=5), model=MODEL, max_tokens=NUMBERS)  # fmt: skip
URL = st.sampled_from(
    [
        "https://a.example/x?y",
        "http://a.example",
        "https://b@a.example/",
        "https://B.example",
        "data:,x",
        "//a",
        "https://a.example\n",
    ]
) | st.text(max_size=8)
SOURCE = (
    table(
        type=st.sampled_from(["url", "file", "base64", "content", "new"]),
        url=URL,
        file_id=st.just("file_1"),
        content=st.deferred(lambda: st.lists(BLOCK, max_size=2)),
    )
    | ANYTHING
)
BLOCK = st.deferred(
    lambda: (
        table(type=st.sampled_from(["text", "tool_use"]), text=st.text(max_size=8))
        | table(type=st.sampled_from(["text", "document", "image"]), source=SOURCE)
        | table(type=st.just("thinking"), thinking=st.text(max_size=8))
        | table(type=st.just("tool_result"), content=st.lists(BLOCK, max_size=2))
        | table(type=st.sampled_from(["tool_addition", "compaction", "container_upload", "new"]),
                tool=table(type=st.sampled_from(["tool_definition", "mcp_tool_reference"]), definition=TOOL),
                content=st.lists(BLOCK, max_size=2), source=SOURCE, odd=BLOCK, tool_changes=st.lists(BLOCK, max_size=2))
        | ANYTHING
    )
)  # fmt: skip
DOCUMENTS = st.fixed_dictionaries(
    {
        "model": MODEL,
        "max_tokens": NUMBERS,
        "messages": st.lists(
            table(role=st.sampled_from(["user", "system"]), content=st.lists(BLOCK, max_size=3) | st.text(max_size=8), output_config=RUN["output_config"]),
            max_size=3,
        ),
    },
    optional={
        **RUN,
        "tools": st.lists(TOOL, max_size=3),
        "system": st.lists(BLOCK, max_size=2) | ANYTHING,
        "speed": st.sampled_from(["fast", "standard"]) | ANYTHING,
        "service_tier": st.sampled_from(["auto", "standard_only"]) | ANYTHING,
        "container": table(skills=st.lists(table(type=st.sampled_from(["custom", "anthropic"]), skill_id=st.text(max_size=5)), max_size=2)) | ANYTHING,
        "mcp_servers": st.lists(table(url=URL), max_size=2) | ANYTHING,
        "tomorrow": ANYTHING,
        "fallbacks": st.just("default") | st.lists(table(model=MODEL, max_tokens=NUMBERS, **RUN), max_size=2) | ANYTHING,
    },
)  # fmt: skip
FEATURES = {
    "tools": {"deny": ["web_search"]},
    "fields": {"deny": ["container", "mcp_servers", "unknown"]},
    "mcp_hosts": {"allow": ["a.example"]},
    "url_hosts": {"allow": ["a.example"]},
    "url_schemes": {"deny": ["http", "unreadable"]},
    "sources": {"deny": ["file", "base64"]},
    "skills": {"deny": ["custom/*"]},
    "speeds": {"deny": ["fast"]},
    "service_tiers": {"allow": ["auto"]},
}
POLICIES = {
    "features": FEATURES,
    "models": {"allow": ["claude-haiku-*"], "teams": {"web": {"allow": ["*"]}}},
    "limits": {"max_tokens": 8192, "budget_tokens": 4096, "effort": "high", "over": "clamp"},
}


@settings(deadline=None)
@given(st.dictionaries(st.text(max_size=10), ANYTHING, max_size=6))
def test_every_document_has_an_outline_that_is_its_own(document: dict[str, Any]):
    kept = outline(document)

    assert outline(kept) == kept


CANARY = "the quick canary"


@settings(deadline=None)
@given(
    st.recursive(
        st.just(CANARY),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(st.sampled_from([*RUN, CANARY, "type", "url", "name", "source", "content", "tools", "messages", "mcp_servers", "system", "container", "fallbacks", "skills"]), inner, max_size=4)
        ),
    ).filter(lambda value: isinstance(value, dict))
)  # fmt: skip
def test_no_sentence_gets_into_an_outline(document: dict[str, Any]):
    assert CANARY not in json.dumps(outline(document))


def outcome(decision: Decision) -> tuple[object, ...]:
    if isinstance(decision, Refuse):
        # Where several rules are broken, another one may be named: blocks stand in another order.
        rule = decision.rule if decision.status != 403 else ""
        return "refuse", decision.status, rule
    return "admit", decision.rule, bool(decision.edits)


def step(policy: Any, document: dict[str, Any], team: str) -> tuple[object, ...]:
    """These policies wait for nothing: their first step is the decision."""
    request = make_request(document, principal=Principal("ana", team))
    try:
        policy.admit(make_exchange(), request).send(None)
    except StopIteration as done:
        return outcome(done.value)
    raise AssertionError("it waits")


@pytest.fixture(scope="module")
def policies(tmp_path_factory: pytest.TempPathFactory) -> list[Any]:
    async def opened() -> list[Any]:
        async with AsyncExitStack() as stack:
            return [
                await stack.enter_async_context(
                    open_plugin(load(name), config, state_dir=tmp_path_factory.mktemp(name))
                )
                for name, config in POLICIES.items()
            ]

    return asyncio.run(opened())


@settings(deadline=None)
@given(DOCUMENTS)
def test_policies_decide_on_an_outline_as_on_the_request(
    policies: list[Any], document: dict[str, Any]
):
    again = restored(
        outline(document),
        messages=len(document["messages"]),
        tools=len(document.get("tools") or ()),
    )

    for policy in policies:
        for team in ("web", "search"):
            assert step(policy, document, team) == step(policy, again, team)


@settings(deadline=None)
@given(DOCUMENTS)
def test_walks_that_are_spared_would_have_found_nothing(
    policies: list[Any], document: dict[str, Any]
):
    """Where the keys of a body are known, policies skip walks; the decisions are the same."""
    request = make_request(document, principal=Principal("ana", "web"))
    body = request.body
    unknown = structs.replace(request, body=Body(body.raw, body.document))
    assert body.names is not None
    for policy in policies:
        decisions = []
        for each in (request, unknown):
            with pytest.raises(StopIteration) as done:
                policy.admit(make_exchange(), each).send(None)
            decisions.append(done.value.value)
        assert decisions[0] == decisions[1]
