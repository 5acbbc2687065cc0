"""An upstream that is opened when it is first asked, and again until that succeeds.

So that a start can be repeated like any later attempt, whatever it was that could not be had.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import datetime

from meshca.authority.outside import LeafSource
from meshca.authority.upstream import Line, Offer, Upstream
from meshca.errors import MeshcaError

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
        self._opening = asyncio.Lock()  # an administrator and the driver can ask at once

    @property
    def problem(self) -> MeshcaError | None:
        """As the upstream; None before it is open."""
        return None if self._opened is None else self._opened.problem

    @property
    def reached_at(self) -> datetime | None:
        """As the upstream; None before it is open."""
        return None if self._opened is None else self._opened.reached_at

    @property
    def leaves(self) -> LeafSource | None:
        """As the upstream; None before it is open."""
        return None if self._opened is None else self._opened.leaves

    async def lines(self) -> Sequence[Line]:
        """As the upstream, once it is open.

        Raises:
            ConfigError: what it needs is missing or wrong, or as the upstream.
            Unavailable: it cannot be opened now, or as the upstream.
        """
        return await (await self._open_once()).lines()

    async def obtain(self, root: str) -> Offer:
        """As the upstream, once it is open.

        Raises:
            ConfigError: what it needs is missing or wrong, or as the upstream.
            Unavailable: it cannot be opened now, or as the upstream.
        """
        return await (await self._open_once()).obtain(root)

    async def make_root(self, *, same_key: str = "") -> Line:
        """As the upstream, once it is open.

        Raises:
            Refused: as the upstream.
            ConfigError: what it needs is missing or wrong, or as the upstream.
            Unavailable: it cannot be opened now, or as the upstream.
        """
        return await (await self._open_once()).make_root(same_key=same_key)

    async def may_make_root(self) -> None:
        """As the upstream, once it is open.

        Raises:
            Refused: as the upstream.
            ConfigError: what it needs is missing or wrong.
            Unavailable: it cannot be opened now, or as the upstream.
        """
        await (await self._open_once()).may_make_root()

    async def forget(self, keep: Collection[str]) -> None:
        """As the upstream, once it is open.

        Raises:
            InvariantBroken: as the upstream.
            ConfigError: what it needs is missing or wrong, or as the upstream.
            Unavailable: it cannot be opened now, or as the upstream.
        """
        await (await self._open_once()).forget(keep)

    async def changed(self) -> None:
        """As the upstream; never before it is open."""
        if self._opened is None:
            await asyncio.Event().wait()
        else:
            await self._opened.changed()

    async def _open_once(self) -> Upstream:
        async with self._opening:
            if self._opened is None:
                self._opened = await self._stack.enter_async_context(self._open())
            return self._opened
