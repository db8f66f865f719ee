"""The conformance command: full marks for us, and the faults of others are found."""

import asyncio
import json
import signal
import subprocess
import sys
from contextlib import asynccontextmanager

import aiohttp
import pytest
from aiohttp import web

from support.ports import free_port
from tidegate.testing.upstream import scripted_upstream


async def conform(*arguments: str):
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tidegate", "conformance", *arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )  # fmt: skip
    out, error = await process.communicate()
    return process.returncode, out.decode(), error.decode()


@asynccontextmanager
async def serving(tmp_path, upstream: str):
    port = free_port()
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tidegate", "serve", "--port", str(port), "--admin-port", str(free_port()),
        "--upstream", upstream, "--journal", str(tmp_path / "journal"), stderr=subprocess.PIPE,
    )  # fmt: skip
    try:
        async with asyncio.timeout(60):
            while b"ANTHROPIC_BASE_URL" not in await process.stderr.readline():
                pass
        yield f"http://127.0.0.1:{port}"
    finally:
        process.send_signal(signal.SIGTERM)
        await process.communicate()


async def test_tidegate_has_full_marks(tmp_path):
    behind = f"127.0.0.1:{free_port()}"
    async with serving(tmp_path, f"http://{behind}") as url:
        code, out, error = await conform("--base-url", url, "--listen", behind, "--json")
    found = json.loads(out)
    failed = [case for case in found["cases"] if case["result"] != "pass"]
    assert not failed, error
    assert code == 0
    contract = {point for case in found["cases"] for point in case["contract"]}
    assert contract == {f"C{number}" for number in range(1, 18)}


@asynccontextmanager
async def careless_gateway(upstream: str):
    """A gateway as one should not write it: parses, drops, wraps, retries and buffers."""

    async def handle(request: web.Request) -> web.StreamResponse:
        if request.path == "/v1/models":
            raise web.HTTPFound("/models")
        try:
            body = await request.json() if request.can_read_body else None
        except ValueError:
            return web.Response(status=500, text="oops")
        if body is not None:
            body.pop("x_future", None)
        kept = {k: v for k, v in request.headers.items() if k.lower() in ("x-api-key", "baggage")}
        for _ in range(2):
            async with session.request(
                request.method, upstream + request.path, json=body, headers=kept
            ) as answer:
                content = await answer.read()
            if answer.status < 500:
                break
        if answer.status >= 400:
            return web.json_response({"error": content.decode()}, status=502)
        return web.Response(
            body=content.replace(b": a comment\n\n", b""), content_type=answer.content_type
        )

    app = web.Application(client_max_size=2**30)
    app.router.add_route("*", "/{rest:.*}", handle)
    runner = web.AppRunner(app)
    async with aiohttp.ClientSession() as session:
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
        await runner.cleanup()


async def test_a_careless_gateway_is_found_out():
    behind = f"127.0.0.1:{free_port()}"
    async with careless_gateway(f"http://{behind}") as url:
        code, out, _ = await conform("--base-url", url, "--listen", behind, "--json")
    results = {case["name"]: case["result"] for case in json.loads(out)["cases"]}
    assert code == 1
    assert {name for name, result in results.items() if result == "fail"} >= {
        "path", "versions", "betas-repeated", "headers-unknown", "fields-unknown",
        "pairs", "body-bytes", "trace", "discovery", "error-status", "error-bytes", "error-headers",
        "no-retries", "own-errors", "answer-headers", "stream-prompt", "stream-bytes",
    }  # fmt: skip
    assert {"query", "attribution", "probe"} <= {
        name for name, result in results.items() if result == "pass"
    }


async def test_a_gateway_that_forwards_elsewhere_is_an_error():
    async def other(call):
        await call.answer(b"{}")

    async with scripted_upstream(other) as elsewhere:
        code, _, error = await conform(
            "--base-url", elsewhere.url, "--listen", f"127.0.0.1:{free_port()}"
        )
    assert code == 2
    assert "make that its upstream" in error.replace("\n", " ")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--only", "nothing"), "no case `nothing`"),
        (("--header", "nocolon"), "NAME: VALUE"),
        (("--listen", "9120"), "HOST:PORT"),
        ((), "does not answer"),
    ],
)
async def test_mistakes_are_named(arguments, said):
    url = f"http://127.0.0.1:{free_port()}"
    listen = () if "--listen" in arguments else ("--listen", f"127.0.0.1:{free_port()}")
    code, _, error = await conform("--base-url", url, *listen, *arguments)
    assert code == 2
    assert said in error
