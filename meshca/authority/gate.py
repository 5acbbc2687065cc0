"""Whether a step is safe now, and who would break if it were taken: the two guards that depend on the fleet.

Pure. A gate is never open because nothing is known: an empty fleet opens it, a fleet that cannot be read does not.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from meshca.authority.fleet import Workload

MOST_NAMED: Final = 100  # stragglers that are named; the count is always exact


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """When a gate counts as open; from the configuration.

    Attributes:
        share: of the live workloads that acknowledge, how many must trust a root before it signs, 0 to 1.
        settle: how long a workload without acknowledgements must have had a root before it counts as trusting it,
            and how long after a new leaf the one before still counts as in use.
        published_for: how long the roots must have been published before a root signs, when anybody may read them
            from a ConfigMap only; zero when nothing is published.
    """

    share: float
    settle: timedelta
    published_for: timedelta


@dataclass(frozen=True, slots=True, kw_only=True)
class Straggler:
    """A workload that would break.

    Attributes:
        workload: it.
        why: in words: what it lacks, or what it still holds, and what an administrator can do.
    """

    workload: Workload
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Gate:
    """What was found of one guard.

    Attributes:
        open: whether the step is safe.
        ready, of: how many workloads are ready for it, and how many there are.
        why: in words, also when it is open.
        stragglers: who would break, the one seen last first; at most `MOST_NAMED`.
        unnamed: how many stragglers more there are.
        opens_at: when it opens at the latest if nothing else happens; None when that is not known.
    """

    open: bool
    ready: int
    of: int
    why: str
    stragglers: tuple[Straggler, ...] = ()
    unnamed: int = 0
    opens_at: datetime | None = None
