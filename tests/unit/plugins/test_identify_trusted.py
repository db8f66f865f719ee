"""identify: what a mesh says of a caller, believed from its networks only."""

import re
from pathlib import Path
from typing import Any

import pytest

from tidegate import keys
from tidegate.errors import PluginError
from tidegate.plugin import Admit, Decision, Refuse
from tidegate.testing.fakes import make_exchange, make_request, open_plugin
from tidegate_plugins.identify import plugin
from tidegate_plugins.identify.trusted import certified

KEY = keys.new_key()
OWN = "sk-" + "ant-" + "x" * 20
NAMED = {"networks": ["10.2.0.0/16"], "principal": "X-Auth-User", "team": "x-auth-team"}
MESH = {
    "networks": ["10.2.0.0/16", "fd00::/8"],
    "certificate": "x-forwarded-client-cert",
    "teams": {"spiffe://corp/ns/search/*": "search", "spiffe://corp/*": "others"},
}
INSIDE, OUTSIDE = "10.2.3.4", "192.0.2.7"


async def ask(
    trusted: dict[str, Any],
    headers: dict[str, str],
    state_dir: Path,
    *,
    peer: str = INSIDE,
    credential: str | None = None,
    forward: bool = False,
) -> Decision:
    key = {"id": "ci-web", "team": "web", "sha256": keys.digest(KEY)}
    config = {"trusted": trusted, "keys": [key], "forward": forward}
    async with open_plugin(
        plugin, config, state_dir=state_dir, forwards_credential=forward
    ) as policy:
        exchange = make_exchange(peer=peer, headers=headers)
        decision: Decision = await policy.admit(exchange, make_request(credential=credential))
    return decision


async def test_a_header_names_the_caller(tmp_path: Path) -> None:
    decision = await ask(NAMED, {"x-auth-user": "ana@corp", "X-Auth-Team": "search"}, tmp_path)
    assert isinstance(decision, Admit)
    assert decision.principal is not None
    assert (decision.principal.id, decision.principal.team) == ("ana@corp", "search")
    assert decision.consumes_headers == {"x-auth-user", "x-auth-team"}
    assert decision.rule == "trusted_headers"


@pytest.mark.parametrize(
    ("value", "team"),
    [
        ("By=spiffe://corp/gw;Hash=ab12;URI=spiffe://corp/ns/search/sa/ci", "search"),
        ('Hash=ab;Subject="CN=x,O=\\"Corp, Inc\\"";URI=spiffe://corp/ns/web/sa/ci', "others"),
        ("uri=spiffe://corp/ns/search/sa/ci;DNS=a.corp;DNS=b.corp", "search"),
        ("URI=spiffe://elsewhere/ns/search/x", None),
        ("URI=spiffe://corp/ns/search/a,URI=spiffe://corp/ns/search/b", None),
        ("URI=spiffe://corp/ns/search/a, URI=spiffe://corp/ns/search/a", None),
        ("URI=spiffe://corp/ns/search/a;URI=spiffe://corp/ns/search/b", None),
        ('Subject="URI=spiffe://corp/ns/search/a"', None),
        ('Subject="x;URI=spiffe://corp/ns/search/a', None),
        ("Hash=ab", None),
        ("", None),
    ],
)
async def test_a_certificate_names_the_caller(value: str, team: str | None, tmp_path: Path) -> None:
    decision = await ask(MESH, {"x-forwarded-client-cert": value}, tmp_path)
    if team is None:
        assert isinstance(decision, Refuse)
        assert (decision.status, decision.rule) == (401, "bad_header")
    else:
        assert isinstance(decision, Admit)
        assert decision.principal is not None
        assert decision.principal.id.startswith("spiffe://corp/ns/")
        assert decision.principal.team == team


def test_another_field_can_be_the_name() -> None:
    assert certified("URI=spiffe://corp/x;DNS=a.corp", "DNS") == "a.corp"
    assert certified("DNS=a.corp;DNS=b.corp", "DNS") == ""


