"""What one writes first: an aiohttp pass-through, web.Application + ClientSession.

python naive.py PORT UPSTREAM [asyncio|uvloop]; the credential is in TIDEGATE_BENCH_KEY.
"""

import asyncio
import os
import sys
from collections.abc import AsyncIterator

import aiohttp
import uvloop
from aiohttp import web

LOOPS = {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}

UPSTREAM = web.AppKey("upstream", str)
SESSION = web.AppKey("session", aiohttp.ClientSession)

NOT_PASSED = frozenset(
    {
        "connection",
        "content-length",
        "host",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "te",  # codespell:ignore te
        "trailer",
        "transfer-encoding",
        "upgrade",
        "x-api-key",
    }
)


def passed(headers: aiohttp.typedefs.LooseHeaders) -> dict[str, str]:
    return {name: value for name, value in headers.items() if name.lower() not in NOT_PASSED}


async def messages(request: web.Request) -> web.StreamResponse:
    body = await request.read()
    headers = passed(request.headers) | {"x-api-key": os.environ["TIDEGATE_BENCH_KEY"]}
    url = request.app[UPSTREAM] + request.path_qs
    async with request.app[SESSION].post(url, data=body, headers=headers) as answer:
        response = web.StreamResponse(status=answer.status, headers=passed(answer.headers))
        await response.prepare(request)
        async for piece in answer.content.iter_any():
            await response.write(piece)
        await response.write_eof()
        return response


async def session(app: web.Application) -> AsyncIterator[None]:
    timeout = aiohttp.ClientTimeout(total=None, sock_read=600)
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector, timeout=timeout) as client:
        app[SESSION] = client
        yield


def main(port: int, upstream: str, loop: str = "asyncio") -> None:
    app = web.Application(client_max_size=64 * 2**20)
    app[UPSTREAM] = upstream
    app.cleanup_ctx.append(session)
    app.router.add_post("/v1/messages", messages)
    web.run_app(
        app,
        host="127.0.0.1",
        port=port,
        print=None,
        access_log=None,
        backlog=4096,
        loop=LOOPS[loop](),
    )


if __name__ == "__main__":
    main(int(sys.argv[1]), *sys.argv[2:4])
