"""Judges whether an act is safe now: the guard that the table names, with the fleet as it is.

What cannot be counted is not safe: a store that does not answer raises, it never opens a gate.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime, timedelta
from typing import Final, Protocol

from meshca import metrics
from meshca.authority.fleet import Word, Workload
from meshca.authority.gate import Gate, Terms, activate_gate, over_gate, retire_gate
from meshca.authority.history import Kind, Lifecycle, Plan, Record
from meshca.authority.lifecycle import Act, Guard, State, step
from meshca.authority.material import begins_at
from meshca.authority.straggling import short
from meshca.rotation.steady import SteadyClock
from meshca.rotation.steps import trusted_for

# A ConfigMap holds 1 MiB with its keys (Kubernetes, core/v1 ConfigMap), an agent takes a bundle of 1 MiB, and an
# SDS message of gRPC 4 MiB: the smallest decides, and leaves room for names.
LARGEST_BUNDLE: Final = 1_000_000
MADE_WITHIN: Final = timedelta(minutes=10)  # of its beginning, which is backdated a little, is known what we make
OF_THE_FLEET: Final = frozenset({Guard.ADOPTED, Guard.UNUSED, Guard.OVER})
MOVING: Final = frozenset({State.DISTRIBUTING, State.RETIRING, State.TAINTED})
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


Replicas = Callable[[], Awaitable[tuple[str, ...]]]


async def nobody() -> tuple[str, ...]:
    """There is no other replica."""
    return ()


class Publication(Protocol):
    """Where anybody may read the roots; `app.publication` knows how it stands in a cluster."""

    def published_since(self, root: str) -> datetime | None:
        """Since when every place that roots are published in holds this one; None while one does not.

        Also None where that is not known: by a replica that does not publish.
        """
        ...


class Judge:
    """Judges acts.

    Args:
        census: counts the fleet.
        terms: when a gate counts as open.
        clock: for what has lasted long enough.
        silent: names other replicas that may issue what is not recorded here.
        living: names every replica that is heard, us first; what one signs by that has gone holds nothing up.
        follow: how long after a step another replica may not have heard of it, and is not silent yet.
        publication: since when roots are published; without it none is, as far as terms ask for that.
    """

    def __init__(  # noqa: PLR0913 - its parts, by name
        self,
        *,
        census: Fleet,
        terms: Terms,
        clock: SteadyClock,
        silent: Replicas = nobody,
        living: Replicas = nobody,
        follow: timedelta = timedelta(0),
        publication: Publication | None = None,
    ) -> None:
        self.census = census
        self.terms = terms
        self.clock = clock
        self._silent = silent
        self._living = living
        self._follow = follow
        self._publication = publication

    async def gate(
        self, kept: Lifecycle, act: Act, record: Record, fleet: Sequence[Workload] | None = None
    ) -> Gate:
        """What is found of the act's guard.

        Args:
            kept: everything that is kept.
            act: what shall be done.
            record: to whom.
            fleet: everyone who counts, for a caller who has counted just now.

        Raises:
            Refused: reason `transition`, when the act is not possible.
            Unavailable: reason `store`, when the fleet cannot be counted.
        """
        guard = step(record.state, act).guard
        if guard is Guard.UNUSED:
            if silent := await self._silent():
                return _unheard(silent)
            if signing := _signing_below(kept, record, await self._living()):
                return _behind(signing, record)
        if fleet is None:
            fleet = await self.fleet(kept) if guard in OF_THE_FLEET else ()
        return self._judged(kept, act, record, fleet)

    async def others(self) -> tuple[str, ...]:
        """Other replicas that are heard.

        Raises:
            Unavailable: reason `store`.
        """
        names = await self._living()
        return tuple(sorted(set(names[1:]) - set(names[:1])))

    async def fleet(self, kept: Lifecycle) -> tuple[Workload, ...]:
        """Everyone who counts now; while no root is on its way the wall clock is believed.

        Raises:
            Unavailable: reason `store`.
        """
        if kept.plan is None and not kept.of(Kind.ROOT, *MOVING):
            self.clock.rest()
        found = await self.census.workloads(kept)
        for word in Word:
            metrics.rotation_workloads.labels(word).set(sum(one.word is word for one in found))
        return found

    def _judged(self, kept: Lifecycle, act: Act, record: Record, fleet: Sequence[Workload]) -> Gate:
        """What is found of the act's guard with a fleet that was counted already.

        Raises:
            Refused: reason `transition`, when the act is not possible.
        """
        match step(record.state, act).guard:
            case Guard.NONE:
                return OPEN
            case Guard.FITS:
                return fits(kept, record)
            case Guard.NEVER_SIGNED:
                return _never_signed(kept, record)
            case Guard.ADOPTED:
                return self._adopted(record, fleet)
            case Guard.UNUSED:
                waits = self._unfollowed(record) or self._unrecorded(kept, record)
                return waits or retire_gate(fleet, record.id)
            case _:  # Guard.OVER; whatever might come is judged by who would break
                return _over(kept.plan, record, fleet, self.clock.wall())

    def _adopted(self, record: Record, fleet: Sequence[Workload]) -> Gate:
        since, now = record.trusted_since or record.since, self.clock.now()
        published = self._publication.published_since(record.id) if self._publication else None
        return activate_gate(
            fleet, record.id, self.terms, distributing_since=since, published_since=published, now=now
        )

    def _unfollowed(self, record: Record) -> Gate | None:
        """Closed while another replica may not have heard yet that a root signs no more; None once each has."""
        followed_at = record.since + self._follow
        if not self._follow or self.clock.now() >= followed_at:
            return None
        why = f"every replica has heard that it signs no more, or counts as cut off, at {followed_at.isoformat()}"
        return Gate(open=False, ready=0, of=0, why=why, opens_at=followed_at)

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
        if self.clock.now() >= over_at:
            return None
        why = f"what it signed before it was known here is not recorded, and may live until {over_at.isoformat()}"
        return Gate(open=False, ready=0, of=0, why=why, opens_at=over_at)


def _over(plan: Plan | None, record: Record, fleet: Sequence[Workload], now: datetime) -> Gate:
    if plan is None or plan.tainted_at is None:
        return retire_gate(fleet, record.id)
    return over_gate(fleet, record.id, tainted_at=plan.tainted_at, window=trusted_for(plan.window), now=now)


def fits(kept: Lifecycle, new: Record) -> Gate:
    """Whether a bundle with one root more can be given out."""
    size = sum(len(one.pem) for one in kept.trusted if one.id != new.id) + len(new.pem)
    why = f"the bundle has {size} bytes with it, {LARGEST_BUNDLE} are the most"
    return Gate(open=size <= LARGEST_BUNDLE, ready=0, of=0, why=why)


def given_to(others: tuple[str, ...], root: Record) -> Gate:
    """Closed: another replica was given a root that we were not, and would never get it back."""
    why = (
        f"{short(root.id)} is not in the CA of this replica, and {', '.join(others)} may have it; give it to all,"
        f" or say `meshca root retire {short(root.id)}`"
    )
    return Gate(open=False, ready=0, of=0, why=why)


def _unheard(silent: tuple[str, ...]) -> Gate:
    names = ", ".join(silent)
    why = f"replica {names} is cut off or has died: what it issued is not known here; bring it back, or wait"
    return Gate(open=False, ready=0, of=0, why=why)


def _signing_below(kept: Lifecycle, root: Record, living: tuple[str, ...]) -> list[str]:
    """Replicas that sign below a root."""
    by = (one.replica for one in kept.of(Kind.INTERMEDIATE, State.ACTIVE) if one.parent == root.id)
    return sorted(set(by).intersection(living))


def _behind(replicas: list[str], root: Record) -> Gate:
    """Closed: without the root they could sign nothing, and what they sign until then prolongs its life."""
    names = ", ".join(replicas)
    why = f"replica {names} still signs below {short(root.id)}; give it what signs below the new root, or stop it"
    return Gate(open=False, ready=0, of=0, why=why)


def _one_of_several_at_first(kept: Lifecycle, record: Record) -> bool:
    """Whether a root was in the very first bundle beside others: an installation that begins has one."""
    first = next((one for one in kept.bundles if one.sequence == 1), None)
    return first is not None and record.id in first.roots and len(first.roots) > 1


def _never_signed(kept: Lifecycle, record: Record) -> Gate:
    below = [one for one in kept.of(Kind.INTERMEDIATE) if one.parent == record.id]
    why = "it has signed; leaves below it may live, so it is to be retired" if below else "it has never signed"
    return Gate(open=not below, ready=0, of=0, why=why)
