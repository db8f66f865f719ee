"""Requests of one connection whose heads differ: what one came to never counts for another."""

import asyncio
from pathlib import Path

import pytest

from support.gateway import gateway
from support.raw import post, read_answer
from tidegate.keys import digest
from tidegate.testing.upstream import Call, scripted_upstream

BODY = b'{"model":"claude-x","max_tokens":5,"messages":[]}'
STREAMED = BODY.replace(b"{", b'{"stream":true,', 1)
KEYS = {"a": "tgk_" + "a" * 40, "b": "tgk_" + "b" * 40}
ENTRIES = ", ".join(
    f'{{ id = "{name}", team = "team-{name}", sha256 = "{digest(key)}" }}'
    for name, key in KEYS.items()
)
TOML = f'[[plugins]]\nuse = "identify"\n[plugins.config]\nkeys = [{ENTRIES}]\n'


def head(*more: str, key: str = "a") -> bytes:
    lines = [f"x-api-key: {KEYS[key]}"] if key else []
    return "".join(
        f"{line}\r\n" for line in (*lines, "anthropic-version: 2023-06-01", *more)
    ).encode()


async def answer(call: Call) -> None:
    await call.answer(b"{}")


@pytest.mark.parametrize(
    ("lines", "status", "who", "sent"),
    [
        (head(), 200, "a", None),
        (head(key="b"), 200, "b", None),
        (head(key=""), 401, None, None),
        (head("X-HTTP-Method-Override: DELETE"), 400, None, None),
        (head(f"authorization: Bearer {KEYS['b']}"), 401, None, None),
        (head("content-encoding: gzip"), 400, None, None),
        (head("x-custom: 1"), 200, "a", "1"),
        (head("x-custom: 2", "connection: x-custom"), 200, "a", None),
    ],
)
@pytest.mark.parametrize("before", [BODY, STREAMED], ids=["plain", "stream"])
async def test_a_request_is_judged_by_its_own_head_and_not_by_that_of_the_one_before(
    tmp_path: Path, before: bytes, lines: bytes, status: int, who: str | None, sent: str | None
) -> None:
    async with scripted_upstream(answer) as upstream, gateway(tmp_path, upstream.url, TOML) as gate:
        reader, writer = await asyncio.open_connection("127.0.0.1", gate.port)
        for body, each in ((before, head()), (before, head()), (BODY, lines)):
            writer.write(post(body, headers=each))
            found = (await read_answer(reader))[0]
        writer.close()
        records = await gate.exchanges(3)

    assert found == status
    if status == 200:
        assert records[2]["principal"]["id"] == who
        assert upstream.heard[2].header("x-custom") == sent
    assert len(upstream.heard) == 2 + (status == 200)
    assert not any(key in str(each.headers) for each in upstream.heard for key in KEYS.values())
