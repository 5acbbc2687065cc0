"""Slow work for the newest of what comes, beside everything else: one at a time, past what came between."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class Newest(Generic[T]):
    """Does something with what it is offered.

    Args:
        act: what to do; must handle its own errors.
    """

    def __init__(self, act: Callable[[T], Awaitable[object]]) -> None:
        self._act = act
        self._waiting: list[T] = []  # at most one
        self._acting: asyncio.Task[None] | None = None

    def offer(self, item: T) -> None:
        """Have this done, after what is being done now and in place of what waits; returns at once."""
        self._waiting = [item]
        if self._acting is None or self._acting.done():
            self._acting = asyncio.create_task(self._run())

    async def done(self) -> None:
        """Return once nothing waits and nothing is being done."""
        if self._acting is not None:
            await self._acting

    async def _run(self) -> None:
        while self._waiting:
            await self._act(self._waiting.pop())
