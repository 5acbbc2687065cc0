"""Whether a step is safe now, and who would break if it were taken: the two guards that depend on the fleet.

Pure. A gate is never open because nothing is known: an empty fleet opens it, a fleet that cannot be read does not.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from meshca.authority.fleet import Word, Workload
from meshca.authority.straggling import holds, lacks, named, short, when
from meshca.duration import format_duration

MOST_NAMED: Final = 100  # stragglers that are named; the count is always exact
LEFT_BEHIND: Final = "; left behind: "
"""Comes before the names of whoever was not ready for a step that was taken, where `Change.guard` has them."""


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

    @property
    def told(self) -> str:
        """Why, and who is left behind if the step is taken now: kept with it, as nobody can tell it later."""
        if not self.stragglers:
            return self.why
        more = f" and {self.unnamed} more" if self.unnamed else ""
        return f"{self.why}{LEFT_BEHIND}{', '.join(named(one.workload) for one in self.stragglers)}{more}"


def activate_gate(  # noqa: PLR0913, PLR0917 - what was measured, and the terms
    fleet: Sequence[Workload],
    root: str,
    terms: Terms,
    distributing_since: datetime,
    published_since: datetime | None,
    now: datetime,
) -> Gate:
    """Whether a root may sign now: whether those that would meet leaves below it trust it.

    The share counts for workloads that acknowledge. Of the others each must have had the root for long enough,
    and where the roots are published they must have been for long enough.

    Args:
        fleet: everybody who counts.
        root: its id.
        terms: from the configuration.
        distributing_since: when a bundle with it was first given out.
        published_since: since when the published roots have it; None when they have not yet.
        now: the time.
    """
    settled = now - terms.settle
    lacking = [one for one in fleet if not _has(one, root, settled)]
    speaking = sum(map(_acknowledges, fleet))
    missing = sum(map(_acknowledges, lacking))
    enough = not speaking or (speaking - missing) / speaking >= terms.share
    silent = len(lacking) - missing
    published_at = published_since + terms.published_for if published_since is not None else None
    published = not terms.published_for or (published_at is not None and published_at <= now)
    told = len(fleet) - len(lacking)
    whys = [f"{told} of {len(fleet)} workloads trust {short(root)}, given out since {when(distributing_since)}"]
    if missing:
        whys.append(f"of {speaking} that acknowledge, {missing} do not: {_share(speaking, missing, terms)}")
    if silent:
        settle = format_duration(terms.settle)
        whys.append(f"{silent} that cannot acknowledge have not got it, or for less than {settle}")
    if not published:
        whys.append(_unpublished(published_at))
    is_open = enough and not silent and published
    waits = [_has_at(one, root, terms) for one in lacking if not _acknowledges(one)]
    if not published:
        waits.append(published_at)
    return _gate(
        is_open,
        fleet,
        [Straggler(workload=one, why=lacks(one, root, terms.settle, now)) for one in lacking],
        "; ".join(whys),
        _latest(waits) if enough and not is_open else None,
    )


def retire_gate(fleet: Sequence[Workload], root: str) -> Gate:
    """Whether a root may be dropped now: whether no leaf in use is below it.

    Args:
        fleet: everybody who counts.
        root: its id.
    """
    holding = [one for one in fleet if root in one.signers]
    ends = _latest([one.ends_below(root) for one in holding])
    why = f"no workload holds a certificate below {short(root)}"
    if holding:
        why = f"{len(holding)} of {len(fleet)} workloads hold certificates below {short(root)}"
        why += f"; the last of them ends at {when(ends)}" if ends is not None else ""
    return _gate(not holding, fleet, [Straggler(workload=one, why=holds(one, root)) for one in holding], why, ends)


def over_gate(
    fleet: Sequence[Workload], root: str, tainted_at: datetime, window: timedelta, now: datetime
) -> Gate:
    """Whether a tainted root may be dropped now: as `retire_gate`, or when the window is over, whoever breaks.

    Args:
        fleet: everybody who counts.
        root: its id.
        tainted_at: when the window began.
        window: within which every leaf below it is replaced.
        now: the time.
    """
    unused = retire_gate(fleet, root)
    if unused.open:
        return unused
    over_at = tainted_at + window
    over = now >= over_at
    why = f"{unused.why}; the window is over at {when(over_at)}, then it is dropped whoever still holds one"
    if over:
        why = (
            f"{unused.why}; the window is over since {when(over_at)}: it is dropped, and who holds one loses trust"
        )
    ends = over_at if unused.opens_at is None else min(over_at, unused.opens_at)
    return Gate(
        open=over,
        ready=unused.ready,
        of=unused.of,
        why=why,
        stragglers=unused.stragglers,
        unnamed=unused.unnamed,
        opens_at=None if over else ends,
    )


def _acknowledges(workload: Workload) -> bool:
    return workload.acknowledges or workload.word is Word.ACKNOWLEDGED


def _has(workload: Workload, root: str, settled: datetime) -> bool:
    """Whether a workload counts as trusting a root."""
    if root not in workload.trusts:
        return False
    if _acknowledges(workload):
        return workload.word is Word.ACKNOWLEDGED
    return workload.given_at is not None and workload.given_at <= settled


def _has_at(workload: Workload, root: str, terms: Terms) -> datetime | None:
    """When one that cannot acknowledge trusts a root at the latest: it renews before its leaf ends, or is gone."""
    start = workload.given_at if root in workload.trusts else workload.leaf_ends
    return start + terms.settle if start is not None else None


def _unpublished(at: datetime | None) -> str:
    if at is None:
        return "it is not in the published roots yet; see the ConfigMaps in `meshca status`"
    return f"readers of the published roots have had it long enough at {when(at)}"


def _share(speaking: int, missing: int, terms: Terms) -> str:
    """Cut, never rounded up: 99.96 % must not read as 100 %."""
    tenths = (speaking - missing) * 1000 // speaking
    return f"{tenths // 10}.{tenths % 10} % trust it, {terms.share * 100:g} % are asked for"


def _latest(moments: Sequence[datetime | None]) -> datetime | None:
    """The last of them; None when one is not known, or when there is none."""
    known = [moment for moment in moments if moment is not None]
    return max(known) if known and len(known) == len(moments) else None


def _gate(
    is_open: bool,  # noqa: FBT001 - it is what is said of the gate
    fleet: Sequence[Workload],
    stragglers: list[Straggler],
    why: str,
    opens_at: datetime | None,
) -> Gate:
    stragglers.sort(key=lambda one: one.workload.seen_at, reverse=True)
    return Gate(
        open=is_open,
        ready=len(fleet) - len(stragglers),
        of=len(fleet),
        why=why,
        stragglers=tuple(stragglers[:MOST_NAMED]),
        unnamed=max(0, len(stragglers) - MOST_NAMED),
        opens_at=opens_at,
    )
