"""Whether Envoys that were here may still come back: until then nothing is in force on the agent's own word.

An agent that starts again, or whose Envoy has left, knows nothing of what that Envoy refuses. How many names the
Envoys asked for is remembered over a restart of ours. It must never hold anything up for ever: whoever is away
for too long does not count, and who comes and goes all the time lengthens no wait.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from typing import Final, NoReturn

from meshca.agent.state import State
from meshca.clock import Clock
from meshca.log import log

RECORD: Final = "envoys"
# Of an agent that runs: an Envoy tries again within 1 s by our bootstraps (`sidecar.subscriptions`), and at first
# within 0.5 s by its own default.
SOON_SECONDS: Final = 2.0
# After a start, when there were Envoys before: their pauses have grown while no agent was there. By Envoy's own
# default (0.5 s, doubled, with jitter) it took up to 13 s after 40 s.
RETURN_SECONDS: Final = 15.0
_COUNT: Final = re.compile(r"[0-9]{1,6}")


class Attendance:
    """Counts the names that Envoys ask for.

    Args:
        clock: for how long one is waited for.
        state: remembers how many there were; without it every start is the first.
    """

    def __init__(self, clock: Clock, state: State | None) -> None:
        self._clock = clock
        self._state = state
        self._present = 0
        self._expected = _remembered(state)
        self._until = clock.monotonic() + (RETURN_SECONDS if self._expected else SOON_SECONDS)
        self._left = asyncio.Event()

    @property
    def missing(self) -> bool:
        """Whether somebody may still come back."""
        return self._present < max(self._expected, 1) and self._clock.monotonic() < self._until

    def count(self, present: int) -> None:
        """So many names are asked for now."""
        now = self._clock.monotonic()
        if present < self._present and now >= self._until:
            self._until = now + SOON_SECONDS
            self._left.set()
        self._present = present
        if present > self._expected:
            self._expect(present)

    async def run(self, over: Callable[[], None]) -> NoReturn:
        """Call this each time that nobody is waited for any longer."""
        while True:
            self._left.clear()
            while (left := self._until - self._clock.monotonic()) > 0:
                await self._clock.sleep(left)
            if self._present < self._expected:
                log.info("envoys.gone", asked_before=self._expected, ask_now=self._present)
                self._expect(self._present)
            over()
            await self._left.wait()

    def _expect(self, count: int) -> None:
        self._expected = count
        if self._state is not None:
            self._state.save(RECORD, {"names": str(count)})


def _remembered(state: State | None) -> int:
    record = state.load(RECORD) if state is not None else None
    count = record.get("names", "") if record is not None else ""
    return int(count) if _COUNT.fullmatch(count) else 0
