"""Answers for a stand-in for Vault: its own errors, and what a proxy or an attacker gives in their place."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import orjson
from aiohttp import web

Reply = Callable[[web.Request], Awaitable[web.StreamResponse]]


def as_json(body: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> web.Response:
    """A body as the server writes it."""
    return web.Response(
        body=orjson.dumps(body), status=status, content_type="application/json", headers=headers or {}
    )


def refused(status: int, *errors: str, headers: Mapping[str, str] | None = None) -> web.Response:
    """An error as Vault tells it."""
    return as_json({"errors": list(errors)}, status, headers)


def refusing(status: int, *errors: str, headers: Mapping[str, str] | None = None) -> Reply:
    """Always that error."""

    async def reply(_: web.Request) -> web.StreamResponse:
        return refused(status, *errors, headers=headers)

    return reply


def saying(
    body: Any, status: int = 200, *, kind: str = "application/json", headers: Mapping[str, str] | None = None
) -> Reply:
    """Always this: bytes as they are, anything else as JSON."""

    async def reply(_: web.Request) -> web.StreamResponse:
        raw = body if isinstance(body, bytes) else orjson.dumps(body)
        return web.Response(body=raw, status=status, content_type=kind, headers=headers)

    return reply


async def dripping(request: web.Request) -> web.StreamResponse:
    """A byte at a time, for ever; each comes long before a wait for one would be over."""
    response = web.StreamResponse()
    await response.prepare(request)
    while True:
        await response.write(b" ")
        await asyncio.sleep(0.01)


async def dripping_headers(request: web.Request) -> web.StreamResponse:
    """As `dripping`, before there is a body."""
    assert request.transport is not None
    request.transport.write(b"HTTP/1.1 200 OK\r\nx: ")
    while not request.transport.is_closing():
        request.transport.write(b"x")
        await asyncio.sleep(0.01)
    return web.Response()


async def flooding(request: web.Request) -> web.StreamResponse:
    """Trailers after the body, for ever and as fast as they go, none of them a part of what is bounded in size."""
    assert request.transport is not None
    request.transport.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n")
    while not request.transport.is_closing():
        request.transport.write(b"x: y\r\n" * 1000)
        await asyncio.sleep(0)
    return web.Response()


async def hanging(_: web.Request) -> web.StreamResponse:
    """Nothing, for ever."""
    await asyncio.Event().wait()
    raise AssertionError


def hanging_after(reply: Reply) -> Reply:
    """Do it, and never say so."""

    async def told(request: web.Request) -> web.StreamResponse:
        await reply(request)
        return await hanging(request)

    return told


def redirecting(to: str, status: int = 307) -> Reply:
    """Always elsewhere."""
    return saying(b"", status, headers={"Location": to})
