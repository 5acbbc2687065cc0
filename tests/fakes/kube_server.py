"""A stand-in for an API server that answers as a test says: the answers that a real one gives too seldom.

async with scripted(answer) as api:
await api.get("/version")
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from typing import Any

import orjson
from aiohttp import web
from aiohttp.test_utils import TestServer
from kubernetes.aio.client import ApiClient, Configuration

from meshca.kube.answer import HOME, Bounds
from meshca.kube.api import Api

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@contextlib.asynccontextmanager
async def serving(handler: Handler) -> AsyncIterator[str]:
    """Serve every path by this handler; gives the address."""
    app = web.Application(client_max_size=16 * 1024 * 1024)
    app.router.add_route("*", "/{path:.*}", handler)
    server = TestServer(app, host="127.0.0.1")
    await server.start_server()
    try:
        yield str(server.make_url("")).rstrip("/")
    finally:
        await server.close()


@contextlib.asynccontextmanager
async def asking(address: str, *, seconds: float = 5.0, bounds: Bounds = HOME) -> AsyncIterator[Api]:
    """An `Api` for a server at this address."""
    configuration = Configuration(host=address)
    async with ApiClient(configuration) as client:
        yield Api(client, "home", timedelta(seconds=seconds), bounds)


@contextlib.asynccontextmanager
async def scripted(handler: Handler, *, seconds: float = 5.0, bounds: Bounds = HOME) -> AsyncIterator[Api]:
    """An `Api` whose server is this handler."""
    async with serving(handler) as address, asking(address, seconds=seconds, bounds=bounds) as api:
        yield api


def answering(body: Any, status: int = 200) -> Handler:
    """The same answer always: bytes as they are, anything else as JSON."""

    async def handler(_: web.Request) -> web.Response:
        raw = body if isinstance(body, bytes) else orjson.dumps(body)
        return web.Response(body=raw, status=status, content_type="application/json")

    return handler


def status(reason: str, code: int, message: str = "private words") -> dict[str, Any]:
    """A metav1.Status."""
    return {"kind": "Status", "status": "Failure", "reason": reason, "code": code, "message": message}
