"""Identity through a running gateway: what the upstream sees, what the record says, what never leaves."""

import json
from pathlib import Path

import pytest

from support.gateway import Gateway, gateway
from support.issuer import Idp, idp, rsa_key, sign
from support.raw import ask, post
from tidegate.keys import digest, new_key
from tidegate.testing.upstream import Call, scripted_upstream

KEY = new_key()
BODY = json.dumps({"model": "claude-haiku-4-5", "max_tokens": 5, "messages": []}).encode()
OWN = '[upstream]\ncredential = { env = "UPSTREAM_KEY" }\n'
IDENTIFY = '[[plugins]]\nuse = "identify"\n[plugins.config]\n'
KEYS = f'keys = [{{ id = "ci", team = "web", sha256 = "{digest(KEY)}" }}]\n'
TRUSTED = '[plugins.config.trusted]\nprincipal = "X-Auth-User"\nteam = "X-Auth-Team"\n'
ANA = b"X-Auth-User: ana\r\nx-auth-team: search\r\n"


@pytest.fixture(autouse=True)
def upstream_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UPSTREAM_KEY", "upstream-" + "secret")


async def answer(call: Call) -> None:
    await call.answer(b"{}")


def issuer(provider: Idp, **more: str) -> str:
    fields = {"issuer": provider.url, "jwks_url": f"{provider.url}/keys", "team": "team"} | more
    lines = "".join(f'{name} = "{value}"\n' for name, value in fields.items())
    return f'[[plugins.config.issuers]]\naudience = ["tidegate"]\n{lines}'


def journal(gate: Gateway) -> bytes:
    return b"".join(path.read_bytes() for path in gate.directory.glob("*.jsonl"))


@pytest.mark.parametrize("form", [b"authorization: Bearer %s\r\n", b"x-api-key: %s\r\n"])
async def test_a_token_opens_the_gateway_and_stays_here(tmp_path: Path, form: bytes) -> None:
    async with idp() as provider, scripted_upstream(answer) as upstream:
        toml = OWN + IDENTIFY + issuer(provider)
        token = sign(provider.claims(team="search"), rsa_key())
        async with gateway(tmp_path, upstream.url, toml) as gate:
            status, _, _ = await ask(gate.port, post(BODY, headers=form % token.encode()))
            record = await gate.exchange()
            written = journal(gate)
    assert status == 200
    assert record["principal"] == {"id": "ana", "team": "search"}
    assert [(d["plugin"], d["rule"]) for d in record["decisions"]] == [("identify", "token")]
    assert upstream.heard[0].header("x-api-key") == "upstream-secret"
    assert token.split(".")[2] not in str(upstream.heard)
    assert token.split(".")[2].encode() not in written


async def test_what_is_wrong_with_a_token_is_in_the_record_and_not_in_the_answer(
    tmp_path: Path,
) -> None:
    async with idp() as provider, scripted_upstream(answer) as upstream:
        toml = (
            '[upstream]\ncredential = "forward"\n'
            + IDENTIFY
            + "forward = true\n"
            + issuer(provider)
        )
        tokens = {
            "bad_signature": sign(provider.claims(), rsa_key("attacker")),
            "unknown_key_id": sign(provider.claims(), rsa_key(), kid="x"),
            "wrong_audience": sign(provider.claims(aud="other"), rsa_key()),
            "unknown_issuer": sign(provider.claims(iss="https://x.invalid"), rsa_key()),
        }
        said = []
        async with gateway(tmp_path, upstream.url, toml) as gate:
            for token in tokens.values():
                header = f"authorization: Bearer {token}\r\n".encode()
                status, fields, body = await ask(gate.port, post(BODY, headers=header))
                error = json.loads(body)["error"]
                said.append(
                    (status, dict(fields)["x-should-retry"], error["type"], error["message"])
                )
            records = await gate.exchanges(4)
        assert not upstream.heard
    assert len(set(said)) == 1
    assert said[0][:3] == (401, "false", "authentication_error")
    assert [record["refused_by"]["rule"] for record in records] == list(tokens)


