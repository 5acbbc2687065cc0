"""How a server is told to stop: the first SIGTERM or SIGINT asks politely, the second ends it at once."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import Awaitable, Callable, Iterator
from typing import Final, TypeVar

from meshca.log import log

SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)
T = TypeVar("T")


class Stopping:
    """What the signals have said so far."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        self.forced = asyncio.Event()

    @contextlib.contextmanager
    def listening(self, reload: Callable[[], None]) -> Iterator[None]:
        """Obey the signals inside the block; SIGHUP calls `reload`."""
        loop = asyncio.get_running_loop()
        for each in SIGNALS:
            loop.add_signal_handler(each, self._signalled, each)
        loop.add_signal_handler(signal.SIGHUP, reload)
        try:
            yield
        finally:
            for each in (*SIGNALS, signal.SIGHUP):
                loop.remove_signal_handler(each)

    async def unless_asked(self, work: Awaitable[T]) -> T | None:
        """The result of the work, or None when a signal came first; then the work was cancelled."""
        return await _unless(self.asked, work)

    async def unless_forced(self, work: Awaitable[T]) -> T | None:
        """The same for the second signal."""
        return await _unless(self.forced, work)

    def _signalled(self, each: signal.Signals) -> None:
        (self.forced if self.asked.is_set() else self.asked).set()
        log.info("server.stopping", signal=each.name, forced=self.forced.is_set())


async def _unless(event: asyncio.Event, work: Awaitable[T]) -> T | None:
    working = asyncio.ensure_future(work)
    waiting = asyncio.ensure_future(event.wait())
    try:
        await asyncio.wait((working, waiting), return_when=asyncio.FIRST_COMPLETED)
        return working.result() if working.done() else None
    finally:
        waiting.cancel()
        working.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.gather(working, waiting, return_exceptions=True)
