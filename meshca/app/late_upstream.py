"""An upstream that is opened when it is first asked, and again until that succeeds.

So that a start can be repeated like any later attempt, whatever it was that could not be had.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager

from meshca.authority.upstream import Offer, Upstream

Open = Callable[[], AbstractAsyncContextManager[Upstream]]


@contextlib.asynccontextmanager
async def late_upstream(open_: Open) -> AsyncIterator[LateUpstream]:
    """Opens nothing yet; what is opened inside the block is closed at its end."""
    async with contextlib.AsyncExitStack() as stack:
        yield LateUpstream(open_, stack)


class LateUpstream:
    """Implements `authority.upstream.Upstream`; use `late_upstream`."""

    def __init__(self, open_: Open, stack: contextlib.AsyncExitStack) -> None:
        self._open = open_
        self._stack = stack
        self._opened: Upstream | None = None

    async def obtain(self) -> Offer:
        """What the upstream offers, once it is open.

        Raises:
            ConfigError: what it needs is missing or wrong, or as the upstream.
            Unavailable: it cannot be opened now, or as the upstream.
        """
        if self._opened is None:
            self._opened = await self._stack.enter_async_context(self._open())
        return await self._opened.obtain()

    async def changed(self) -> None:
        """As the upstream; never before it is open."""
        if self._opened is None:
            await asyncio.Event().wait()
        else:
            await self._opened.changed()
