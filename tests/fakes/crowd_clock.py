"""A clock for thousands of sleepers: those whose time is the same wake together."""

from __future__ import annotations

import asyncio
import heapq

from tests.fakes.clock import FakeClock

TURNS = 12  # of the loop, until who was woken sleeps again


class CrowdClock(FakeClock):
    """As `FakeClock`; the loop turns once for an instant, not once for a sleeper."""

    async def advance(self, seconds: float) -> None:
        """Move time, stopping at each instant at which somebody wakes."""
        end = self._elapsed + seconds
        await self._settle()
        while self._sleepers and self._sleepers[0][0] <= end:
            due = self._sleepers[0][0]
            self.move(max(0.0, due - self._elapsed))
            while self._sleepers and self._sleepers[0][0] == due:
                _, _, future = heapq.heappop(self._sleepers)
                if not future.done():
                    future.set_result(None)
            await self._settle()
        self.move(end - self._elapsed)
        await self._settle()

    async def _settle(self) -> None:
        for _ in range(TURNS):
            await asyncio.sleep(0)
