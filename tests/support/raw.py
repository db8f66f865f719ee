"""HTTP spoken by hand, so that what is on the wire is what the test says."""

import asyncio

Answer = tuple[int, list[tuple[str, str]], bytes]


def post(
    body: bytes,
    *,
    target: str = "/v1/messages",
    headers: bytes = b"x-api-key: k\r\nanthropic-version: 2023-06-01\r\n",
) -> bytes:
    """A whole POST request; headers as given, and those a body needs."""
    return (
        f"POST {target} HTTP/1.1\r\nHost: gateway\r\n".encode()
        + headers
        + b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body)
        + body
    )


async def ask(port: int, request: bytes) -> Answer:
    """Send one request and read one answer, whose body may be chunked."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(request)
        return await read_answer(reader)
    finally:
        writer.close()


async def read_head(reader: asyncio.StreamReader) -> tuple[int, list[tuple[str, str]]]:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    line, *fields = head.rstrip("\r\n").split("\r\n")
    headers = [(name, value.strip()) for name, _, value in (f.partition(":") for f in fields)]
    return int(line.split(" ")[1]), headers


async def read_answer(reader: asyncio.StreamReader) -> Answer:
    status, headers = await read_head(reader)
    return status, headers, await read_body(reader, headers)


async def read_body(reader: asyncio.StreamReader, headers: list[tuple[str, str]]) -> bytes:
    """Read a body to its proper end; IncompleteReadError if it is cut."""
    found = {name.lower(): value for name, value in headers}
    if "content-length" in found:
        return await reader.readexactly(int(found["content-length"]))
    if found.get("transfer-encoding") == "chunked":
        return await _read_chunks(reader)
    return await reader.read()


async def _read_chunks(reader: asyncio.StreamReader) -> bytes:
    pieces = []
    while size := int(await reader.readuntil(b"\r\n"), 16):
        pieces.append((await reader.readexactly(size + 2))[:-2])
    await reader.readexactly(2)
    return b"".join(pieces)
