"""GET /readyz and /livez for a pod's probes, in as little code and memory as they need.

Loopback by default. It answers one short request for each connection and must never read more than that.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable, Mapping
from http import HTTPStatus

from meshca.agent.target import Target
from meshca.errors import ConfigError
from meshca.log import log

LONGEST_REQUEST = 8 * 1024  # bytes of request line and headers; probes send some 100
SECONDS = 5.0  # for a client to send its request and take the answer

State = Callable[[], Mapping[str, object]]


@contextlib.asynccontextmanager
async def open_readiness(target: Target, state: State) -> AsyncIterator[Target]:
    """Serve the probes; gives the address with its real port.

    Args:
        target: where to listen; port 0 for any free one.
        state: the answer of /readyz; ready when its `ready` is true.

    Raises:
        ConfigError: the address cannot be listened on.
    """

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, TimeoutError):
            async with asyncio.timeout(SECONDS):
                writer.write(await _answer(reader, state))
                await writer.drain()
        writer.close()

    try:
        server = await asyncio.start_server(serve, target.host, target.port, limit=LONGEST_REQUEST)
    except OSError as error:
        problem = f"cannot listen on {target} ({error.strerror}); choose another address or `off`"
        raise ConfigError("--readiness", [problem]) from None
    async with server:
        port: int = server.sockets[0].getsockname()[1]
        log.info("readiness.listening", host=target.host, port=port)
        yield Target(host=target.host, port=port)


async def _answer(reader: asyncio.StreamReader, state: State) -> bytes:
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except (asyncio.IncompleteReadError, asyncio.LimitOverrunError):
        return _response(HTTPStatus.BAD_REQUEST, {"error": "expected one short HTTP request"})
    method, _, rest = head.decode("latin-1").partition(" ")
    path = rest.partition(" ")[0].partition("?")[0]
    status, body = _route(method, path, state)
    return _response(status, body, with_body=method != "HEAD")


def _route(method: str, path: str, state: State) -> tuple[HTTPStatus, Mapping[str, object]]:
    if path not in {"/readyz", "/livez"}:
        return HTTPStatus.NOT_FOUND, {"error": "there are /readyz and /livez"}
    if method not in {"GET", "HEAD"}:
        return HTTPStatus.METHOD_NOT_ALLOWED, {"error": "only GET and HEAD"}
    if path == "/livez":
        return HTTPStatus.OK, {"live": True}
    now = state()
    return HTTPStatus.OK if now["ready"] is True else HTTPStatus.SERVICE_UNAVAILABLE, now


def _response(status: HTTPStatus, body: Mapping[str, object], *, with_body: bool = True) -> bytes:
    content = json.dumps(body).encode() + b"\n"
    head = (
        f"HTTP/1.1 {status.value} {status.phrase}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(content)}\r\nCache-Control: no-store\r\nConnection: close\r\n\r\n"
    )
    return head.encode() + (content if with_body else b"")
