"""features: what is used is found wherever it stands, and refused by name."""

from pathlib import Path
from typing import Any

import msgspec
import pytest

from tidegate.errors import PluginError
from tidegate.exchange import Principal
from tidegate.plugin import ADMIT, Admit, Refuse
from tidegate.testing.fakes import DOCUMENT, make_exchange, make_request, open_plugin
from tidegate.wire.body import parse
from tidegate.wire.routes import CLOSED, Kind
from tidegate_plugins.features import plugin
from tidegate_plugins.features.uses import ToolKind, origin, tool_kind, uses


async def decide(
    config: Any,
    state_dir: Path,
    *,
    kind: Kind = Kind.MESSAGES,
    team: str = "none",
    headers: Any = None,
    **body: Any,
) -> Any:
    document = {**DOCUMENT, **body} if kind in (Kind.MESSAGES, Kind.COUNT_TOKENS) else None
    request = make_request(document, kind=kind, principal=Principal("p", team))
    async with open_plugin(plugin, config, state_dir=state_dir) as policy:
        return await policy.admit(make_exchange(kind, headers=headers), request)


def assert_refused(decision: Any, rule: str, pointer: str = "") -> None:
    assert isinstance(decision, Refuse)
    assert (decision.status, decision.error_type) == (403, "permission_error")
    assert (decision.rule, decision.pointer) == (rule, pointer)


@pytest.mark.parametrize(
    ("type_", "family", "runs"),
    [
        (None, "custom", "client"),
        ("custom", "custom", "client"),
        ("bash_20250124", "bash", "client"),
        ("text_editor_20250728", "text_editor", "client"),
        ("memory_20250818", "memory", "client"),
        ("computer_20251124", "computer", "client"),
        ("computer_toolset_20260801", "computer", "client"),
        ("browser_toolset_20260801", "browser", "client"),
        ("web_search_20250305", "web_search", "server"),
        ("web_fetch_20260318", "web_fetch", "server"),
        ("web_fetch_20990101", "web_fetch", "server"),
        ("code_execution_20260521", "code_execution", "server"),
        ("tool_search_tool_regex", "tool_search", "server"),
        ("tool_search_tool_bm25_20251119", "tool_search", "server"),
        ("advisor_20260301", "advisor", "server"),
        ("mcp_toolset", "mcp_toolset", "server"),
        ("web_fetch", "web_fetch", "server"),
        ("bash_of_tomorrow", "unknown", "unknown"),
        ("Web_Fetch_20250910", "unknown", "unknown"),
        ("web_fetch_2025", "unknown", "unknown"),
        ("", "unknown", "unknown"),
        (7, "unknown", "unknown"),
    ],
)
def test_what_a_tool_is_and_who_runs_it(type_: object, family: str, runs: str) -> None:
    assert tool_kind(type_) == ToolKind(family, runs)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://a.example/x?y#z", ("https", "a.example")),
        ("HTTP://A.Example:8080", ("http", "a.example")),
        ("https://a.example./", ("https", "a.example")),
        ("https://a.example@b.example/", ("https", "unreadable")),
        ("https://a.example:b@c.example/", ("https", "unreadable")),
        ("https://[::1]/", ("https", "unreadable")),
        ("https:/a.example/", ("https", "unreadable")),
        ("https://a.example\\b", ("https", "unreadable")),
        ("https://a.example/ b", ("https", "unreadable")),
        ("https://a_b.example/", ("https", "unreadable")),
        ("javascript:alert(1)", ("unreadable", "unreadable")),
        ("file:///etc/passwd", ("file", "unreadable")),
        ("", ("unreadable", "unreadable")),
        (None, ("unreadable", "unreadable")),
    ],
)
def test_an_address_is_read_one_way_or_not_at_all(url: object, expected: Any) -> None:
    assert origin(url) == expected


@pytest.mark.parametrize("kind", [Kind.MESSAGES, Kind.COUNT_TOKENS])
@pytest.mark.parametrize(
    ("config", "body", "rule", "pointer"),
    [
        ({"tools": {"deny": ["server"]}}, {"tools": [{"type": "custom"}, {"type": "web_search_20250305"}]}, "tools:deny:server", "/tools/1"),
        ({"tools": {"deny": ["web_fetch"]}}, {"tools": [{"type": "web_fetch_20990101"}]}, "tools:deny:web_fetch", "/tools/0"),
        ({"tools": {"allow": ["client"]}}, {"tools": [{"type": "oracle_1"}]}, "tools:not_allowed", "/tools/0"),
        ({"fields": {"deny": ["container"]}}, {"container": "c"}, "fields:deny:container", "/container"),
        ({"fields": {"deny": ["unknown"]}}, {"new": 1}, "fields:deny:unknown", "/new"),
        ({"mcp_hosts": {"allow": ["*.corp.example"]}}, {"mcp_servers": [{"url": "https://evil.example"}]}, "mcp_hosts:not_allowed", "/mcp_servers/0/url"),
        ({"url_schemes": {"allow": ["https"]}}, {"mcp_servers": [{"url": "http://a.example"}]}, "url_schemes:not_allowed", "/mcp_servers/0/url"),
        ({"skills": {"allow": ["anthropic/*"]}}, {"container": {"skills": [{"type": "custom", "skill_id": "s"}]}}, "skills:not_allowed", "/container/skills/0"),
        ({"service_tiers": {"deny": ["auto"]}}, {"service_tier": "auto"}, "service_tiers:deny:auto", "/service_tier"),
        ({"speeds": {"deny": ["fast"]}}, {"fallbacks": [{"model": "m", "speed": "fast"}]}, "speeds:deny:fast", "/fallbacks/0/speed"),
        ({"inference_geos": {"allow": ["us"]}}, {"inference_geo": "global"}, "inference_geos:not_allowed", "/inference_geo"),
        ({"inference_geos": {"allow": ["us"]}}, {}, "inference_geos:not_allowed", ""),
        ({"stream": "required"}, {}, None, None),
    ],
)  # fmt: skip
async def test_what_may_not_be_used_is_refused_with_its_field(
    config: Any, body: Any, rule: str | None, pointer: str, kind: Kind, tmp_path: Path
) -> None:
    decision = await decide(config, tmp_path, kind=kind, **body)

    if rule is not None:
        assert_refused(decision, rule, pointer)


