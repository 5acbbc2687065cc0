"""Judges whether an act is safe now: the guard that the table names, with the fleet as it is.

What cannot be counted is not safe: a store that does not answer raises, it never opens a gate.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Final, Protocol

from meshca.authority.fleet import Workload
from meshca.authority.gate import Gate, Terms, activate_gate, over_gate, retire_gate
from meshca.authority.history import Kind, Lifecycle, Record
from meshca.authority.lifecycle import Act, Guard, step
from meshca.authority.material import begins_at
from meshca.clock import Clock
from meshca.errors import InvariantBroken

# A ConfigMap holds 1 MiB with its keys (Kubernetes, core/v1 ConfigMap), an agent takes a bundle of 1 MiB, and an
# SDS message of gRPC 4 MiB: the smallest decides, and leaves room for names.
LARGEST_BUNDLE: Final = 1_000_000
MADE_WITHIN: Final = timedelta(minutes=10)  # of its beginning, which is backdated a little, is known what we make
OPEN: Final = Gate(open=True, ready=0, of=0, why="nothing has to hold first")


class Fleet(Protocol):
    """Everyone who counts; `census.Census` counts for real.

    Attributes:
        seen_within: who was not seen for so long does not count.
    """

    seen_within: timedelta

    async def workloads(self, lifecycle: Lifecycle) -> tuple[Workload, ...]:
        """Everyone who counts now.

        Raises:
            Unavailable: reason `store`.
        """
        ...


class Judge:
    """Judges acts.

    Args:
        census: counts the fleet.
        terms: when a gate counts as open.
        clock: for what has lasted long enough.
    """

    def __init__(self, *, census: Fleet, terms: Terms, clock: Clock) -> None:
        self.census = census
        self.terms = terms
        self._clock = clock

    async def gate(self, kept: Lifecycle, act: Act, record: Record) -> Gate:
        """What is found of the act's guard.

        Raises:
            Refused: reason `transition`, when the act is not possible.
            Unavailable: reason `store`, when the fleet cannot be counted.
        """
        guard = step(record.state, act).guard
        match guard:
            case Guard.NONE:
                return OPEN
            case Guard.FITS:
                return fits(kept, record)
            case Guard.NEVER_SIGNED:
                return _never_signed(kept, record)
        return self.judged(kept, act, record, await self.census.workloads(kept))

    def judged(self, kept: Lifecycle, act: Act, record: Record, fleet: tuple[Workload, ...]) -> Gate:
        """What is found of a guard that depends on the fleet.

        Raises:
            InvariantBroken: reason `guard`, for an act whose guard does not.
        """
        now = self._clock.now()
        match step(record.state, act).guard:
            case Guard.ADOPTED:
                since = record.trusted_since or record.since
                published = since if self.terms.published_for else None
                return activate_gate(
                    fleet, record.id, self.terms, distributing_since=since, published_since=published, now=now
                )
            case Guard.UNUSED:
                return self._unrecorded(kept, record) or retire_gate(fleet, record.id, now)
            case Guard.OVER:
                plan = kept.plan
                if plan is None or plan.tainted_at is None:
                    return retire_gate(fleet, record.id, now)
                return over_gate(fleet, record.id, tainted_at=plan.tainted_at, window=plan.window, now=now)
            case other:
                raise InvariantBroken("guard", f"{other.name} does not depend on the fleet")

    def _unrecorded(self, kept: Lifecycle, record: Record) -> Gate | None:
        """Closed while leaves may live that were issued before anything was kept of a root; None once none can.

        A root that was found and not made here may have signed before: an installation that was upgraded, a CA
        that was plugged in, a store that was lost. That is sure where there were several at once at first, however
        short ago they were made.
        """
        found_at = record.trusted_since or record.since
        if found_at - begins_at(record.pem) <= MADE_WITHIN and not _one_of_several_at_first(kept, record):
            return None
        over_at = found_at + self.census.seen_within
        if self._clock.now() >= over_at:
            return None
        why = f"what it signed before it was known here is not recorded, and may live until {over_at.isoformat()}"
        return Gate(open=False, ready=0, of=0, why=why, opens_at=over_at)


def fits(kept: Lifecycle, new: Record) -> Gate:
    """Whether a bundle with one root more can be given out."""
    size = sum(len(one.pem) for one in kept.trusted if one.id != new.id) + len(new.pem)
    why = f"the bundle has {size} bytes with it, {LARGEST_BUNDLE} are the most"
    return Gate(open=size <= LARGEST_BUNDLE, ready=0, of=0, why=why)


def _one_of_several_at_first(kept: Lifecycle, record: Record) -> bool:
    """Whether a root was in the very first bundle beside others: an installation that begins has one."""
    first = next((one for one in kept.bundles if one.sequence == 1), None)
    return first is not None and record.id in first.roots and len(first.roots) > 1


def _never_signed(kept: Lifecycle, record: Record) -> Gate:
    below = [one for one in kept.of(Kind.INTERMEDIATE) if one.parent == record.id]
    why = "it has signed; leaves below it may live, so it is to be retired" if below else "it has never signed"
    return Gate(open=not below, ready=0, of=0, why=why)
