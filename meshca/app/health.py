"""Looks at the workers all the time, so that what is wrong is mended and logged also when nobody asks.

Ends a worker that hangs. One that answers is never ended here, whatever it answers: if its store is down, so will
be that of the next.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from meshca.app.place import WorkerState
from meshca.app.supervisor import Supervisor
from meshca.clock import Clock
from meshca.log import log

INTERVAL: Final = 5.0  # seconds between two looks
# Probes in a row that a hung worker leaves unanswered. With their own deadline more than 10 s: a machine that is
# merely slow, or was frozen with all of its processes, misses fewer.
MISSES: Final = 3


class Health:
    """Watches over the workers of a supervisor, all of which were ready at first."""

    def __init__(self, supervisor: Supervisor, clock: Clock) -> None:
        self._supervisor = supervisor
        self._clock = clock
        self._misses: dict[int, int] = {}  # by process id; a worker that answers has none
        self._ready = True

    async def run(self) -> None:
        """Look for ever."""
        while True:
            await self._clock.sleep(INTERVAL)
            states = await self._supervisor.states()
            self._tell(states)
            self._end_hung(states)

    def _tell(self, states: Sequence[WorkerState]) -> None:
        """Log when the server stops being ready, and when it is again."""
        problems = [f"{state.name}: {state.detail}" for state in states if not state.ready]
        if problems and self._ready:
            log.error("server.not_ready", detail="; ".join(problems))
        if not problems and not self._ready:
            log.info("server.ready_again")
        self._ready = not problems

    def _end_hung(self, states: Sequence[WorkerState]) -> None:
        self._misses = {state.pid: self._misses.get(state.pid, 0) + 1 for state in states if state.silent}
        for pid, misses in self._misses.items():
            if misses >= MISSES:
                self._supervisor.end_hung(pid, f"did not answer {misses} probes in a row")
