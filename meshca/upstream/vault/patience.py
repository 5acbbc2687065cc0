"""What failed is not asked again for a while, so that neither an outage nor a wrong policy is a storm of requests.

An outage passes by itself and is looked at again within seconds; a refusal waits for an operator. Must never hold
back what has not failed.
"""

from __future__ import annotations

import random
from collections.abc import Collection
from typing import Final

from meshca.backoff import Backoff
from meshca.clock import Clock
from meshca.errors import Unavailable
from meshca.upstream.vault.faults import TABLE, Fault, Throttled, fault_of

OUTAGE: Final = Backoff(floor=0.5, ceiling=3.0)  # recovery is noticed so late at most
_RARE: Final = "rare"  # in place of a reason
REFUSAL: Final = Backoff(floor=1.0, ceiling=60.0)


class Patience:
    """With one thing that may fail.

    Args:
        clock: monotonic, so that a clock that is set does not matter.
        rng: the source of jitter.
        rarely: faults that are paused after like a refusal although they pass; all are one reason.

    Attributes:
        failures: in a row, for one reason.
    """

    failures = 0

    def __init__(self, clock: Clock, rng: random.Random, *, rarely: Collection[Fault] = ()) -> None:
        self._clock = clock
        self._rng = rng
        self._rarely = rarely
        self._error: Unavailable | None = None
        self._until = 0.0

    @property
    def left(self) -> float:
        """Seconds until it may be asked again."""
        return max(self._until - self._clock.monotonic(), 0.0)

    def check(self) -> None:
        """Refuse what failed just now.

        Raises:
            Unavailable: the same as then.
        """
        if self.left > 0:
            self.check_over()

    def check_over(self) -> None:
        """Refuse what failed and has not succeeded since, however long ago that was.

        Raises:
            Unavailable: the same as then.
        """
        if self._error is not None:
            raise Unavailable(self._error.reason, self._error.detail)

    def failed(self, error: Unavailable) -> None:
        """It failed, as often in a row as for the same reason before."""
        same = self._error is not None and self._kind(self._error) == self._kind(error)
        self.failures = self.failures + 1 if same else 1
        self._error = error
        hint = error.retry_after if isinstance(error, Throttled) else None
        backoff = OUTAGE if _passes_soon(error) and self._kind(error) != _RARE else REFUSAL
        self._until = self._clock.monotonic() + backoff.pause(self.failures, self._rng, hint=hint)

    def succeeded(self) -> None:
        """It did not fail."""
        self._error, self.failures, self._until = None, 0, 0.0

    def _kind(self, error: Unavailable) -> str:
        return _RARE if fault_of(error) in self._rarely else error.reason

    def anew(self) -> None:
        """Something else will be asked for: only a pause that the server asked for goes on."""
        if not isinstance(self._error, Throttled):
            self.succeeded()


def _passes_soon(error: Unavailable) -> bool:
    """Whether asking again soon may help and does no harm; a file of ours costs the server nothing."""
    fault = fault_of(error)
    if fault is None or fault is Fault.RATE_LIMITED:
        return False
    return TABLE[fault].passes or fault is Fault.LOGIN_UNREADABLE
