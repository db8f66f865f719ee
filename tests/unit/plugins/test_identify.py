"""identify: who may come in, under which name, and what a refusal gives away (nothing)."""

import hashlib
import re
import tomllib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec
import pytest

from tidegate import keys
from tidegate.errors import PluginError
from tidegate.plugin import Admit, Refuse
from tidegate.testing.fakes import EPOCH, FakeClock, make_exchange, make_request, open_plugin
from tidegate.wire.routes import Kind
from tidegate_plugins.identify import plugin
from tidegate_plugins.identify.key_file import obtain
from tidegate_plugins.identify.keyring import digest


@pytest.fixture
def key() -> str:
    return keys.new_key()


def entry(key: str, **fields: object) -> dict[str, object]:
    return {"id": "ci-search", "team": "search", "sha256": keys.digest(key), **fields}


async def decide(config, credential, state_dir: Path, *, peer="192.0.2.7", clock=None, **host):
    async with open_plugin(plugin, config, state_dir=state_dir, clock=clock, **host) as policy:
        return await policy.admit(make_exchange(peer=peer), make_request(credential=credential))


async def test_a_known_key_is_admitted_as_its_principal(key: str, tmp_path: Path):
    decision = await decide({"keys": [entry(key)]}, key, tmp_path)

    assert isinstance(decision, Admit)
    assert (decision.principal.id, decision.principal.team) == ("ci-search", "search")
    assert decision.consumes_credential


async def test_requests_without_a_body_are_identified_too(key: str, tmp_path: Path):
    async with open_plugin(plugin, {"keys": [entry(key)]}, state_dir=tmp_path) as policy:
        for kind in (Kind.MODELS, Kind.MODEL, Kind.COUNT_TOKENS):
            exchange = make_exchange(kind)
            known = await policy.admit(exchange, make_request(kind=kind, credential=key))
            unknown = await policy.admit(exchange, make_request(kind=kind))

            assert isinstance(known, Admit)
            assert isinstance(unknown, Refuse)


