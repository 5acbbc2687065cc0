"""When to write again what somebody else keeps changing: at once at first, then ever later.

An edit by hand is repaired at once. Two programs that both own a field would write for ever, as fast as they can;
after a few takings in a row this side holds back, twice as long after each further one, and the fight is told.
Pure: no clock, no I/O.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

AT_ONCE: Final = 3  # takings in a row that are answered at once
QUIET: Final = 60.0  # seconds without a taking after which all is forgotten
FIRST_PAUSE: Final = 10.0
LONGEST_PAUSE: Final = 3600.0


@dataclass(frozen=True, slots=True)
class Rivalry:
    """One object's history with others.

    Attributes:
        takings: in a row.
        rival: who took it last, as an administrator can find them.
        last: when, in seconds of a steady clock.
    """

    takings: int = 0
    rival: str = ""
    last: float = 0.0

    def taken(self, rival: str, now: float) -> Rivalry:
        """Somebody changed what we had written."""
        before = 0 if self.is_over(now) else self.takings
        return Rivalry(takings=before + 1, rival=rival, last=now)

    @property
    def contested(self) -> bool:
        """Whether this is a fight, not an edit."""
        return self.takings > AT_ONCE

    @property
    def pause(self) -> float:
        """Seconds to hold back after the last taking."""
        if not self.contested:
            return 0.0
        return float(min(LONGEST_PAUSE, FIRST_PAUSE * 2.0 ** min(self.takings - AT_ONCE - 1, 32)))

    @property
    def write_at(self) -> float:
        """When to write again."""
        return self.last + self.pause

    def is_over(self, now: float) -> bool:
        """Whether it stayed ours for long enough after we wrote again."""
        return self.takings == 0 or now - self.write_at > QUIET + self.pause
