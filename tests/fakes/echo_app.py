"""An application behind Envoy that answers what it was asked: the path and headers as they reached it.

It also says how many requests it has had, and answers /broken with 500.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
from collections.abc import AsyncIterator


@contextlib.asynccontextmanager
async def echo_app() -> AsyncIterator[int]:
    """Serve HTTP/1.1 on a free loopback port; gives the port."""
    connections: set[asyncio.StreamWriter] = set()
    calls = itertools.count(1)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.add(writer)
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
                first, *lines = head.strip().split("\r\n")
                method, path, _ = first.split(" ")
                pairs = (line.split(": ", 1) for line in lines)
                headers = {pair[0].lower(): pair[-1] for pair in pairs}
                await reader.readexactly(int(headers.get("content-length", "0")))
                said = {"method": method, "path": path, "headers": headers, "calls": next(calls)}
                body = json.dumps(said).encode()
                answer = b"" if method == "HEAD" else body
                status = b"500 Internal Server Error" if path == "/broken" else b"200 OK"
                writer.write(b"HTTP/1.1 %s\r\ncontent-length: %d\r\n\r\n" % (status, len(body)) + answer)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for writer in connections:
            writer.close()
        await server.wait_closed()
