"""identify: tokens of an identity provider, which runs here, and those that only look like its own."""

import asyncio
import base64
import contextlib
import hashlib
import hmac
import json
import re
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from support.issuer import Idp, ec_key, ed_key, idp, jwk, rsa_key, sign
from tidegate.errors import PluginError
from tidegate.exchange import Credential
from tidegate.plugin import Admit, Decision, Refuse
from tidegate.testing.fakes import EPOCH, FakeClock, make_exchange, make_request, open_plugin
from tidegate_plugins.identify import plugin

NOW = EPOCH


@pytest.fixture
async def provider() -> AsyncGenerator[Idp, None]:
    async with idp() as running:
        yield running


class Door:
    """The policy, asked with one token at a time."""

    def __init__(self, policy: Any, clock: FakeClock) -> None:
        self.policy, self.clock = policy, clock

    async def __call__(self, token: str, form: str = "bearer") -> Decision:
        request = make_request(credential=Credential(token, form))
        return await self.policy.admit(make_exchange(), request)


@asynccontextmanager
async def door(
    provider: Idp,
    state_dir: Path,
    *,
    clock: FakeClock | None = None,
    more: Any = None,
    **issuer: Any,
) -> AsyncGenerator[Door, None]:
    clock = clock or FakeClock()
    config = {"issuers": [provider.config(**issuer)], **(more or {})}
    forwards = bool((more or {}).get("forward"))
    async with open_plugin(
        plugin, config, state_dir=state_dir, clock=clock, forwards_credential=forwards
    ) as policy:
        yield Door(policy, clock)


def rule(decision: Decision) -> str:
    assert isinstance(decision, Refuse)
    return decision.rule


@pytest.mark.parametrize("form", ["bearer", "x-api-key"])
@pytest.mark.parametrize(
    ("key", "algorithm", "kid"),
    [(rsa_key(), "RS256", "rsa-1"), (ec_key(), "ES256", "ec-1"), (ed_key(), "EdDSA", "ed-1")],
)
async def test_a_good_token_is_admitted_and_stays_here(
    provider: Idp, tmp_path: Path, key: Any, algorithm: str, kid: str, form: str
) -> None:
    provider.keys.append(jwk(ed_key(), "ed-1"))
    async with door(provider, tmp_path) as ask:
        token = sign(provider.claims(NOW), key, algorithm, kid)
        for _ in range(2):  # the second one is remembered
            decision = await ask(token, form)
            assert isinstance(decision, Admit)
            assert decision.consumes_credential
            assert not decision.forwards_credential
            assert decision.principal is not None
            assert (decision.principal.id, decision.principal.team) == ("ana", "none")
            assert decision.rule == "token"
    assert provider.asked == ["/keys"]


def craft(header: dict[str, Any], claims: Any, signature: bytes = b"") -> str:
    parts = (json.dumps(header).encode(), json.dumps(claims).encode(), signature)
    return ".".join(base64.urlsafe_b64encode(part).rstrip(b"=").decode() for part in parts)


def hmac_with(secret: bytes, header: dict[str, Any], claims: Any) -> str:
    unsigned = craft(header, claims).rpartition(".")[0]
    signature = hmac.digest(secret, unsigned.encode(), "sha256")
    return f"{unsigned}.{base64.urlsafe_b64encode(signature).rstrip(b'=').decode()}"


def pem() -> bytes:
    return rsa_key().public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def own_key(claims: Any, **header: Any) -> str:
    """Signed by somebody else, who brings the key along."""
    return sign(claims, rsa_key("attacker"), kid="rsa-1", **header)