@pytest.mark.parametrize(
    ("config", "body"),
    [
        ({"tools": {"deny": ["server"]}}, {"tools": [{"name": "a"}, {"type": "bash_20250124"}]}),
        ({"tools": {"allow": ["web_search"]}}, {"tools": [{"type": "web_search_20250305"}]}),
        ({"mcp_hosts": {"allow": ["*.corp.example"]}}, {"mcp_servers": [{"url": "https://a.corp.example"}]}),
        ({"inference_geos": {"allow": ["us", "unsaid"]}}, {}),
        ({"service_tiers": {"deny": ["standard_only"]}}, {"service_tier": "auto"}),
        ({"skills": {"allow": ["anthropic/*"]}}, {"container": {"skills": [{"type": "anthropic", "skill_id": "pdf"}]}}),
        ({"stream": "required"}, {"stream": True}),
        ({"stream": "forbidden"}, {"stream": False}),
        ({"stream": "forbidden"}, {}),
    ],
)  # fmt: skip
async def test_what_may_be_used_passes(config: Any, body: Any, tmp_path: Path) -> None:
    assert await decide(config, tmp_path, **body) is ADMIT


async def test_streaming_may_be_required(tmp_path: Path) -> None:
    decision = await decide({"stream": "required"}, tmp_path)

    assert (decision.status, decision.rule, decision.pointer) == (400, "stream:required", "/stream")
    assert await decide({"stream": "required"}, tmp_path, kind=Kind.COUNT_TOKENS) is ADMIT


async def test_a_beta_refuses_the_request(tmp_path: Path) -> None:
    config = {
        "betas": {"deny": ["mcp-client-*"]},
        "teams": {"red": {"betas": {"deny": ["unknown"]}}},
    }
    mcp = {"anthropic-beta": "effort-2025-11-24, mcp-client-2026-09-15"}
    new = {"anthropic-beta": "of-tomorrow-2099-01-01"}

    assert_refused(await decide(config, tmp_path, headers=mcp), "betas:deny:mcp-client-*")
    assert await decide(config, tmp_path, headers=new) is ADMIT
    assert_refused(await decide(config, tmp_path, headers=new, team="red"), "betas:deny:unknown")
    assert await decide(config, tmp_path, headers=mcp, team="red") is ADMIT


async def test_headers_that_choose_an_account(tmp_path: Path) -> None:
    config = {"headers": {"deny": ["*"]}}
    decision = await decide(config, tmp_path, headers={"anthropic-workspace-id": "w"})

    assert_refused(decision, "headers:deny:*")


@pytest.mark.parametrize("kind", sorted(CLOSED))
async def test_batches_and_files_are_opened_by_name_only(kind: Kind, tmp_path: Path) -> None:
    name = "files" if "file" in kind else "batches"
    closed = await decide({"speeds": {"deny": ["fast"]}}, tmp_path, kind=kind)
    config = {"endpoints": {"allow": []}, "teams": {"red": {"endpoints": {"allow": [name]}}}}
    opened = await decide(config, tmp_path, kind=kind, team="red")

    assert_refused(closed, "endpoints:not_allowed")
    assert isinstance(opened, Admit)
    assert opened.opens


async def test_an_endpoint_may_be_denied(tmp_path: Path) -> None:
    config = {"endpoints": {"deny": ["count_tokens"]}}

    assert_refused(
        await decide(config, tmp_path, kind=Kind.COUNT_TOKENS), "endpoints:deny:count_tokens"
    )
    assert await decide(config, tmp_path) is ADMIT


def test_a_conversation_of_text_and_the_clients_own_tools_uses_nothing_else() -> None:
    use = {"type": "tool_use", "id": "t", "name": "n", "input": {"source": {"url": "https://a"}}}
    result = {"type": "tool_result", "tool_use_id": "t", "content": [{"type": "text", "text": "x"}]}
    document = {
        **DOCUMENT,
        "system": [{"type": "text", "text": "s"}],
        "tools": [{"name": "n", "input_schema": {"properties": {"source": {"url": "x"}}}}],
        "messages": [{"role": "user", "content": [use, result]}, {"role": "user", "content": "t"}],
    }

    assert [use.area for use in uses(parse(msgspec.json.encode(document)))] == ["inference_geos"]


@pytest.mark.parametrize(
    ("config", "named"),
    [
        ({}, "no rules"),
        ({"endpoints": {"allow": ["uploads"]}}, "endpoints"),
        ({"teams": {"a": {"tools": {"deny": ["a b"]}}}}, "teams.a.tools.deny[0]"),
        ({"betas": {"allow": ["[a-z]"]}}, "betas.allow[0]"),
    ],
)
async def test_rules_that_could_never_match_are_errors(
    config: Any, named: str, tmp_path: Path
) -> None:
    with pytest.raises(PluginError) as caught:
        await decide(config, tmp_path)

    assert named in str(caught.value)
