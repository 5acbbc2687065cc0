"""Bytes from one socket to another, under both event loops."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
import uvloop

from meshca.wire.splice import Splice

LOOPS = pytest.mark.parametrize("loop", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
Loop = Callable[[], asyncio.AbstractEventLoop]
Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def run(loop: Loop, scenario: Awaitable[None]) -> None:
    """Run on a loop of this kind."""

    async def limited() -> None:
        async with asyncio.timeout(20):
            await scenario

    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(limited())


class Pair:
    """A splice between a client of ours and a server of ours."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.closed = asyncio.Event()
        self.closings = 0

    def on_closed(self) -> None:
        """Count."""
        self.closings += 1
        self.closed.set()

    async def talk(self, inner: Talk, outer: Talk) -> None:
        """Let both ends talk through a splice, and wait for its end."""
        finished = asyncio.Event()

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await inner(reader, writer)
            writer.close()
            finished.set()

        server = await asyncio.start_unix_server(serve, str(self.folder / "in"))
        ours, theirs = socket.socketpair()
        theirs.setblocking(False)
        splice = Splice(theirs, str(self.folder / "c"), self.on_closed)
        reader, writer = await asyncio.open_connection(sock=ours)
        await splice.connect(str(self.folder / "in"))
        await outer(reader, writer)
        writer.close()
        await finished.wait()
        await self.closed.wait()
        server.close()
        assert self.closings == 1


@LOOPS
def test_both_directions_and_half_closes(loop: Loop, tmp_path: Path) -> None:
    """The server greets first; the client closes its half and still hears the answer."""

    async def inner(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"hello ")
        question = await reader.read()
        writer.write(b"you said " + question)
        await writer.drain()

    async def outer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"yes")
        writer.write_eof()
        assert await reader.read() == b"hello you said yes"

    run(loop, _scenario(tmp_path, inner, outer))


@LOOPS
def test_slow_reader_slows_the_writer(loop: Loop, tmp_path: Path) -> None:
    """Much data passes whole, and the writer cannot run away from a reader that waits."""
    size = 8 << 20
    written = 0

    async def inner(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal written
        while written < size:
            writer.write(bytes(65536))
            written += 65536
            await writer.drain()

    async def outer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for _ in range(500):
            await asyncio.sleep(0)
        assert written < size, "everything was buffered"
        received = 0
        while data := await reader.read(1 << 16):
            received += len(data)
        assert received == size

    run(loop, _scenario(tmp_path, inner, outer))


@LOOPS
def test_abrupt_end_of_one_side_ends_the_other(loop: Loop, tmp_path: Path) -> None:
    """A reset is passed on as an end."""

    async def inner(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.transport.abort()

    async def outer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"x")
        assert await reader.read() == b""

    run(loop, _scenario(tmp_path, inner, outer))


@LOOPS
def test_what_comes_before_the_other_side_is_there_is_kept(loop: Loop, tmp_path: Path) -> None:
    """Bytes and even the end of the client may be there before the server is."""

    async def scenario() -> None:
        got = asyncio.get_running_loop().create_future()

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            got.set_result(await reader.read())
            writer.close()

        server = await asyncio.start_unix_server(serve, str(tmp_path / "in"))
        ours, theirs = socket.socketpair()
        theirs.setblocking(False)
        ours.sendall(b"early")
        ours.close()
        closed = asyncio.Event()
        await Splice(theirs, str(tmp_path / "c"), closed.set).connect(str(tmp_path / "in"))
        assert await got == b"early"
        await closed.wait()
        server.close()

    run(loop, scenario())


@LOOPS
def test_nobody_inside_closes_the_outside(loop: Loop, tmp_path: Path) -> None:
    """An OSError, both sockets closed, reported once."""

    async def scenario() -> None:
        ours, theirs = socket.socketpair()
        theirs.setblocking(False)
        closings: list[int] = []
        splice = Splice(theirs, str(tmp_path / "c"), lambda: closings.append(1))
        with pytest.raises(OSError, match="No such file"):
            await splice.connect(str(tmp_path / "in"))
        splice.close()
        assert ours.recv(1) == b""
        ours.close()
        assert closings == [1]

    run(loop, scenario())


async def _scenario(folder: Path, inner: Talk, outer: Talk) -> None:
    await Pair(folder).talk(inner, outer)
