"""A clock that a test moves by hand."""

from __future__ import annotations

import asyncio
import heapq
from datetime import UTC, datetime, timedelta


class FakeClock:
    """Implements `meshca.clock.Clock`; `advance` wakes the sleepers whose time has come, in order."""

    def __init__(self, now: datetime = datetime(2026, 1, 1, tzinfo=UTC)) -> None:
        self._now = now
        self._elapsed = 0.0
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []
        self._count = 0

    def now(self) -> datetime:
        """The instant the test has moved to."""
        return self._now

    def monotonic(self) -> float:
        """Seconds advanced since the clock was made."""
        return self._elapsed

    async def sleep(self, seconds: float) -> None:
        """Wait until the test has advanced this far."""
        if seconds <= 0:
            await asyncio.sleep(0)
            return
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._count += 1
        heapq.heappush(self._sleepers, (self._elapsed + seconds, self._count, future))
        await future

    @property
    def sleepers(self) -> int:
        """How many tasks are waiting."""
        return sum(not future.done() for _, _, future in self._sleepers)

    def move(self, seconds: float) -> None:
        """Move time without running the loop, for code that does not sleep."""
        self._elapsed += seconds
        self._now += timedelta(seconds=seconds)

    async def advance(self, seconds: float) -> None:
        """Move time, stopping at each sleeper on the way so that it runs at its own instant."""
        end = self._elapsed + seconds
        await self._settle()
        while self._sleepers and self._sleepers[0][0] <= end:
            due, _, future = heapq.heappop(self._sleepers)
            self.move(max(0.0, due - self._elapsed))
            if not future.done():
                future.set_result(None)
            await self._settle()
        self.move(end - self._elapsed)
        await self._settle()

    async def _settle(self) -> None:
        for _ in range(30):
            await asyncio.sleep(0)
