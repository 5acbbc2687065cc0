"""When to try again after a failure: exponential, full jitter, with a floor.

The one answer for agents, rotation, workers and pushed keys. Must never answer less than the floor, whatever a
clock or a CA says: a loop without a pause is how a fleet of agents takes down the CA it waits for. Not here:
the least interval between two fetches of an issuer's keys (`authn.keyset`), which is a limit for strangers.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Final

from meshca.clock import Clock
from meshca.errors import Exhausted, MeshcaError

JITTER: Final[random.Random] = random.SystemRandom()
LONGEST_HINT = 300.0  # seconds; a CA (or who poses as one) may slow an agent down, not stop it


@dataclass(frozen=True, slots=True, kw_only=True)
class Backoff:
    """Limits of the pause between tries, in seconds.

    Attributes:
        floor: the shortest pause, after the first failure too.
        ceiling: the longest pause that we choose ourselves.
    """

    floor: float = 1.0
    ceiling: float = 60.0

    def pause(self, failures: int, rng: random.Random, *, hint: float | None = None) -> float:
        """Seconds to wait after this many failures in a row (1 or more).

        Uniform between the floor and a bound that doubles with each failure up to the ceiling ("full
        jitter": the whole interval, so that agents that failed together come back apart).

        Args:
            failures: failures in a row, the last one included.
            rng: the source of jitter.
            hint: what the CA asked us to wait; the pause is at least that, up to LONGEST_HINT.
        """
        bound = min(self.ceiling, self.floor * 2.0 ** min(failures, 32))
        chosen = rng.uniform(self.floor, max(self.floor, bound))
        return max(chosen, min(hint, LONGEST_HINT)) if hint is not None else chosen


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """A clock to pause on, and how long.

    Attributes:
        clock: tells and passes time.
        rng: the source of jitter.
        backoff: the limits.
    """

    clock: Clock
    rng: random.Random = JITTER
    backoff: Backoff = Backoff()

    def after(self, error: MeshcaError, failures: int) -> float:
        """Seconds to wait after this error, the last of so many failures in a row."""
        hint = error.retry_after if isinstance(error, Exhausted) else None
        return self.backoff.pause(failures, self.rng, hint=hint)
