"""An order to replace leaves, and when each holder of one does so: spread evenly, never outside the window.

Pure; the agent and the keys held by the server go by the same rule. It must never make a holder act that the
order does not concern, and never make a loop: a leaf that comes back under the same signer waits longer each time.
"""

from __future__ import annotations

import random
import re
from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from meshca.backoff import Backoff
from meshca.errors import BadRequest

LONGEST_WINDOW: Final = timedelta(
    days=30
)  # more than anybody waits for; leaves are renewed by themselves long before
MOST_SIGNERS: Final = 1024  # a signing certificate for each replica and renewal; 64 KiB of text
_SIGNER = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True, kw_only=True)
class RenewalOrder:
    """Leaves below these signing certificates are to be replaced.

    Attributes:
        signers: SHA-256 of each certificate's DER, lower-case hexadecimal; none: nothing is ordered.
        begun_at: when the window began, by the clock of who ordered.
        window: how long it lasts; zero is at once.

    Raises:
        BadRequest: reason `order`, when a signer is no fingerprint, there are too many, or the window is negative
            or too long.
    """

    signers: frozenset[str] = frozenset()
    begun_at: datetime = datetime(1970, 1, 1, tzinfo=UTC)
    window: timedelta = timedelta(0)

    def __post_init__(self) -> None:
        if len(self.signers) > MOST_SIGNERS or not all(map(_SIGNER.fullmatch, self.signers)):
            raise BadRequest(
                "order", f"signers: expected at most {MOST_SIGNERS} SHA-256 in lower-case hexadecimal"
            )
        if not timedelta(0) <= self.window <= LONGEST_WINDOW:
            raise BadRequest("order", f"window: expected 0 to {LONGEST_WINDOW.days} days")


NO_ORDER: Final = RenewalOrder()


class Turn:
    """When one holder obeys the newest order.

    Args:
        rng: draws where in the window; each holder draws for itself, so that the whole fleet is spread evenly.
        backoff: the pauses when a new leaf is still below a signer that the order names.
    """

    def __init__(self, rng: random.Random, backoff: Backoff) -> None:
        self._rng = rng
        self._backoff = backoff
        self._order = NO_ORDER
        self._moment = self.ends_at = NO_ORDER.begun_at
        self._vain = 0

    def take(self, order: RenewalOrder, now: datetime) -> None:
        """Draw when to obey; an order that is known, or has more signers now, keeps a turn that is to come.

        What is left of the window counts, so that holders who hear late make no peak. An order that seems to come
        from the future begins now: this clock is slow, and waiting for it would miss the window.
        """
        if order == self._order:
            return
        grown = (order.begun_at, order.window) == (self._order.begun_at, self._order.window)
        self._order, self._vain = order, 0
        if grown and now < self._moment:
            return
        begin = min(order.begun_at, now)
        end = begin + order.window
        start = min(max(begin, now), end)
        self._moment, self.ends_at = start + (end - start) * self._rng.random(), end

    def due(self, signers: Collection[str]) -> datetime | None:
        """When a leaf below these signing certificates is to be replaced; None when no order concerns it."""
        return None if self._order.signers.isdisjoint(signers) else self._moment

    def came(self, signers: Collection[str], now: datetime) -> bool:
        """A new leaf has come; false when it is still concerned: another worker has not heard of the news yet."""
        if self._order.signers.isdisjoint(signers):
            return True
        self._vain += 1
        self._moment = now + timedelta(seconds=self._backoff.pause(self._vain, self._rng))
        return False
