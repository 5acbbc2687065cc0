"""What a wish to rotate comes to from where the roots stand: which root goes, which signs, whether one is made.

Pure. Whoever does it, foretells it or keeps it for a second person asks here, so what is refused is refused to all
three. It must never guess which of two roots that have signed is the stolen one.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

from meshca.authority import planning
from meshca.authority.drafting import Cause, Planned, Version
from meshca.authority.history import Kind, Lifecycle, Plan, Record
from meshca.authority.lifecycle import State
from meshca.authority.material import same_key
from meshca.authority.straggling import short
from meshca.errors import InvariantBroken, NotFound, Refused
from meshca.rotation.steps import going_on

_BESIDE: Final = frozenset(
    {State.RETIRING, State.DISTRIBUTING}
)  # of the root that goes: has signed, and is trusted


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What is wished.

    Attributes:
        compromised: because a key is stolen.
        window: within which leaves are replaced then; None for the usual one.
        root: the id of the root whose key is stolen; empty where only one can be meant.
    """

    compromised: bool = False
    window: timedelta | None = None
    root: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Aim:
    """What it comes to.

    Attributes:
        old: the id of the root that goes.
        plan: the rotation under way as it goes on; None when a new one is begun.
        back: whether the later of the two roots is the stolen one, so that the one before it signs.
        twins: ids of other roots that have the stolen key of the old one, and go with it.
    """

    old: str
    plan: Plan | None = None
    back: bool = False
    twins: tuple[str, ...] = ()


def aimed(kept: Lifecycle, wish: Wish) -> Aim:
    """What a wish comes to.

    Raises:
        NotFound: reason `root`: none of that id is known.
        Refused: reasons `no_root`; `compromised`, as `check_said`; `which_root`: two may be the stolen one;
            `not_signing`: the root that is named can only be tainted; `rotation_under_way`: another stolen root is
            being replaced.
    """
    active, plan = kept.active_root, kept.plan
    if active is None:
        raise Refused("no_root", "no root is active yet; wait until the server is ready")
    if wish.root and kept.find(wish.root) is None:
        raise NotFound("root", f"no root with id {wish.root} is known; see `meshca root list`")
    named = kept.find(wish.root)
    if named is not None and named.state is State.RETIRED:
        raise Refused(
            "not_signing", f"root {short(named.id)} is retired: nobody trusts it, so nothing is left to do"
        )
    if plan is None:
        if wish.root not in {"", active.id}:
            raise _not_signing(wish.root)
        return _anew(kept, active, wish)
    if plan.paused:
        check_said(kept, compromised=wish.compromised)
    going = going_on(kept, plan, compromised=wish.compromised, window=wish.window)
    old, new = kept.find(plan.old), kept.find(plan.new)
    if not wish.compromised or old is None or new is None:
        return Aim(old=going.old, plan=going)
    return _anew(kept, active, wish) if same_key(old.pem, new.pem) else _away(kept, old, new, going, wish)


def gone_on(kept: Lifecycle, aim: Aim, cause: Cause, version: Version) -> Planned:
    """What it changes to go on with the rotation under way.

    Raises:
        Refused, NotFound: as the acts that it is made of.
        InvariantBroken: reason `aim`: a rotation is to be begun.
    """
    before, plan = kept.plan, aim.plan
    if before is None or plan is None:
        raise InvariantBroken("aim", "no rotation is under way that could go on")
    if not aim.back:
        return planning.with_plan(kept, plan, cause)

    def abort(now: Lifecycle) -> Planned:
        return (now, ()) if before.old == aim.old else planning.abort(now, cause, version)

    return planning.in_one(kept, abort, lambda now: planning.taint(now, aim.old, cause, plan.window))


def check_said(kept: Lifecycle, *, compromised: bool) -> None:
    """Whoever stops the replacement of a stolen root must know that they do: it goes on to be trusted.

    Raises:
        Refused: reason `compromised`.
    """
    if kept.plan is not None and kept.plan.compromised and not compromised:
        raise Refused(
            "compromised",
            "this rotation replaces a root whose key is stolen, which stays trusted meanwhile; whoever means that"
            " says so: meshca root pause, resume, abort or rotate with --compromised",
        )


def check_stops(kept: Lifecycle, now: datetime, *, compromised: bool) -> None:
    """Whoever would hold up or give up a rotation must know that a stolen root goes on to be trusted by it.

    Raises:
        Refused: reason `compromised`: as `check_said`, or its replacement waits for a second person.
    """
    check_said(kept, compromised=compromised)
    urgent = next((one for one in kept.requests if one.urgent and now < one.until), None)
    if urgent is not None and not compromised:
        problem = f"request {urgent.id} of {urgent.by} waits for a second person because a key is stolen"
        todo = "have it approved or denied first"
        if kept.plan is not None:
            todo += ", or say that you mean it: meshca root pause or abort with --compromised"
        raise Refused("compromised", f"{problem}; {todo}")


def _anew(kept: Lifecycle, active: Record, wish: Wish) -> Aim:
    """Away from the root that signs, to one with a new key."""
    if not wish.compromised:
        return Aim(old=active.id)
    others = [one for one in kept.of(Kind.ROOT) if one.state is not State.RETIRED and one.id != active.id]
    return Aim(old=active.id, twins=tuple(one.id for one in others if same_key(one.pem, active.pem)))


def _away(kept: Lifecycle, old: Record, new: Record, going: Plan, wish: Wish) -> Aim:
    """Away from the one of the two roots that is stolen; where both have signed it has to be named."""
    known = kept.plan is not None and kept.plan.compromised
    if old.state in _BESIDE and not known:
        if not wish.root:
            raise _which(old, new)
        if wish.root == going.new:
            plan = replace(going, old=going.new, new=going.old)
            return Aim(old=plan.old, plan=plan, back=True)
    if wish.root == going.new and new.state is State.ACTIVE:
        problem = f"it replaces the stolen root {short(old.id)}; let that end, then rotate away from it"
        raise Refused("rotation_under_way", f"{problem}: meshca root rotate --compromised")
    if wish.root not in {"", going.old}:
        raise _not_signing(wish.root)
    return Aim(old=going.old, plan=going)


def _which(old: Record, new: Record) -> Refused:
    return Refused(
        "which_root",
        f"two roots have signed, and either may be stolen; say which: --root {short(old.id)} ({old.state.value}: "
        f"{short(new.id)} signs on) or --root {short(new.id)} ({new.state.value}: {short(old.id)} signs again)",
    )


def _not_signing(root: str) -> Refused:
    problem = f"root {short(root)} does not sign; meshca root taint has what is below it replaced"
    return Refused("not_signing", f"{problem}, after meshca root abort where a rotation goes to it")
