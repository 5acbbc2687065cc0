"""The way to an API server, for tests that cut it off or make it slow: a TCP relay on loopback."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import yaml
from yarl import URL


class Way:
    """Relays connections on a thread of its own, so that a test may block.

    Attributes:
        port: where it listens; the same for ever.
    """

    def __init__(self, server: str) -> None:
        target = URL(server)
        self._target = (target.host, target.port)
        self._loop = asyncio.new_event_loop()
        self._open = True
        self._flows = asyncio.Event()
        self._writers: set[asyncio.StreamWriter] = set()
        self.port = 0

    def cut(self) -> None:
        """End every connection, and every new one at once."""
        self._call(self._cut)

    def mend(self) -> None:
        """Relay again."""
        self._call(self._mend)

    def block(self) -> None:
        """Accept connections and carry nothing from now on."""
        self._call(self._flows.clear)

    def run(self, started: threading.Event) -> None:
        """The thread."""
        asyncio.set_event_loop(self._loop)
        self._flows.set()
        listener = self._loop.run_until_complete(asyncio.start_server(self._relay, "127.0.0.1", 0))
        self.port = listener.sockets[0].getsockname()[1]
        started.set()
        self._loop.run_forever()
        listener.close()
        self._cut()
        pending = asyncio.all_tasks(self._loop)
        for task in pending:
            task.cancel()
        self._loop.run_until_complete(asyncio.gather(*pending, return_exceptions=True))
        self._loop.close()

    def end(self) -> None:
        """Let the thread end."""
        self._loop.call_soon_threadsafe(self._loop.stop)

    def _call(self, change: Callable[[], None]) -> None:
        done = threading.Event()
        self._loop.call_soon_threadsafe(change)
        self._loop.call_soon_threadsafe(done.set)
        assert done.wait(10)

    def _cut(self) -> None:
        self._open = False
        for writer in self._writers:
            writer.transport.abort()

    def _mend(self) -> None:
        self._open = True
        self._flows.set()

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if not self._open:
            writer.transport.abort()
            return
        there_reader, there = await asyncio.open_connection(*self._target)
        self._writers |= {writer, there}
        try:
            await asyncio.gather(self._carry(reader, there), self._carry(there_reader, writer))
        finally:
            self._writers -= {writer, there}
            for each in (writer, there):
                each.transport.abort()

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while chunk := await reader.read(65536):
                await self._flows.wait()
                writer.write(chunk)
                await writer.drain()
        writer.transport.abort()


@contextlib.contextmanager
def way_to(kubeconfig: Path) -> Iterator[Way]:
    """A way to the server of a kubeconfig, which goes this way afterwards."""
    tree = yaml.safe_load(kubeconfig.read_text())
    cluster = tree["clusters"][0]["cluster"]
    way = Way(cluster["server"])
    started = threading.Event()
    thread = threading.Thread(target=way.run, args=(started,))
    thread.start()
    assert started.wait(10)
    try:
        cluster["server"] = f"https://127.0.0.1:{way.port}"
        kubeconfig.write_text(yaml.safe_dump(tree))
        yield way
    finally:
        way.end()
        thread.join()
