"""Facts about serving HTTP inside the parent's loop."""

from __future__ import annotations

import asyncio
import signal
import socket

import pytest
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from meshca.web.serving import serving


async def get(address: tuple[str, int]) -> bytes:
    """The answer to a plain GET."""
    reader, writer = await asyncio.open_connection(*address)
    writer.write(b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
    answer = await reader.read()
    writer.close()
    await writer.wait_closed()
    return answer


def app() -> Starlette:
    """One page."""
    return Starlette(routes=[Route("/", lambda _: PlainTextResponse("hello"))])


def bound() -> socket.socket:
    """A bound socket that does not listen yet."""
    made = socket.socket()
    made.bind(("127.0.0.1", 0))
    return made


async def test_serves_on_the_socket_until_the_end() -> None:
    """Inside the block the pages answer; afterwards nobody listens."""
    listener = bound()
    address = listener.getsockname()
    async with serving(app(), listener):
        assert (await get(address)).endswith(b"hello")
    with pytest.raises(ConnectionError):
        await get(address)


async def test_signals_are_left_alone() -> None:
    """The HTTP server changes no signal handler."""
    before = {each: signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)}
    listener = bound()
    async with serving(app(), listener):
        await get(listener.getsockname())
        assert {each: signal.getsignal(each) for each in before} == before


async def test_says_nothing_about_itself() -> None:
    """The answer does not name the server's software."""
    listener = bound()
    async with serving(app(), listener):
        assert b"server:" not in (await get(listener.getsockname())).lower()
