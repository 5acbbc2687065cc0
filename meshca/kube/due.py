"""What is to be done when: names with a time each, every name once, never two at work on the same one.

What became due earliest comes first, so a repair goes before the rest of a long queue. No I/O; time is handed in.
"""

from __future__ import annotations

import asyncio
import heapq
import math
from itertools import count
from typing import Final

from meshca.clock import Clock, pause

NOW: Final = -math.inf  # before everything that waits for its turn


class Due:
    """A queue by time.

    Args:
        clock: tells and passes time.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._at: dict[str, float] = {}
        self._heap: list[tuple[float, int, str]] = []
        self._order = count()
        self._working: set[str] = set()
        self._changed = asyncio.Event()

    @property
    def is_idle(self) -> bool:
        """Whether nothing is worked on, and nothing waits but for a later time."""
        wait = self._wait()
        return not self._working and (wait is None or wait > 0.0)

    def add(self, name: str, at: float) -> None:
        """Do this at that time (of the steady clock), or at once with `NOW`; an earlier time that is set stays."""
        if name in self._at and self._at[name] <= at:
            return
        self._at[name] = at
        heapq.heappush(self._heap, (at, next(self._order), name))
        self._changed.set()

    def drop(self, name: str) -> None:
        """Do not do this."""
        self._at.pop(name, None)

    async def take(self) -> str:
        """The next name whose time has come; `done` must be called for it."""
        while True:
            self._changed.clear()
            wait = self._wait()
            if wait is not None and wait <= 0.0:
                _, _, name = heapq.heappop(self._heap)
                del self._at[name]
                self._working.add(name)
                return name
            await pause(self._clock, wait, self._changed)

    def done(self, name: str) -> None:
        """The work on this is over; it may come again."""
        self._working.discard(name)
        if name in self._at:
            heapq.heappush(self._heap, (self._at[name], next(self._order), name))
        self._changed.set()

    def _wait(self) -> float | None:
        """Seconds until the first name that can be taken; None when there is none."""
        while self._heap:
            at, _, name = self._heap[0]
            if self._at.get(name) != at or name in self._working:  # dropped, moved, or comes back with `done`
                heapq.heappop(self._heap)
            else:
                return at - self._clock.monotonic()
        return None