CHANGES = {
    "nul": lambda key: key + "\0",
    "space after": lambda key: key + " ",
    "space before": lambda key: " " + key,
    "cut": lambda key: key[:-1],
    "case": lambda key: key.swapcase(),
    "look-alike": lambda key: key.replace("_", "＿", 1),
    "digest": keys.digest,
    "no utf-8": lambda key: key + "\udcff",
    "long": lambda key: key * 500,
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
async def test_nothing_but_the_whole_key_is_the_key(change, key: str, tmp_path: Path):
    presented = change(key)
    decision = await decide({"keys": [entry(key)]}, presented, tmp_path)

    assert isinstance(decision, Refuse)
    assert (decision.status, decision.error_type) == (401, "authentication_error")
    assert decision.rule == "unknown_key"
    assert presented not in decision.message


@pytest.mark.parametrize("credential", [None, ""])
async def test_no_credential_is_told_how_to_send_one(credential, key: str, tmp_path: Path):
    decision = await decide({"keys": [entry(key)]}, credential, tmp_path)

    assert decision.rule == "no_credential"
    assert "x-api-key" in decision.message


@pytest.mark.parametrize(
    "written",
    [
        "expires = 2026-11-18T11:06:40Z",
        'expires = "2026-11-18T12:06:40+01:00"',
    ],
)
async def test_a_key_expires_on_the_second(written: str, key: str, tmp_path: Path):
    config = {"keys": [entry(key, **tomllib.loads(written))]}
    clock = FakeClock(EPOCH - 1)
    before = await decide(config, key, tmp_path, clock=clock)
    clock.advance(1)
    after = await decide(config, key, tmp_path, clock=clock)

    assert isinstance(before, Admit)
    assert after.rule == "expired_key"
    assert key not in after.message


@pytest.mark.parametrize(
    ("peer", "admitted"),
    [
        ("10.1.2.3", True),
        ("::ffff:10.1.2.3", True),
        ("2001:db8::7", True),
        ("11.0.0.1", False),
        ("::ffff:11.0.0.1", False),
        ("2001:db9::7", False),
        ("", False),
        ("unix", False),
        ("10.1.2.3, 11.0.0.1", False),
    ],
)
async def test_networks_are_judged_by_the_connection(peer, admitted, key, tmp_path: Path):
    config = {"keys": [entry(key, networks=["10.0.0.0/8", "2001:db8::/32"])]}
    decision = await decide(config, key, tmp_path, peer=peer)

    assert isinstance(decision, Admit) == admitted
    if not admitted:
        assert decision.rule == "wrong_network"


async def test_forwarded_credentials_get_a_stable_pseudonym(tmp_path: Path):
    config = {"forward": True, "default_team": "people"}
    value = "sk-" + "ant-" + "x" * 40
    first = await decide(config, value, tmp_path, forwards_credential=True)
    again = await decide(config, value, tmp_path, forwards_credential=True)
    other = await decide(config, value + "y", tmp_path, forwards_credential=True)

    assert re.fullmatch("cred-[0-9a-f]{12}", first.principal.id)
    assert first == again
    assert first.principal.id != other.principal.id
    assert first.principal.team == "people"
    assert not first.consumes_credential


async def test_the_pseudonym_is_keyed_by_the_deployment(tmp_path: Path):
    names = set()
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        admitted = await decide(
            {"forward": True}, "secret-1", tmp_path / folder, forwards_credential=True
        )
        names.add(admitted.principal.id)

    assert len(names) == 2
    assert f"cred-{hashlib.sha256(b'secret-1').hexdigest()[:12]}" not in names


async def test_a_listed_pseudonym_has_its_team(tmp_path: Path):
    first = await decide({"forward": True}, "secret-1", tmp_path, forwards_credential=True)
    config = {"forward": True, "teams": {first.principal.id: "search"}}
    listed = await decide(config, "secret-1", tmp_path, forwards_credential=True)

    assert first.principal.team == "none"
    assert listed.principal.team == "search"


async def test_an_unknown_gateway_key_is_never_forwarded(key: str, tmp_path: Path):
    decision = await decide({"forward": True}, key, tmp_path, forwards_credential=True)

    assert decision.rule == "unknown_key"


async def test_an_expired_key_does_not_become_a_forwarded_credential(tmp_path: Path):
    old = "made-by-hand-1"
    config = {"forward": True, "keys": [entry(old, expires="2020-01-01T00:00:00Z")]}
    decision = await decide(config, old, tmp_path, forwards_credential=True)

    assert decision.rule == "expired_key"


@pytest.mark.parametrize(
    ("config", "named"),
    [
        ({}, "nobody could come in"),
        ({"keys": [{"id": "a", "team": "t", "sha256": "abc"}]}, "keys[0] ('a')"),
        ({"keys": [{"id": "a", "team": "t", "sha256": "g" * 64}]}, "64 hex digits"),
        ({"keys": [{"id": "a b", "team": "t", "sha256": "0" * 64}]}, "id must be"),
        ({"keys": [{"id": "cred-0123456789ab", "team": "t", "sha256": "0" * 64}]}, "id must be"),
        ({"keys": [{"id": "a", "team": "", "sha256": "0" * 64}]}, "team must be"),
        (
            {
                "keys": [
                    {"id": i, "team": "t", "sha256": d * 64} for i, d in (("a", "0"), ("a", "1"))
                ]
            },
            "keys[1] ('a'): the id is taken",
        ),
        (
            {
                "keys": [
                    {"id": i, "team": "t", "sha256": d * 64} for i, d in (("a", "b"), ("c", "B"))
                ]
            },
            "keys[1] ('c'): the same sha256 as 'a'",
        ),
        (
            {"keys": [{"id": "a", "team": "t", "sha256": "0" * 64, "networks": ["10.0.0.1/8"]}]},
            "networks",
        ),
        (
            {
                "keys": [
                    {"id": "a", "team": "t", "sha256": "0" * 64, "expires": "2027-01-01T00:00:00"}
                ]
            },
            "offset",
        ),
        ({"keys": [{"id": "a", "team": "t", "sha256": "0" * 64}], "teams": {"x": "y"}}, "teams"),
        ({"forward": True, "teams": {"somebody": "y"}}, "somebody"),
        ({"forward": True, "default_team": "a team"}, "a team"),
    ],
)
async def test_a_wrong_configuration_is_named(config, named: str, tmp_path: Path):
    with pytest.raises(PluginError, match=re.escape(named)):
        async with open_plugin(plugin, config, state_dir=tmp_path, forwards_credential=True):
            pass


async def test_forward_needs_an_upstream_that_checks(tmp_path: Path):
    with pytest.raises(PluginError, match="nobody would check"):
        await decide({"forward": True}, "anything", tmp_path, forwards_credential=False)


async def test_unknown_fields_are_refused(tmp_path: Path):
    config = {"keys": [{"id": "a", "team": "t", "sha256": "0" * 64, "expire": "2020"}]}
    with pytest.raises(msgspec.ValidationError, match="expire"):
        await decide(config, "x", tmp_path)


async def test_digests_in_capitals_are_the_same(key: str, tmp_path: Path):
    config = {"keys": [entry(key, sha256=keys.digest(key).upper())]}

    assert isinstance(await decide(config, key, tmp_path), Admit)


@pytest.mark.parametrize("value", ["", "tgk_x", "ключ", "a\0b", "\udcff\ud800"])
def test_core_and_plugin_agree_on_the_digest(value: str):
    assert digest(value) == keys.digest(value)
    if value.isprintable():
        assert digest(value) == hashlib.sha256(value.encode()).hexdigest()


def test_new_keys_are_long_and_different():
    made = {keys.new_key() for _ in range(100)}

    assert len(made) == 100
    assert all(re.fullmatch(r"tgk_[A-Za-z0-9_-]{43}", key) for key in made)


def test_the_key_file_is_private_and_made_once(tmp_path: Path):
    path = tmp_path / "identify.key"
    with ThreadPoolExecutor(8) as pool:
        secrets = set(pool.map(lambda _: obtain(path), range(32)))

    assert len(secrets) == 1
    assert path.stat().st_mode & 0o777 == 0o600
    assert [made.name for made in tmp_path.iterdir()] == ["identify.key"]


def test_a_key_file_that_is_not_right_is_not_used(tmp_path: Path):
    path = tmp_path / "identify.key"
    path.write_bytes(b"short")
    path.chmod(0o600)
    with pytest.raises(PluginError, match="holds 5 bytes"):
        obtain(path)

    path.write_bytes(b"x" * 32)
    path.chmod(0o644)
    with pytest.raises(PluginError, match="chmod 600"):
        obtain(path)


def test_a_place_without_room_for_the_key_is_named(tmp_path: Path):
    with pytest.raises(PluginError, match="cannot keep the key there"):
        obtain(tmp_path / "missing" / "identify.key")
