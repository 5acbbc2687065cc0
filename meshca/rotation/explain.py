"""What will happen to the roots, in plain words: what ends and what then breaks, and what comes next.

Pure. It only tells: no step is ever decided by what is said here.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from meshca.authority.gate import Gate
from meshca.authority.history import Kind, Lifecycle, Plan, Record
from meshca.authority.lifecycle import TRUSTED, State
from meshca.authority.straggling import short, when
from meshca.duration import format_duration
from meshca.rotation.report import AuthorityReport
from meshca.rotation.steps import drop_at
from meshca.validity import ended

SHARES: Final = (0.25, 0.10, 0.05)  # of a life that is left when it is told, ever louder
# Of a root's life, if that is long: everybody has to learn a new one first, and people have to be found for it.
LEFT: Final = (timedelta(days=180), timedelta(days=90), timedelta(days=30), timedelta(days=7))
_LAST_SHARE: Final = 0.02  # with the last of LEFT, for lives so short that a share of them is less

_REFUSED: Final = "from then on every peer refuses every certificate below it at once"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """An end that is near.

    Attributes:
        authority: the id of the root or intermediate.
        kind: what that is.
        urgency: 1 at the first threshold, one more at each.
        ends_at: when it ends.
        words: what ends, what then happens, and what to do.
    """

    authority: str
    kind: Kind
    urgency: int
    ends_at: datetime
    words: str


def endings(authorities: Iterable[AuthorityReport], now: datetime) -> tuple[Ending, ...]:
    """What ends soon, the most urgent first; what nobody trusts or signs by is left out."""
    found = [_ending(one, urgency, now) for one in authorities if (urgency := _urgency(one, now))]
    return tuple(sorted(found, key=lambda one: (-one.urgency, one.ends_at)))


def next_step(lifecycle: Lifecycle, gate: Gate | None) -> str:
    """What happens next, and what it waits for; empty when nothing is to be done.

    Args:
        lifecycle: how it stands.
        gate: of that step; None when it waits for none.
    """
    plan = lifecycle.plan
    if plan is None:
        return _unplanned(lifecycle.of(Kind.ROOT, State.PREPARED))
    said = _planned(plan, lifecycle.find(plan.old), lifecycle.find(plan.new))
    if plan.paused:
        how = " --compromised" if plan.compromised else ""
        return f"paused; after meshca root resume{how}: {said}"
    if gate is None:
        return said
    found = "waits" if not gate.open else "due" if gate.stragglers else "safe now"
    return f"{said}: {found}, {gate.why}"


def _urgency(authority: AuthorityReport, now: datetime) -> int:
    """How many thresholds are passed."""
    record, life = authority.record, authority.not_after - authority.not_before
    left = authority.not_after - now
    if record.kind is Kind.INTERMEDIATE:
        return sum(left <= life * share for share in SHARES) if record.state is State.ACTIVE else 0
    if record.state not in TRUSTED:
        return 0
    marks = zip(LEFT, (*SHARES, _LAST_SHARE), strict=True)
    return sum(left <= min(days, life * share) for days, share in marks)


def _ending(authority: AuthorityReport, urgency: int, now: datetime) -> Ending:
    record = authority.record
    at = when(authority.not_after)
    if ended(authority.not_after, now):
        verb = f"ended at {at}"
    else:
        verb = f"ends at {at}, in {_rough(authority.not_after - now)}"
    return Ending(
        authority=record.id,
        kind=record.kind,
        urgency=urgency,
        ends_at=authority.not_after,
        words=f"{record.kind.value} {short(record.id)} {verb}: {_consequence(authority)}",
    )


def _consequence(authority: AuthorityReport) -> str:
    """What happens at the end, and what to do before."""
    record = authority.record
    if record.kind is Kind.INTERMEDIATE:
        return (
            "certificates below it end with it and none can be issued after; it should have been replaced before: "
            "see the log for why it was not, or put a new one in place if the CA is plugged in"
        )
    if record.state is State.ACTIVE:
        return f"{_REFUSED}, {authority.leaves} workloads hold one now; begin a new one with meshca root rotate"
    if record.state is State.DISTRIBUTING:
        return "it is trusted but does not sign, and would soon have to be replaced again; rotate to a newer one"
    if authority.leaves:
        return f"{_REFUSED}, {authority.leaves} workloads hold one now; see who in meshca root status"
    return "nobody holds a certificate below it, so nothing breaks; drop it with meshca root retire"


def _rough(left: timedelta) -> str:
    """Days while there are some: nobody counts seconds of half a year."""
    if left >= timedelta(days=2):
        return f"{left.days} days"
    return format_duration(timedelta(seconds=int(left.total_seconds())))


def _unplanned(prepared: Sequence[Record]) -> str:
    if not prepared:
        return ""
    names = ", ".join(short(one.id) for one in prepared)
    return f"{names}: prepared, trusted by nobody yet; meshca root rotate gives it out"


def _planned(plan: Plan, old: Record | None, new: Record | None) -> str:
    """The step of a plan that comes next."""
    if old is None or new is None:
        return "a root of this rotation is not known any more; meshca root abort ends it"
    by = "by itself" if plan.automatic else "by command"
    if new.state is State.PREPARED:
        return f"have every workload trust {short(new.id)}, {by}"
    if new.state is State.DISTRIBUTING:
        return f"sign below {short(new.id)}, {by}"
    return f"{_dropping(plan, old)}, {by}"


def _dropping(plan: Plan, old: Record) -> str:
    """What is left to do once the new root signs."""
    if old.state is State.DISTRIBUTING:
        return f"aborted: stop trusting {short(old.id)} once no certificate below it is in use"
    if old.state is State.TAINTED:
        over_at = drop_at(plan)
        over = f", at {when(over_at)} at the latest" if over_at is not None else ""
        return f"replace every certificate below {short(old.id)} and stop trusting it{over}"
    if plan.compromised:
        return f"begin to replace every certificate below {short(old.id)}"
    return f"stop trusting {short(old.id)} once no certificate below it is in use"
