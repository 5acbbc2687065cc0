"""Time as something that is handed in, so that every lifecycle test runs on a fake clock.

Nothing below `app` calls `datetime.now` or `asyncio.sleep`; it takes a `Clock`.
"""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    """Wall time, steady time, and waiting."""

    def now(self) -> datetime:
        """The present instant, timezone-aware in UTC."""
        ...

    def monotonic(self) -> float:
        """Seconds of a clock that never goes back; only differences mean something."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Return after this many seconds of this clock."""
        ...


class SystemClock:
    """The machine's own clock."""

    def now(self) -> datetime:
        """The present instant, timezone-aware in UTC."""
        return datetime.now(UTC)

    def monotonic(self) -> float:
        """Seconds since an arbitrary start."""
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        """Return after this many seconds."""
        await asyncio.sleep(seconds)


async def pause(clock: Clock, seconds: float | None, woken: asyncio.Event) -> None:
    """Return after this many seconds (None: never for that reason), or as soon as the event is set."""
    waits: list[asyncio.Future[object]] = [asyncio.ensure_future(woken.wait())]
    if seconds is not None:
        waits.append(asyncio.ensure_future(clock.sleep(seconds)))
    try:
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for wait in waits:
            wait.cancel()
        await asyncio.gather(*waits, return_exceptions=True)