EVIL = {
    "no signature": (lambda c: craft({"alg": "none", "kid": "rsa-1"}, c), "wrong_algorithm"),
    "none in another case": (lambda c: craft({"alg": "nOnE"}, c), "wrong_algorithm"),
    "no algorithm": (lambda c: craft({"kid": "rsa-1"}, c), "wrong_algorithm"),
    "algorithm is a list": (lambda c: craft({"alg": ["RS256"]}, c), "wrong_algorithm"),
    "HMAC with the public key": (
        lambda c: hmac_with(pem(), {"alg": "HS256", "kid": "rsa-1"}, c),
        "wrong_algorithm",
    ),
    "HMAC, called RSA": (
        lambda c: hmac_with(pem(), {"alg": "RS256", "kid": "rsa-1"}, c),
        "bad_signature",
    ),
    "EC algorithm for an RSA key": (
        lambda c: sign(c, ec_key(), "ES256", "rsa-1"),
        "unknown_key_id",
    ),
    "RSA algorithm that was not allowed": (
        lambda c: sign(c, rsa_key(), "RS512", "rsa-1"),
        "wrong_algorithm",
    ),
    "somebody else's key": (own_key, "bad_signature"),
    "brings its key": (lambda c: own_key(c, jwk=jwk(rsa_key("attacker"), "rsa-1")), "bad_signature"),
    "names a place of keys": (
        lambda c: own_key(c, jku="http://127.0.0.1:9/keys", x5u="http://127.0.0.1:9/x"),
        "bad_signature",
    ),
    "unknown kid": (lambda c: sign(c, rsa_key(), kid="rsa-2"), "unknown_key_id"),
    "kid is a path": (lambda c: sign(c, rsa_key(), kid="../../dev/null"), "unknown_key_id"),
    "kid is a number": (lambda c: craft({"alg": "RS256", "kid": 1}, c, b"x"), "bad_header"),
    "a critical extension": (
        lambda c: craft({"alg": "RS256", "kid": "rsa-1", "crit": ["x"], "x": 1}, c, b"x"),
        "bad_header",
    ),
    "empty signature": (lambda c: craft({"alg": "RS256", "kid": "rsa-1"}, c), "bad_signature"),
    "encrypted": (lambda c: craft({"alg": "RSA-OAEP", "enc": "A256GCM"}, c) + ".a.b", "wrong_algorithm"),
    "one part more": (lambda c: sign(c, rsa_key()) + ".x", "bad_signature"),
    "claims are a list": (lambda c: craft({"alg": "RS256", "kid": "rsa-1"}, [c]), "unknown_issuer"),
    "too long": (lambda c: sign({**c, "x": "y" * 17_000}, rsa_key()), "token_too_long"),
    "nested deeply": (
        lambda c: craft({"alg": "RS256"}, 0)[:-1].split(".")[0]
        + "." + base64.urlsafe_b64encode(b"[" * 9000).decode() + ".x",
        "unknown_issuer",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", EVIL)
async def test_what_proves_nothing_is_refused(provider: Idp, tmp_path: Path, case: str) -> None:
    make, expected = EVIL[case]
    token = make(provider.claims(NOW))
    async with door(provider, tmp_path) as ask:
        decision = await ask(token)
    assert isinstance(decision, Refuse)
    assert (decision.status, decision.error_type) == (401, "authentication_error")
    assert decision.rule == expected
    assert token not in decision.message
    assert decision.message.startswith("this gateway does not accept the token")


@pytest.mark.parametrize(
    ("claims", "expected"),
    [
        ({"iss": "https://elsewhere.invalid"}, "unknown_issuer"),
        ({"iss": None}, "unknown_issuer"),
        ({"iss": ["x"]}, "unknown_issuer"),
        ({"aud": "another"}, "wrong_audience"),
        ({"aud": None}, "wrong_audience"),
        ({"aud": {"tidegate": 1}}, "wrong_audience"),
        ({"aud": "tidegate2"}, "wrong_audience"),
        ({"exp": None}, "bad_claim"),
        ({"exp": "2099"}, "bad_claim"),
        ({"exp": True}, "bad_claim"),
        ({"exp": 1e300}, "bad_claim"),
        ({"exp": NOW - 60}, "expired_token"),
        ({"nbf": NOW + 61}, "not_yet_valid"),
        ({"nbf": "soon"}, "bad_claim"),
        ({"iat": NOW + 61}, "not_yet_valid"),
        ({"sub": None}, "bad_claim"),
        ({"sub": ""}, "bad_claim"),
        ({"sub": 7}, "bad_claim"),
        ({"sub": "ana\nteam: admin"}, "bad_claim"),
        ({"sub": "cred-0123456789ab"}, "bad_claim"),
        ({"sub": "ci-search"}, "name_taken"),
    ],
)
async def test_claims_are_checked(
    provider: Idp, tmp_path: Path, claims: dict[str, Any], expected: str
) -> None:
    key = {"id": "ci-search", "team": "search", "sha256": hashlib.sha256(b"x").hexdigest()}
    async with door(provider, tmp_path, more={"keys": [key]}) as ask:
        decision = await ask(sign_any(provider.claims(NOW, **claims)))
        assert rule(decision) == expected


def sign_any(claims: dict[str, Any]) -> str:
    """Sign claims that a good library would not make."""
    unsigned = craft({"alg": "RS256", "kid": "rsa-1"}, claims).rpartition(".")[0]
    signature = jwt.algorithms.RSAAlgorithm(jwt.algorithms.RSAAlgorithm.SHA256).sign(
        unsigned.encode(), rsa_key()
    )
    return f"{unsigned}.{base64.urlsafe_b64encode(signature).rstrip(b'=').decode()}"


@pytest.mark.parametrize(
    "claims",
    [
        {"exp": NOW - 59},
        {"nbf": NOW + 59},
        {"iat": NOW + 59},
        {"iat": None},
        {"aud": ["other", "tidegate"]},
        {"exp": NOW + 0.5},
    ],
)
async def test_clocks_may_differ_a_little(provider: Idp, tmp_path: Path, claims: Any) -> None:
    async with door(provider, tmp_path) as ask:
        assert isinstance(await ask(sign_any(provider.claims(NOW, **claims))), Admit)


async def test_a_remembered_token_expires_as_any_other(provider: Idp, tmp_path: Path) -> None:
    clock = FakeClock()
    async with door(provider, tmp_path, clock=clock) as ask:
        token = sign(provider.claims(NOW, exp=int(NOW) + 100), rsa_key())
        assert isinstance(await ask(token), Admit)
        clock.advance(100 + 60)
        assert rule(await ask(token)) == "expired_token"


async def test_a_changed_token_is_not_the_remembered_one(provider: Idp, tmp_path: Path) -> None:
    async with door(provider, tmp_path) as ask:
        token = sign(provider.claims(NOW), rsa_key())
        assert isinstance(await ask(token), Admit)
        head, _, signature = token.split(".")
        other = craft({}, provider.claims(NOW, sub="admin")).split(".")[1]
        assert rule(await ask(f"{head}.{other}.{signature}")) == "bad_signature"


# keys that change, and a provider that is away


async def test_a_new_key_is_found_by_its_first_token(provider: Idp, tmp_path: Path) -> None:
    clock = FakeClock()
    async with door(provider, tmp_path, clock=clock) as ask:
        clock.advance(31)
        provider.keys[:] = [jwk(rsa_key("next"), "rsa-2")]
        new = sign(provider.claims(NOW), rsa_key("next"), kid="rsa-2")
        old = sign(provider.claims(NOW), rsa_key())
        assert isinstance(await ask(new), Admit)
        assert rule(await ask(old)) == "unknown_key_id"
    assert provider.asked == ["/keys", "/keys"]


async def test_a_withdrawn_key_takes_what_was_remembered_with_it(
    provider: Idp, tmp_path: Path
) -> None:
    clock = FakeClock()
    async with door(provider, tmp_path, clock=clock) as ask:
        old = sign(provider.claims(NOW), rsa_key())
        assert isinstance(await ask(old), Admit)
        clock.advance(31)
        provider.keys[:] = [jwk(rsa_key("next"), "rsa-1")]  # under the same name
        assert rule(await ask(sign(provider.claims(NOW), rsa_key(), kid="x"))) == "unknown_key_id"
        assert rule(await ask(old)) == "bad_signature"


async def test_unknown_keys_cost_one_fetch_in_a_while(provider: Idp, tmp_path: Path) -> None:
    clock = FakeClock()
    async with door(provider, tmp_path, clock=clock) as ask:
        tokens = [sign(provider.claims(NOW), rsa_key(), kid=f"made-up-{n}") for n in range(20)]
        clock.advance(29)
        await asyncio.gather(*map(ask, tokens))
        assert len(provider.asked) == 1
        clock.advance(1)
        assert {rule(d) for d in await asyncio.gather(*map(ask, tokens))} == {"unknown_key_id"}
        assert len(provider.asked) == 2


async def test_a_provider_that_is_away_at_the_start_can_come_back(
    provider: Idp, tmp_path: Path
) -> None:
    clock = FakeClock()
    provider.up = False
    async with door(provider, tmp_path, clock=clock) as ask:
        token = sign(provider.claims(NOW), rsa_key())
        decision = await ask(token)
        assert isinstance(decision, Refuse)
        assert (decision.status, decision.rule) == (503, "keys_unavailable")
        assert decision.retry_after_s == 5
        provider.up = True
        clock.advance(30)
        assert isinstance(await ask(token), Admit)


async def test_old_keys_are_used_for_a_while(provider: Idp, tmp_path: Path) -> None:
    clock = FakeClock()
    token = sign(provider.claims(NOW, exp=int(NOW) + 10_000), rsa_key())
    async with door(provider, tmp_path, clock=clock, stale_s=1000) as ask:
        provider.up = False
        clock.advance(1000)
        assert isinstance(await ask(token), Admit)
        clock.advance(1)
        assert rule(await ask(token)) == "keys_unavailable"


async def test_a_restart_does_not_need_the_provider(provider: Idp, tmp_path: Path) -> None:
    clock = FakeClock()
    token = sign(provider.claims(NOW, exp=int(NOW) + 10_000), rsa_key())
    async with door(provider, tmp_path, clock=clock, stale_s=1000):
        pass
    (copy,) = tmp_path.glob("*.jwks")
    assert copy.stat().st_mode & 0o777 == 0o600
    provider.up = False
    clock.advance(900)
    async with door(provider, tmp_path, clock=clock, stale_s=1000) as ask:
        assert isinstance(await ask(token), Admit)
        clock.advance(101)  # the bound counts from when they were fetched
        assert rule(await ask(token)) == "keys_unavailable"


async def test_a_copy_that_others_can_write_is_not_used(provider: Idp, tmp_path: Path) -> None:
    async with door(provider, tmp_path):
        pass
    (copy,) = tmp_path.glob("*.jwks")
    copy.chmod(0o666)
    provider.up = False
    async with door(provider, tmp_path) as ask:
        assert rule(await ask(sign(provider.claims(NOW), rsa_key()))) == "keys_unavailable"


async def test_keys_are_refreshed_in_the_background(provider: Idp, tmp_path: Path) -> None:
    async with door(provider, tmp_path, refresh_s=0.01) as ask:
        provider.keys[:] = [jwk(rsa_key("next"), "rsa-2")]
        before = len(provider.asked)
        async with asyncio.timeout(10):
            while len(provider.asked) < before + 2:
                await asyncio.sleep(0.005)
        new = sign(provider.claims(NOW), rsa_key("next"), kid="rsa-2")
        assert isinstance(await ask(new), Admit)


@pytest.mark.parametrize(
    "answer",
    [b"", b"[]", b"<html>", b'{"keys":[]}', b'{"keys":' + b" " * 300_000 + b"[]}"],
    ids=["empty", "a list", "html", "no keys", "too large"],
)
async def test_nonsense_does_not_replace_good_keys(
    provider: Idp, tmp_path: Path, answer: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    clock = FakeClock()
    async with door(provider, tmp_path, clock=clock) as ask:
        provider.answer = answer
        clock.advance(31)
        unknown = sign(provider.claims(NOW), rsa_key(), kid="made-up")
        assert rule(await ask(unknown)) == "unknown_key_id"
        assert isinstance(await ask(sign(provider.claims(NOW), rsa_key())), Admit)
    assert "cannot be fetched" in caplog.text


async def test_a_redirect_is_not_followed(provider: Idp, tmp_path: Path) -> None:
    async def redirect(call: Any) -> None:
        await call.say(b"HTTP/1.1 302 Found\r\nlocation: /elsewhere\r\ncontent-length: 0\r\n\r\n")

    provider.server.script = redirect
    async with door(provider, tmp_path) as ask:
        assert rule(await ask(sign(provider.claims(NOW), rsa_key()))) == "keys_unavailable"
    assert set(provider.asked) == {"/keys"}


UNUSABLE = {
    "a short RSA key": lambda: jwk(rsa_key("short", 1024), "k"),
    "for encryption": lambda: jwk(rsa_key(), "k", use="enc"),
    "not for checking": lambda: jwk(rsa_key(), "k", key_ops=["encrypt"]),
    "published with its private part": lambda: jwk(rsa_key(), "k", d="AQAB"),
    "symmetric": lambda: {"kty": "oct", "kid": "k", "k": "c2VjcmV0"},
    "for another algorithm": lambda: jwk(rsa_key(), "k", alg="RS512"),
    "no kid that fits": lambda: jwk(rsa_key(), "other"),
    "broken": lambda: {"kty": "RSA", "kid": "k", "n": "!", "e": "AQAB"},
}


@pytest.mark.parametrize("case", UNUSABLE)
async def test_keys_that_are_not_for_this_are_left_out(
    provider: Idp, tmp_path: Path, case: str
) -> None:
    key = rsa_key("short", 1024) if case == "a short RSA key" else rsa_key()
    provider.keys[:] = [UNUSABLE[case](), jwk(ec_key(), "ec-1")]
    async with door(provider, tmp_path) as ask:
        claims = provider.claims(NOW)
        with pytest.warns() if "short" in case else contextlib.nullcontext():
            token = sign(claims, key, kid="k")
        assert rule(await ask(token)) == "unknown_key_id"
        assert isinstance(await ask(sign(claims, ec_key(), "ES256", "ec-1")), Admit)


async def test_without_kid_there_must_be_one_key_that_can_be_meant(
    provider: Idp, tmp_path: Path
) -> None:
    clock = FakeClock()
    async with door(provider, tmp_path, clock=clock) as ask:
        token = sign(provider.claims(NOW), rsa_key(), kid=None)
        assert isinstance(await ask(token), Admit)
        provider.keys.append(jwk(rsa_key("next"), "rsa-2"))
        clock.advance(31)
        await ask(sign(provider.claims(NOW), rsa_key(), kid="made-up"))
        assert rule(await ask(token)) == "unknown_key_id"


# who it is


@pytest.mark.parametrize(
    ("settings", "claims", "team"),
    [
        ({}, {}, "none"),
        ({"default_team": "people"}, {}, "people"),
        ({"team": "team"}, {"team": "search"}, "search"),
        ({"team": "groups"}, {"groups": ["search"]}, "search"),
        ({"team": "groups"}, {"groups": ["search", "web"]}, None),
        ({"team": "team"}, {}, None),
        ({"team": "team"}, {"team": "a team"}, None),
        ({"team": "team", "default_team": "people"}, {}, "people"),
        (
            {"team": "groups", "teams": {"g1": "web", "g2": "search"}},
            {"groups": ["g2", "g1"]},
            "web",
        ),
        ({"team": "groups", "teams": {"g1": "web"}}, {"groups": ["admin"]}, None),
        ({"team": "groups", "teams": {"g1": "web"}}, {"groups": {"g1": 1}}, None),
        ({"team": "realm_access.roles"}, {"realm_access": {"roles": ["web"]}}, "web"),
        ({"team": "https://corp.invalid/team"}, {"https://corp.invalid/team": "web"}, "web"),
    ],
)
async def test_a_claim_tells_the_team(
    provider: Idp, tmp_path: Path, settings: Any, claims: Any, team: str | None
) -> None:
    async with door(provider, tmp_path, **settings) as ask:
        decision = await ask(sign(provider.claims(NOW, **claims), rsa_key()))
    if team is None:
        assert isinstance(decision, Refuse)
        assert (decision.status, decision.error_type, decision.rule) == (
            403, "permission_error", "no_team",
        )  # fmt: skip
    else:
        assert isinstance(decision, Admit)
        assert decision.principal is not None
        assert decision.principal.team == team


async def test_names_and_labels_are_taken_from_claims(provider: Idp, tmp_path: Path) -> None:
    settings = {
        "principal": "email",
        "prefix": "corp:",
        "labels": {"department": "org.department", "level": "level"},
    }
    claims = {"email": "ana@corp.invalid", "org": {"department": "d" * 500}, "level": 7}
    async with door(provider, tmp_path, **settings) as ask:
        decision = await ask(sign(provider.claims(NOW, **claims), rsa_key()))
    assert isinstance(decision, Admit)
    assert decision.principal is not None
    assert decision.principal.id == "corp:ana@corp.invalid"
    assert decision.principal.labels == {"credential": "token", "department": "d" * 200}


async def test_the_place_of_the_keys_can_be_discovered(provider: Idp, tmp_path: Path) -> None:
    async with door(provider, tmp_path, jwks_url="") as ask:
        assert isinstance(await ask(sign(provider.claims(NOW), rsa_key())), Admit)
    assert provider.asked == ["/.well-known/openid-configuration", "/keys"]


@pytest.mark.parametrize("jwks_uri", ["http://keys.invalid/", "file:///etc/passwd", 7, None])
async def test_a_discovered_place_must_be_safe(
    provider: Idp, tmp_path: Path, jwks_uri: Any
) -> None:
    provider.answer = json.dumps({"issuer": provider.url, "jwks_uri": jwks_uri}).encode()
    async with door(provider, tmp_path, jwks_url="") as ask:
        assert rule(await ask(sign(provider.claims(NOW), rsa_key()))) == "keys_unavailable"


async def test_no_token_is_ever_forwarded(provider: Idp, tmp_path: Path) -> None:
    """With `forward`, whatever looks like a token is still for this gateway, or for nobody."""
    async with door(provider, tmp_path, more={"forward": True}) as ask:
        good = await ask(sign(provider.claims(NOW), rsa_key()))
        foreign = await ask(sign({"iss": "https://elsewhere.invalid"}, rsa_key("other")))
        other = await ask("sk-" + "ant-" + "x" * 20)
    assert isinstance(good, Admit)
    assert good.consumes_credential
    assert rule(foreign) == "unknown_issuer"
    assert isinstance(other, Admit)
    assert other.forwards_credential


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"algorithms": ["HS256"]}, "issuers[0].algorithms: HS256 proves nothing"),
        ({"algorithms": ["none"]}, "none proves nothing"),
        ({"algorithms": []}, "nothing proves nothing"),
        ({"algorithms": ["RS257"]}, "no algorithm is 'RS257'"),
        ({"audience": []}, "issuers[0].audience"),
        ({"audience": [""]}, "issuers[0].audience"),
        ({"issuer": "http://idp.invalid"}, "issuers[0].issuer: must be https"),
        ({"jwks_url": "http://idp.invalid/keys"}, "issuers[0].jwks_url: must be https"),
        ({"leeway_s": 3600}, "leeway_s"),
        ({"teams": {"a": "b"}}, "name the claim"),
        ({"teams": {"a": "a team"}, "team": "t"}, "'a team'"),
        ({"stale_s": 0}, "stale_s: must be above 0"),
        ({"ca_file": "nowhere.pem"}, "nowhere.pem"),
    ],
)
async def test_a_wrong_issuer_is_named(
    provider: Idp, tmp_path: Path, changes: Any, named: str
) -> None:
    with pytest.raises(PluginError, match=re.escape(named)):
        async with door(provider, tmp_path, **changes):
            pass


async def test_two_issuers_do_not_share_names(provider: Idp, tmp_path: Path) -> None:
    issuers = [provider.config(), provider.config(issuer="https://two.invalid", prefix="")]
    with pytest.raises(PluginError, match=r"issuers\[1\]\.prefix"):
        async with open_plugin(plugin, {"issuers": issuers}, state_dir=tmp_path):
            pass
