"""A clock on which every sleep is over at once, for code that polls real files, sockets and processes."""

from __future__ import annotations

import asyncio

from tests.fakes.clock import FakeClock


class HurriedClock(FakeClock):
    """Sleeping moves time forward and lets the loop turn a little; nobody has to advance it."""

    async def sleep(self, seconds: float) -> None:
        """Move time by this much."""
        self.move(seconds)
        await asyncio.sleep(0.001)
