"""What comes next by itself: a pure decision over what is kept, what the upstream has, and the time.

It says which act is due and never whether that is safe: the act's guard is judged by whoever takes it.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

from meshca.authority.history import Kind, Lifecycle, Plan, Record
from meshca.authority.lifecycle import Act, State
from meshca.authority.material import certificate_id
from meshca.authority.straggling import when
from meshca.authority.upstream import Line

GRACE: Final = timedelta(seconds=5)
"""What a compromised root is still trusted at least, and what its successor is distributed at most, with a window
of zero: the time that an agent within reach needs. A peer that still shows the old leaf is refused after it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Due:
    """An act that comes next.

    Attributes:
        act: what.
        record: on which authority.
        deadline: when it is taken whatever its guard says; None for never.
    """

    act: Act
    record: Record
    deadline: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Named:
    """Which roots the upstream has.

    Attributes:
        wanted: ids of those that whoever plugged them in still names, or that we made.
        signs: ids of those below which material can be had: what is there now first, then what is kept from
            before, each in the upstream's order.
        plugged_in: whether the operator, not meshca, says which roots there are.
        made: ids of those that no operator plugged in, although one could: dropping them is ours.
    """

    wanted: Collection[str]
    signs: tuple[str, ...]
    plugged_in: bool
    made: Collection[str] = ()


def named_by(lines: Sequence[Line], *, plugged_in: bool) -> Named:
    """Which roots an upstream has by its lines."""
    signing = sorted((line for line in lines if line.signs), key=lambda line: not line.current)
    return Named(
        wanted=frozenset(certificate_id(line.root) for line in lines if line.wanted),
        signs=tuple(certificate_id(line.root) for line in signing),
        plugged_in=plugged_in,
        made=frozenset(certificate_id(line.root) for line in lines if line.made),
    )


def due(kept: Lifecycle, named: Named) -> Due | None:
    """The act that comes next, or None while there is nothing to do by itself."""
    plan = kept.plan
    if plan is not None:
        found = following(kept)
        held_by_us = plan.paused or not plan.automatic
        if found is not None and not held_by_us and not _still_named(found, named):
            return found
    elif left := kept.of(Kind.ROOT, State.TAINTED):  # by a rotation away from them that was given up
        return Due(act=Act.RETIRE, record=left[0])
    return _of_plugged_in(kept, named) if named.plugged_in else None


def stopped(kept: Lifecycle) -> str:
    """That somebody holds up the replacement of a stolen root, in words; empty when nobody does."""
    plan = kept.plan
    if plan is None or not plan.compromised or (plan.automatic and not plan.paused):
        return ""
    over_at = drop_at(plan)
    since = f", although its window ends at {when(over_at)}" if over_at is not None else ""
    return (
        f"root {plan.old[:16]}, whose key is stolen, stays trusted while its replacement is paused{since};"
        " meshca root resume --compromised goes on"
    )


def following(kept: Lifecycle) -> Due | None:
    """The act that the plan asks for next, whoever takes it; None without a plan."""
    plan = kept.plan
    new, old = (kept.find(plan.new), kept.find(plan.old)) if plan is not None else (None, None)
    if plan is None or new is None or old is None:
        return None
    if new.state is State.PREPARED:
        return Due(act=Act.DISTRIBUTE, record=new)
    if new.state is State.DISTRIBUTING:
        return Due(act=Act.ACTIVATE, record=new, deadline=distribution_deadline(plan, new))
    return _dropping(kept, plan, old)


def _dropping(kept: Lifecycle, plan: Plan, old: Record) -> Due | None:
    """The act on the old root once the new one signs; other tainted roots, which have its key, go before it."""
    beside = [one for one in kept.of(Kind.ROOT, State.TAINTED) if one.id != old.id]
    if beside and (old.state is not State.RETIRING or not plan.compromised):
        return Due(act=Act.RETIRE, record=beside[0], deadline=drop_at(plan))
    if old.state is State.TAINTED:
        return Due(act=Act.RETIRE, record=old, deadline=drop_at(plan))
    if old.state is State.RETIRING and plan.compromised:
        return Due(act=Act.TAINT, record=old)
    return Due(act=Act.RETIRE, record=old) if old.state in {State.RETIRING, State.DISTRIBUTING} else None


def _still_named(found: Due, named: Named) -> bool:
    """Whether an operator still names the root that would be dropped; then it is theirs to take away first."""
    dropped = found.act is Act.RETIRE and found.record.state is not State.TAINTED
    theirs = named.plugged_in and found.record.id not in named.made
    return dropped and theirs and found.record.id in named.wanted


def going_on(kept: Lifecycle, plan: Plan, *, compromised: bool, window: timedelta | None) -> Plan:
    """The rotation that is under way as it goes on when it is asked for again: by itself, as urgent as is asked.

    One that was aborted is turned round again: what signs now is to be replaced, also if its key was stolen.
    """
    aborted = any(one.id == plan.old for one in kept.of(Kind.ROOT, State.DISTRIBUTING))
    old, new = (plan.new, plan.old) if aborted else (plan.old, plan.new)
    slower = plan.compromised and not compromised  # whoever did not say so does not set its pace
    return replace(
        plan,
        old=old,
        new=new,
        automatic=True,
        paused=False,
        compromised=plan.compromised or compromised,
        window=plan.window if window is None or slower else window,
    )


def distribution_deadline(plan: Plan, new: Record) -> datetime | None:
    """When a successor of a compromised root signs at the latest; None when its gate alone decides."""
    if not plan.compromised:
        return None
    return (new.trusted_since or new.since) + distributed_for(plan.window)


def distributed_for(window: timedelta) -> timedelta:
    """How long the successor of a compromised root is waited for at most before it signs."""
    return max(window / 2, GRACE)


def trusted_for(window: timedelta) -> timedelta:
    """How long a tainted root is trusted at most: agents renew until the window's very end."""
    return window + GRACE


def drop_at(plan: Plan) -> datetime | None:
    """When a tainted root is trusted no more, whatever the gate says; None before it is tainted."""
    return None if plan.tainted_at is None else plan.tainted_at + trusted_for(plan.window)


def _of_plugged_in(kept: Lifecycle, named: Named) -> Due | None:
    """What an operator's change of the roots asks for, one act at a time."""
    for root in kept.of(Kind.ROOT, State.PREPARED):
        return Due(act=Act.DISTRIBUTE if root.id in named.wanted else Act.ABORT, record=root)
    for root in kept.of(Kind.ROOT, State.DISTRIBUTING, State.RETIRING):
        if root.id not in named.wanted and (kept.plan is None or root.id not in {kept.plan.new, kept.plan.old}):
            return Due(act=Act.RETIRE, record=root)
    return None


def successor(kept: Lifecycle, named: Named) -> Record | None:
    """The root that an operator has plugged in to sign in place of the active one; None when that goes on."""
    active = kept.active_root
    if not named.plugged_in or kept.plan is not None or active is None or not named.signs:
        return None
    chosen = next((one for one in named.signs if one in named.wanted), None)
    if chosen is None or chosen == active.id:
        return None
    record = kept.find(chosen)
    return record if record is not None and record.state is State.DISTRIBUTING else None
