"""A clock that no jump hurries: who trusts a root and which leaves are in use is judged by it.

A wall clock that is set forward by an hour must not make certificates end that others still take for good. It
never runs ahead of what has passed here since it was at rest; a wall clock that is set back is believed, for
waiting longer breaks nobody. It must never date what is kept, nor end the window of a compromised root: there
security wins, and `wall` decides.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from meshca.clock import Clock


class SteadyClock:
    """Implements `meshca.clock.Clock`.

    Args:
        clock: the real one.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._rested_at, self._rested = clock.now(), clock.monotonic()

    def now(self) -> datetime:
        """The wall clock's instant, or that at rest and the time that has passed since, whichever is earlier."""
        passed = timedelta(seconds=self._clock.monotonic() - self._rested)
        return min(self._clock.now(), self._rested_at + passed)

    def wall(self) -> datetime:
        """The wall clock's instant, whatever was done to it."""
        return self._clock.now()

    def monotonic(self) -> float:
        """Seconds from some point in the past; never goes back."""
        return self._clock.monotonic()

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        await self._clock.sleep(seconds)

    def rest(self) -> None:
        """Nothing is being waited for: believe the wall clock again."""
        self._rested_at, self._rested = self._clock.now(), self._clock.monotonic()
