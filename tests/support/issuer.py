"""An identity provider on loopback: real keys, a real JWKS, and tokens good and bad."""

import json
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from tidegate.testing.upstream import Call, ScriptedUpstream, scripted_upstream

Private = Any


@lru_cache
def rsa_key(name: str = "rsa-1", bits: int = 2048) -> Private:
    return rsa.generate_private_key(public_exponent=65537, key_size=bits)


@lru_cache
def ec_key(name: str = "ec-1") -> Private:
    return ec.generate_private_key(ec.SECP256R1())


@lru_cache
def ed_key(name: str = "ed-1") -> Private:
    return ed25519.Ed25519PrivateKey.generate()


def jwk(key: Private, kid: str | None, **fields: Any) -> dict[str, Any]:
    """Its public part, as a JWKS holds it."""
    public = key.public_key()
    if isinstance(key, rsa.RSAPrivateKey):
        document = jwt.algorithms.RSAAlgorithm.to_jwk(public, as_dict=True)
    elif isinstance(key, ec.EllipticCurvePrivateKey):
        document = jwt.algorithms.ECAlgorithm.to_jwk(public, as_dict=True)
    else:
        document = jwt.algorithms.OKPAlgorithm.to_jwk(public, as_dict=True)
    document = {name: value for name, value in document.items() if name != "key_ops"}
    return document | ({} if kid is None else {"kid": kid}) | fields


@dataclass
class Idp:
    """Answers for its keys, while it is up."""

    server: ScriptedUpstream
    keys: list[dict[str, Any]] = field(default_factory=list)
    up: bool = True
    answer: bytes | None = None
    """Said in place of the keys."""

    @property
    def url(self) -> str:
        return self.server.url

    @property
    def asked(self) -> list[str]:
        """The paths that were asked for."""
        return [heard.line.split(" ")[1] for heard in self.server.heard]

    def config(self, **changes: Any) -> dict[str, Any]:
        """What the gateway is told of it."""
        return {
            "issuer": self.url,
            "audience": ["tidegate"],
            "jwks_url": f"{self.url}/keys",
            "algorithms": ["RS256", "ES256", "EdDSA"],
        } | changes

    def claims(self, now: float | None = None, **changes: Any) -> dict[str, Any]:
        now = time.time() if now is None else now
        document = {
            "iss": self.url, "aud": "tidegate", "sub": "ana",
            "iat": int(now) - 10, "exp": int(now) + 600,
        } | changes  # fmt: skip
        return {name: value for name, value in document.items() if value is not None}

    async def serve(self, call: Call) -> None:
        if not self.up:
            call.cut()
        elif self.answer is not None:
            await call.answer(self.answer)
        elif "/.well-known/" in call.heard.line:
            document = {"issuer": self.url, "jwks_uri": f"{self.url}/keys"}
            await call.answer(json.dumps(document).encode())
        else:
            await call.answer(json.dumps({"keys": self.keys}).encode())


@asynccontextmanager
async def idp() -> AsyncGenerator[Idp, None]:
    """Run one with an RSA key `rsa-1` and an EC key `ec-1`."""

    async def serve(call: Call) -> None:
        await provider.serve(call)

    async with scripted_upstream(serve) as server:
        provider = Idp(server, [jwk(rsa_key(), "rsa-1", alg="RS256"), jwk(ec_key(), "ec-1")])
        yield provider


def sign(
    claims: dict[str, Any],
    key: Private,
    algorithm: str = "RS256",
    kid: str | None = "rsa-1",
    **header: Any,
) -> str:
    """Return a token."""
    fields = header if kid is None else {"kid": kid, **header}
    return jwt.encode(claims, key, algorithm=algorithm, headers=fields)