@pytest.mark.parametrize(
    "headers",
    [
        {"x-auth-user": "ana, bob", "x-auth-team": "search"},
        {"x-auth-user": ", ana", "x-auth-team": "search"},
        {"x-auth-user": "ana", "x-auth-team": "search, admin"},
        {"x-auth-user": "ana"},
        {"x-auth-team": "search"},
        {"x-auth-user": "", "x-auth-team": "search"},
        {"x-auth-user": "ana bob", "x-auth-team": "search"},
        {"x-auth-user": "cred-0123456789ab", "x-auth-team": "search"},
        {"x-auth-user": "ci-web", "x-auth-team": "search"},
        {"x-auth-user": "an\u00e4", "x-auth-team": "search"},
    ],
)
async def test_what_is_not_one_name_and_one_team_is_refused(
    headers: dict[str, str], tmp_path: Path
) -> None:
    """Repeated headers reach a policy joined by a comma."""
    for credential in (None, KEY):
        decision = await ask(NAMED, headers, tmp_path, credential=credential)
        assert isinstance(decision, Refuse)
        assert (decision.status, decision.error_type, decision.rule) == (
            401, "authentication_error", "bad_header",
        )  # fmt: skip


@pytest.mark.parametrize("peer", [OUTSIDE, "", "unix", "10.3.0.1", "::ffff:192.0.2.7"])
async def test_from_elsewhere_it_is_nothing(peer: str, tmp_path: Path) -> None:
    headers = {"x-auth-user": "root", "x-auth-team": "admin"}
    alone = await ask(NAMED, headers, tmp_path, peer=peer)
    with_key = await ask(NAMED, headers, tmp_path, peer=peer, credential=KEY)
    assert isinstance(alone, Refuse)
    assert alone.rule == "no_credential"
    assert [(note.rule, note.verdict) for note in alone.notes] == [("trusted_headers", "ignored")]
    assert isinstance(with_key, Admit)
    assert with_key.principal is not None
    assert with_key.principal.id == "ci-web"
    assert with_key.consumes_headers == {"x-auth-user", "x-auth-team"}


async def test_without_the_header_a_credential_counts(tmp_path: Path) -> None:
    decision = await ask(NAMED, {}, tmp_path, credential=KEY)
    assert isinstance(decision, Admit)
    assert decision.principal is not None
    assert decision.principal.id == "ci-web"


@pytest.mark.parametrize(
    ("credential", "ours"),
    [(KEY, True), ("tgk_x", True), (OWN, False)],
    ids=["known", "unknown", "another"],
)
async def test_a_key_beside_the_header_stays_here(
    credential: str, ours: bool, tmp_path: Path
) -> None:
    headers = {"x-auth-user": "ana", "x-auth-team": "search"}
    decision = await ask(NAMED, headers, tmp_path, credential=credential, forward=True)
    assert isinstance(decision, Admit)
    assert decision.consumes_credential == ours
    assert not decision.forwards_credential


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"networks": []}, "networks: name where"),
        ({"networks": ["10.2.0.1/16"]}, "networks"),
        ({"certificate": "x-forwarded-client-cert"}, "name one header"),
        ({"principal": ""}, "name one header"),
        ({"principal": "x auth"}, "'x auth' is not the name of a header"),
        ({"principal": "Authorization"}, "has another meaning"),
        ({"team": "anthropic-beta"}, "has another meaning"),
        ({"team": ""}, "name a team"),
        ({"default_team": "x"}, "the header tells it"),
        ({"field": "Subject"}, "URI or DNS"),
    ],
)
async def test_what_is_wrong_is_named(changes: Any, named: str, tmp_path: Path) -> None:
    with pytest.raises(PluginError, match=re.escape(named)):
        await ask({**NAMED, **changes}, {}, tmp_path)
