"""What each commit of a root's life changes: `Lifecycle` in, `Lifecycle` and its `Change`s out, all by the table.

Pure. It judges no gate: who calls it has asked `authority.gate` and says in the `Cause` what was found. It must
never leave a set of roots without one that signs, and never let two of a kind sign at once for one replica.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final

from meshca.authority.drafting import Cause, Draft, Planned, Version
from meshca.authority.history import Change, Kind, Lifecycle, Plan, Record
from meshca.authority.lifecycle import Act, State
from meshca.authority.material import certificate_id, to_pem
from meshca.authority.upstream import Line
from meshca.errors import Refused

_OTHER: Final = "another root is being rotated; finish or abort that first"
_BEFORE_SIGNING: Final = frozenset({State.PREPARED, State.DISTRIBUTING})


def in_one(lifecycle: Lifecycle, *acts: Callable[[Lifecycle], Planned]) -> Planned:
    """Several acts, one on what the other left, as one commit: everything or nothing."""
    now = lifecycle
    changes: list[Change] = []
    for act in acts:
        now, more = act(now)
        changes += more
    if now == lifecycle:
        return lifecycle, ()
    generation = lifecycle.generation + 1
    return replace(now, generation=generation), tuple(replace(one, generation=generation) for one in changes)


def adopt_lines(lifecycle: Lifecycle, lines: Sequence[Line], cause: Cause, version: Version) -> Planned:
    """Take up the roots that an upstream has and that are not known yet; the same lifecycle when there are none.

    A new root becomes prepared and no more. Only where nothing is known, at the first start or after the store was
    lost, the oldest that signs is active at once, and the others are trusted as well: leaves below each of them
    may be in use.
    """
    draft = Draft(lifecycle, cause)
    first = not lifecycle.of(Kind.ROOT)
    new = [line for line in lines if lifecycle.find(certificate_id(line.root)) is None]
    for line in new:
        draft.make(_root(line, cause.at))
        if first:
            draft.act(certificate_id(line.root), Act.DISTRIBUTE)
    signs = next((line for line in new if line.signs), None)
    if first and signs is not None:
        draft.act(certificate_id(signs.root), Act.ACTIVATE)
    return draft.planned(version)


def distribute(lifecycle: Lifecycle, root: str, cause: Cause, version: Version) -> Planned:
    """Have a prepared root trusted.

    Raises:
        NotFound: reason `authority`.
        Refused: reason `transition`.
    """
    draft = Draft(lifecycle, cause)
    draft.act(root, Act.DISTRIBUTE)
    return draft.planned(version)


def activate(lifecycle: Lifecycle, root: str, cause: Cause) -> Planned:
    """Sign below a root; the one before signs no more, in the same commit.

    A plan to drop that root, left by `abort`, is turned round again.

    Raises:
        NotFound: reason `authority`.
        Refused: reason `transition`, or `rotation_under_way`: two other roots are being rotated.
    """
    draft = Draft(lifecycle, cause)
    draft.possible(root, Act.ACTIVATE)
    if lifecycle.plan is not None and root not in {lifecycle.plan.old, lifecycle.plan.new}:
        raise Refused("rotation_under_way", _OTHER)
    if lifecycle.active_root is not None:
        draft.act(lifecycle.active_root.id, Act.SUPERSEDE)
    draft.act(root, Act.ACTIVATE)
    if lifecycle.plan is not None and lifecycle.plan.old == root:
        draft.plan(_turned(lifecycle.plan))
    return draft.planned()


def taint(lifecycle: Lifecycle, root: str, cause: Cause, window: timedelta) -> Planned:
    """Have every leaf below a root replaced within a window; what is planned goes on as that of a stolen key.

    It goes on by itself from then on, also if it was paused or begun by hand: the window has an end.

    Raises:
        NotFound: reason `authority`.
        Refused: reason `transition`, `no_active_root`, or `rotation_under_way`: another root is being rotated.
    """
    draft = Draft(lifecycle, cause)
    draft.act(root, Act.TAINT)
    plan = lifecycle.plan or _plan_of(lifecycle, root, cause, window)
    if plan.old != root:
        raise Refused("rotation_under_way", _OTHER)
    draft.plan(replace(plan, automatic=True, paused=False, compromised=True, window=window, tainted_at=cause.at))
    return draft.planned()


def retire(lifecycle: Lifecycle, root: str, cause: Cause, version: Version) -> Planned:
    """Drop a root and every intermediate below it; the plan that it was part of is done with that.

    Raises:
        NotFound: reason `authority`.
        Refused: reason `transition`.
    """
    draft = Draft(lifecycle, cause)
    draft.act(root, Act.RETIRE)
    draft.drop_below(root)
    if lifecycle.plan is not None and root in {lifecycle.plan.old, lifecycle.plan.new}:
        draft.plan(None)
    return draft.planned(version)


def give_up(lifecycle: Lifecycle, root: str, cause: Cause, version: Version) -> Planned:
    """Drop a root that never signed; a plan to rotate to it is done with that.

    Raises:
        NotFound: reason `authority`.
        Refused: reason `transition`.
    """
    draft = Draft(lifecycle, cause)
    draft.act(root, Act.ABORT)
    if lifecycle.plan is not None and lifecycle.plan.new == root:
        draft.plan(None)
    return draft.planned(version)


def renounce(lifecycle: Lifecycle, roots: Sequence[str], cause: Cause, version: Version) -> Planned:
    """Sign no more below roots that have a stolen key; what was planned with them ends.

    One that never signed is given up; one that has is tainted, and goes with the root that signs by the same key.

    Raises:
        NotFound: reason `authority`.
        Refused: reason `transition`.
    """
    draft = Draft(lifecycle, cause)
    for root in roots:
        if draft.record(root).state in _BEFORE_SIGNING and not _has_signed(lifecycle, root):
            draft.act(root, Act.ABORT)
        elif draft.record(root).state is not State.TAINTED:
            draft.act(root, Act.TAINT)
    draft.plan(None)
    return draft.planned(version)


def abort(lifecycle: Lifecycle, cause: Cause, version: Version) -> Planned:
    """Go back to the state before the rotation that is under way.

    Before anything was signed below the new root it is given up. After that the old root signs again, and the plan
    is turned round: the new root is dropped once no leaf below it is in use.

    Raises:
        Refused: reason `no_rotation`, or `too_late`: the old root cannot sign any more.
    """
    plan = under_way(lifecycle)
    draft = Draft(lifecycle, cause)
    old, new = draft.record(plan.old), draft.record(plan.new)
    if new.state in _BEFORE_SIGNING and not _has_signed(lifecycle, new.id):
        draft.act(new.id, Act.ABORT)
        draft.plan(None)
        return draft.planned(version)
    if new.state is not State.DISTRIBUTING:  # otherwise it has signed, and does not yet again
        if new.state is not State.ACTIVE or old.state is not State.RETIRING:
            raise Refused("too_late", _too_late(old))
        draft.act(new.id, Act.STEP_BACK)
        draft.act(old.id, Act.RESTORE)
    draft.plan(replace(_turned(plan), paused=False, compromised=False, tainted_at=None))
    return draft.planned()


def with_plan(lifecycle: Lifecycle, plan: Plan, cause: Cause, act: Act = Act.PLAN) -> Planned:
    """Begin a rotation, or change how the one of the same two roots goes on, also in the other direction.

    Raises:
        NotFound: reason `authority`.
        Refused: reason `rotation_under_way`.
    """
    before = lifecycle.plan
    if before is not None and {before.old, before.new} != {plan.old, plan.new}:
        raise Refused("rotation_under_way", _OTHER)
    draft = Draft(lifecycle, cause)
    draft.record(plan.old)
    draft.record(plan.new)
    if plan != before:
        draft.plan(plan, act)
    return draft.planned()


def pause(lifecycle: Lifecycle, cause: Cause) -> Planned:
    """Take no step by itself.

    Raises:
        Refused: reason `no_rotation`.
    """
    return with_plan(lifecycle, replace(under_way(lifecycle), paused=True), cause, Act.PAUSE)


def resume(lifecycle: Lifecycle, cause: Cause) -> Planned:
    """Take steps by itself again.

    Raises:
        Refused: reason `no_rotation`.
    """
    return with_plan(lifecycle, replace(under_way(lifecycle), paused=False), cause, Act.RESUME)


def _root(line: Line, at: datetime) -> Record:
    pem = to_pem(line.root)
    return Record(id=certificate_id(line.root), kind=Kind.ROOT, state=State.PREPARED, pem=pem, since=at)


def _plan_of(lifecycle: Lifecycle, root: str, cause: Cause, window: timedelta) -> Plan:
    """The plan of a taint that was asked for alone: another root has to sign already."""
    active = lifecycle.active_root
    if active is None:
        raise Refused("no_active_root", "no root signs now, so no leaf can be replaced; activate another first")
    return Plan(
        old=root,
        new=active.id,
        automatic=True,
        window=window,
        started_at=cause.at,
        by=cause.by,
        reason=cause.reason,
    )


def _turned(plan: Plan) -> Plan:
    return replace(plan, old=plan.new, new=plan.old)


def under_way(lifecycle: Lifecycle) -> Plan:
    """The rotation that is under way.

    Raises:
        Refused: reason `no_rotation`.
    """
    if lifecycle.plan is None:
        raise Refused("no_rotation", "no root is being rotated; begin with meshca root rotate")
    return lifecycle.plan


def _has_signed(lifecycle: Lifecycle, root: str) -> bool:
    """Whether an intermediate was ever made below a root, so that leaves may be."""
    return any(one.parent == root for one in lifecycle.records)


def _too_late(old: Record) -> str:
    if old.state is State.TAINTED:
        return (
            "the old root is tainted, nothing may be signed below it again; let the rotation end, then rotate anew"
        )
    if old.state is State.RETIRED:
        return "the old root is not trusted any more; rotate to a new one instead"
    return "the rotation is aborted already; what is left of it ends as soon as no certificate below it is in use"
