"""The calls that a server answers now, and how its streams are ended although their clients may not read.

It must never wait for a client.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from typing import Any, Final

import grpc

from meshca.errors import Unavailable

Context = grpc.aio.ServicerContext[Any, Any]
DRAINING: Final = "draining"


class StreamContext:
    """The context of one stream, whose handler may be interrupted while it writes.

    grpc.aio sends the headers with the first message, and holds them for unsent while that waits for the client: a
    status after it fails then. So headers, which no window holds up, go first.
    """

    def __init__(self, context: Context) -> None:
        self._context = context
        self._headers: asyncio.Future[None] | None = None

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - everything else is the context's
        return getattr(self._context, name)

    async def write(self, message: Any) -> None:  # noqa: ANN401 - any message
        """As the context's."""
        if self._headers is None:
            self._headers = asyncio.ensure_future(self._context.send_initial_metadata(()))
            await asyncio.shield(self._headers)
        await self._context.write(message)

    async def settle(self) -> None:
        """Wait until headers that are on their way are out: a status can follow."""
        if self._headers is not None:
            await asyncio.wait([self._headers])


class OpenCalls:
    """The calls that are answered now; once streams were ended, later ones end at once.

    Attributes:
        streams: the tasks that serve streams.
        answering: how many unary calls there are.
    """

    def __init__(self) -> None:
        self._ending = asyncio.Event()
        self.streams: set[asyncio.Task[Any]] = set()
        self.answering = 0

    def end_streams(self) -> None:
        """Interrupt every stream's task; where it joined it goes on with `Unavailable`."""
        self._ending.set()
        for task in self.streams:
            task.cancel()

    @contextlib.contextmanager
    def joined(self) -> Iterator[None]:
        """The present task serves a stream inside the block.

        Raises:
            Unavailable: reason `draining`, when streams are being ended.
        """
        task = asyncio.current_task()
        if task is None or self._ending.is_set():
            raise stopping()
        self.streams.add(task)
        try:
            yield
        except asyncio.CancelledError:
            if not self._ending.is_set():
                raise  # the client went away
            task.uncancel()
            raise stopping() from None
        finally:
            self.streams.discard(task)


def stopping() -> Unavailable:
    """What a call is refused with while the server ends."""
    return Unavailable(DRAINING, "the server is stopping")
