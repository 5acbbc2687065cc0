"""A cable between a client and a server that can be pulled out: nothing comes through, and nobody is told.

That is what a network partition looks like; a server that is stopped answers at least with a reset.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator


class Cable:
    """A running TCP proxy.

    Attributes:
        port: to connect to on 127.0.0.1.
    """

    def __init__(self, target: int) -> None:
        self.port = 0
        self._target = target
        self._through = asyncio.Event()
        self._through.set()
        self._connections: set[asyncio.Task[None]] = set()

    def pull(self) -> None:
        """From now on bytes get lost on the way, both ways, those of new connections too."""
        self._through.clear()

    def plug(self) -> None:
        """Bytes come through again, those of the time between as well: TCP sends them again."""
        self._through.set()

    def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Carry one more connection."""
        task = asyncio.get_running_loop().create_task(self._carry(reader, writer))
        self._connections.add(task)
        task.add_done_callback(self._connections.discard)

    async def end(self) -> None:
        """Let go of all connections."""
        for task in self._connections:
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async with contextlib.AsyncExitStack() as stack:
            stack.push_async_callback(_close, writer)
            await self._through.wait()
            there, away = await asyncio.open_connection("127.0.0.1", self._target)
            stack.push_async_callback(_close, away)
            async with asyncio.TaskGroup() as ways:
                ways.create_task(self._copy(reader, away))
                ways.create_task(self._copy(there, writer))

    async def _copy(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await source.read(65_536):
                await self._through.wait()
                sink.write(data)
                await sink.drain()
            sink.write_eof()


async def _close(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()


@contextlib.asynccontextmanager
async def cable(target: int) -> AsyncIterator[Cable]:
    """A cable to a port of this machine."""
    made = Cable(target)
    server = await asyncio.start_server(made.accept, "127.0.0.1", 0)
    made.port = server.sockets[0].getsockname()[1]
    try:
        yield made
    finally:
        server.close()
        await made.end()
