"""TLS on both sides and an outbound proxy, with certificates made here."""

import asyncio
import ssl
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trustme

from support.gateway import gateway
from support.ports import free_port
from support.raw import ask, post, read_answer
from tidegate.testing.upstream import Call, scripted_upstream

REQUEST = b'{"model":"claude-x","max_tokens":5,"messages":[]}'


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


def server_context(authority: trustme.CA, *names: str) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert(*names).configure_cert(context)
    return context


async def answer(call: Call) -> None:
    await call.answer(b"{}")


def trusting(authority: trustme.CA, directory: Path) -> str:
    path = directory / "ca.pem"
    authority.cert_pem.write_to_path(path)
    return f'[upstream]\nca_file = "{path}"\n'


async def test_an_upstream_with_a_trusted_certificate(
    tmp_path: Path, authority: trustme.CA
) -> None:
    tls = server_context(authority, "localhost")
    toml = trusting(authority, tmp_path)
    async with scripted_upstream(answer, tls=tls) as upstream:
        async with gateway(tmp_path / "j", f"https://localhost:{upstream.port}/base", toml) as gate:
            for _ in range(2):
                assert (await ask(gate.port, post(REQUEST)))[0] == 200
        assert upstream.heard[0].line == "POST /base/v1/messages HTTP/1.1"
        assert upstream.accepted == 1


@pytest.mark.parametrize("why", ["unknown authority", "wrong name"])
async def test_an_upstream_that_cannot_be_trusted(
    tmp_path: Path, authority: trustme.CA, why: str
) -> None:
    name = "localhost" if why == "unknown authority" else "elsewhere.invalid"
    toml = "" if why == "unknown authority" else trusting(authority, tmp_path)
    tls = server_context(authority, name)
    async with scripted_upstream(answer, tls=tls) as upstream:
        async with gateway(tmp_path / "j", f"https://localhost:{upstream.port}", toml) as gate:
            status, _, body = await ask(gate.port, post(REQUEST))
            record = await gate.exchange()
        assert not upstream.heard
    assert status == 502
    assert b"TLS failed" in body
    assert record["outcome"] == "unreachable"


async def test_an_upstream_that_asks_who_we_are(tmp_path: Path, authority: trustme.CA) -> None:
    tls = server_context(authority, "localhost")
    tls.verify_mode = ssl.CERT_REQUIRED
    authority.configure_trust(tls)
    pem = tmp_path / "client.pem"
    authority.issue_cert("gateway@example.invalid").private_key_and_cert_chain_pem.write_to_path(
        pem
    )
    toml = trusting(authority, tmp_path) + f'client_cert = "{pem}"\n'
    async with (
        scripted_upstream(answer, tls=tls) as upstream,
        gateway(tmp_path / "j", f"https://localhost:{upstream.port}", toml) as gate,
    ):
        assert (await ask(gate.port, post(REQUEST)))[0] == 200


@asynccontextmanager
async def proxy(refuse: bool = False) -> AsyncGenerator[tuple[int, list[bytes]], None]:
    """A CONNECT proxy."""
    asked: list[bytes] = []
    writers: set[asyncio.StreamWriter] = set()

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(65536):
                writer.write(data)
        except ConnectionError:
            pass
        finally:
            writer.close()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.add(writer)
        head = await reader.readuntil(b"\r\n\r\n")
        asked.append(head.split(b"\r\n")[0])
        if refuse:
            writer.write(b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n")
            writer.close()
            return
        host, _, port = head.split(b" ")[1].decode().rpartition(":")
        far_reader, far_writer = await asyncio.open_connection(host, int(port))
        writers.add(far_writer)
        writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        await asyncio.gather(pump(reader, far_writer), pump(far_reader, writer))

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1], asked
    finally:
        server.close()
        for writer in writers:
            writer.close()
        await asyncio.sleep(0)


async def test_an_https_upstream_through_a_proxy(tmp_path: Path, authority: trustme.CA) -> None:
    tls = server_context(authority, "localhost")
    async with proxy() as (port, asked), scripted_upstream(answer, tls=tls) as upstream:
        toml = trusting(authority, tmp_path) + f'proxy = "http://127.0.0.1:{port}"\n'
        async with gateway(tmp_path / "j", f"https://localhost:{upstream.port}", toml) as gate:
            assert (await ask(gate.port, post(REQUEST)))[0] == 200
        assert asked == [b"CONNECT localhost:%d HTTP/1.1" % upstream.port]
        assert upstream.heard[0].header("host") == f"localhost:{upstream.port}"


async def test_a_proxy_that_refuses(tmp_path: Path) -> None:
    async with proxy(refuse=True) as (port, _):
        toml = f'[upstream]\nproxy = "http://127.0.0.1:{port}"\n'
        async with gateway(tmp_path, f"https://localhost:{free_port()}", toml) as gate:
            status, _, body = await ask(gate.port, post(REQUEST))
    assert status == 502
    assert b"the proxy refused the tunnel with 407" in body


async def test_clients_over_tls(tmp_path: Path, authority: trustme.CA) -> None:
    issued = authority.issue_cert("localhost")
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    issued.cert_chain_pems[0].write_to_path(cert)
    issued.private_key_pem.write_to_path(key)
    client = ssl.create_default_context()
    authority.configure_trust(client)
    async with (
        scripted_upstream(answer) as upstream,
        gateway(tmp_path / "j", upstream.url, tls_cert=str(cert), tls_key=str(key)) as gate,
    ):
        reader, writer = await asyncio.open_connection("localhost", gate.port, ssl=client)
        writer.write(post(REQUEST))
        status, _, body = await read_answer(reader)
        writer.close()
        await writer.wait_closed()
    assert (status, body) == (200, b"{}")