async def test_the_headers_of_a_mesh_are_believed_and_stay_here(tmp_path: Path) -> None:
    toml = OWN + IDENTIFY + TRUSTED + 'networks = ["127.0.0.0/8"]\n'
    async with scripted_upstream(answer) as upstream, gateway(tmp_path, upstream.url, toml) as gate:
        status, _, _ = await ask(gate.port, post(BODY, headers=ANA + b"x-other: stays\r\n"))
        record = await gate.exchange()
    assert status == 200
    assert record["principal"] == {"id": "ana", "team": "search"}
    (heard,) = upstream.heard
    assert not [name for name, _ in heard.headers if name.lower().startswith("x-auth-")]
    assert heard.header("x-other") == "stays"


@pytest.mark.parametrize(
    "more", [b"X-AUTH-USER: root\r\n", b"x-auth-user:\r\n", b"x-auth-team: x\r\n"]
)
async def test_a_header_that_is_there_twice_is_refused(tmp_path: Path, more: bytes) -> None:
    toml = OWN + IDENTIFY + TRUSTED + 'networks = ["127.0.0.0/8"]\n'
    async with scripted_upstream(answer) as upstream, gateway(tmp_path, upstream.url, toml) as gate:
        for headers in (ANA + more, more + ANA):
            status, _, body = await ask(gate.port, post(BODY, headers=headers))
            assert status == 401
            assert json.loads(body)["error"]["type"] == "authentication_error"
        assert not upstream.heard


async def test_from_elsewhere_the_headers_are_nothing_and_stay_here_as_well(tmp_path: Path) -> None:
    toml = OWN + IDENTIFY + KEYS + TRUSTED + 'networks = ["10.0.0.0/8"]\n'
    async with scripted_upstream(answer) as upstream, gateway(tmp_path, upstream.url, toml) as gate:
        alone, _, _ = await ask(gate.port, post(BODY, headers=ANA))
        key = f"x-api-key: {KEY}\r\n".encode()
        with_key, _, _ = await ask(gate.port, post(BODY, headers=ANA + key))
        _, record = await gate.exchanges(2)
    assert (alone, with_key) == (401, 200)
    assert record["principal"] == {"id": "ci", "team": "web"}
    assert [d["verdict"] for d in record["decisions"]] == ["admit", "ignored"]
    (heard,) = upstream.heard
    assert not [name for name, _ in heard.headers if name.lower().startswith("x-auth-")]


async def test_a_shadow_keeps_what_is_meant_for_it_as_well(tmp_path: Path) -> None:
    toml = OWN + IDENTIFY + KEYS + TRUSTED + 'networks = ["127.0.0.0/8"]\n'
    toml = toml.replace('use = "identify"', 'use = "identify"\nmode = "shadow"')
    async with scripted_upstream(answer) as upstream, gateway(tmp_path, upstream.url, toml) as gate:
        assert (await ask(gate.port, post(BODY, headers=ANA)))[0] == 200
    assert not [n for n, _ in upstream.heard[0].headers if n.lower().startswith("x-auth-")]


@pytest.mark.parametrize(
    "headers",
    [
        f"x-api-key: {KEY}\r\nauthorization: Bearer another\r\n",
        f"x-api-key: {KEY}\r\nx-api-key: another\r\n",
        f"authorization: Bearer {KEY}\r\nauthorization: Bearer another\r\n",
        f"authorization: Bearer {KEY}, Bearer another\r\n",
    ],
    ids=["both forms", "two keys", "two bearers", "two in one"],
)
async def test_two_credentials_that_disagree_are_none(tmp_path: Path, headers: str) -> None:
    toml = OWN + IDENTIFY + KEYS
    async with scripted_upstream(answer) as upstream, gateway(tmp_path, upstream.url, toml) as gate:
        status, _, body = await ask(gate.port, post(BODY, headers=headers.encode()))
        assert status == 401
        assert json.loads(body)["error"]["type"] == "authentication_error"
        assert not upstream.heard
