"""What an act on roots would do from where they stand: its steps, who would hold them up, and who would break.

Pure. It is an estimate from what is known now; what is done is decided by gates alone, when the time has come.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from meshca.authority.fleet import Workload
from meshca.authority.gate import MOST_NAMED, Gate, Straggler, Terms
from meshca.authority.history import Lifecycle, Record
from meshca.authority.lifecycle import Act, State
from meshca.authority.planning import under_way
from meshca.authority.straggling import holds, lacks, named, next_leaf, short, when
from meshca.duration import format_duration
from meshca.rotation.report import Forecast, ForecastStep
from meshca.rotation.steps import distributed_for, trusted_for

NAMED: Final = 10  # stragglers in a refusal; `meshca root status` has all


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """From where a rotation goes on.

    Attributes:
        old: the id of the root that shall go.
        new: the root that follows; None while it is to be made.
        gate: what is found of the next step; None when that is to make a root, or has no gate.
        tainted_at: when the window began in which leaves below the old root are replaced; None before.
        twins: ids of other roots that go with the old one, because they have its key.
    """

    old: str
    new: Record | None = None
    gate: Gate | None = None
    tainted_at: datetime | None = None
    twins: tuple[str, ...] = ()

    @property
    def distributed(self) -> bool:
        """Whether the new root is given out."""
        return self.new is not None and self.new.state is not State.PREPARED

    @property
    def signs(self) -> bool:
        """Whether the new root signs."""
        return self.new is not None and self.new.state is State.ACTIVE

    @property
    def named(self) -> str:
        """The root that follows in words."""
        if self.new is None:
            return "the new root"
        return short(self.new.id) if self.signs else f"the new root {short(self.new.id)}"


def planned(fleet: Sequence[Workload], stage: Stage, terms: Terms, now: datetime) -> Forecast:
    """A planned rotation: every step waits until it is safe, so nobody breaks; who holds it up is named.

    Args:
        fleet: everybody who counts.
        stage: where it stands.
        terms: of the gates.
        now: the time.
    """
    old, steps, active_at = short(stage.old), list(_distribution(stage)), now
    if not stage.signs:
        active_at = max([_published_at(stage, terms, now), *(_has_it(one, stage, terms, now) for one in fleet)])
        says = f"sign below {stage.named} when {_asked(terms)}, not before {when(active_at)}"
        waited = [Straggler(workload=one, why=lacks(one, "", terms.settle, now)) for one in fleet if _waits(one)]
        steps.append(_held(says, stage.gate if stage.distributed else None, waited))
    done_at = max([active_at, *(_replaced(one, stage, terms, active_at) for one in fleet)])
    steps.append(_step(f"replace every certificate below {old} as it is renewed, until about {when(done_at)}"))
    stuck = [Straggler(workload=one, why=holds(one, stage.old)) for one in fleet if _stuck(one, stage.old, now)]
    says = f"stop trusting {old} and delete its key once none below it is in use"
    steps.append(_held(says, stage.gate if stage.signs else None, stuck))
    return Forecast(steps=tuple(steps))


def compromised(fleet: Sequence[Workload], stage: Stage, window: timedelta, now: datetime) -> Forecast:
    """A rotation away from a stolen key: nothing is waited for longer than the window; who loses trust is named.

    Args:
        fleet: everybody who counts.
        stage: where it stands.
        window: within which every leaf is replaced.
        now: the time.
    """
    gone, steps = (stage.old, *stage.twins), list(_distribution(stage))
    old, begins_at = " and ".join(map(short, gone)), now
    if not stage.signs:
        begins_at = max(now, _given_out_at(stage, now) + distributed_for(window))
        says = f"sign below {stage.named}, without waiting for anybody but those that are connected"
        steps.append(_held(f"{says}, at {when(begins_at)} at the latest", stage.gate, []))
    over_at = (stage.tainted_at or begins_at) + trusted_for(window)
    slow = [(one, root) for one in fleet if (root := _too_slow(one, gone, over_at))]
    losers = [Straggler(workload=one, why=holds(one, root)) for one, root in slow]
    within = f"within {format_duration(window)}, evenly spread" if window else "at once"
    since = f", since {when(stage.tainted_at)}" if stage.tainted_at is not None else ""
    steps.append(_step(f"replace every certificate below {old} {within}{since}"))
    says = f"stop trusting {old}, taken as stolen, while {stage.named} signs, at {when(over_at)} at the latest"
    steps.append(_step(f"{says}; {len(losers)} would lose trust"))
    shown, unnamed = _named(losers)
    return Forecast(steps=tuple(steps), losers=shown, unnamed=unnamed)


def single(act: Act, record: Record, gate: Gate, *, force: bool) -> Forecast:
    """One act on a root: who would break if it is forced, or who would have it refused."""
    says = f"{_WORDS[act]} {short(record.id)}"
    if gate.open:
        return Forecast(steps=(_step(f"{says}: safe now, {gate.why}"),))
    if not force:
        held = _held(f"{says}: refused while its gate is closed", gate, [])
        return Forecast(steps=(held,), closed=closed(act, record, gate))
    step = _step(f"{says} although its gate is closed: {gate.why}")
    return Forecast(steps=(step,), losers=gate.stragglers, unnamed=gate.unnamed)


def closed(act: Act, record: Record, gate: Gate) -> str:
    """Why an act is refused while its gate is closed, and who would break."""
    names = [f"{named(one.workload)}: {one.why}" for one in gate.stragglers]
    more = len(names) - NAMED + gate.unnamed
    shown = "; ".join(names[:NAMED]) + (f"; and {more} more" if more > 0 else "")
    return f"{act.value} of root {record.id[:16]} is not safe now: {gate.why}" + (f". {shown}" if shown else "")


def held_up(kept: Lifecycle, after: Lifecycle) -> ForecastStep:
    """What it does to pause or abort a rotation: which root stays trusted, and which one signs.

    Args:
        kept: everything before.
        after: everything after.
    """
    before, plan = under_way(kept), after.plan
    signs = after.active_root
    stays = f"root {short(before.old)} stays trusted"
    if before.compromised:
        stays += ", although its key is stolen"
    signing = f"{short(signs.id)} signs" if signs is not None else "nothing signs"
    if plan is None:
        return _step(f"give up root {short(before.new)}, which never signed: {signing}, and {stays}")
    if plan.paused:
        return _step(f"take no step by itself until it is resumed: {signing}, and {stays}")
    return _step(f"go back: {signing}, and {stays}; {short(plan.old)} goes once none below it is in use")


_WORDS = {
    Act.ACTIVATE: "sign below",
    Act.RETIRE: "stop trusting, and delete the key of,",
    Act.ABORT: "give up, before anybody trusts it,",
}


def _distribution(stage: Stage) -> Sequence[ForecastStep]:
    if stage.distributed:
        return ()
    what = "make a new root" if stage.new is None else f"give out {stage.named}"
    return (_step(f"{what} and have every workload trust it, at once; {short(stage.old)} goes on to sign"),)


def _held(says: str, gate: Gate | None, estimate: list[Straggler]) -> ForecastStep:
    """A step with who would hold it up: as its gate finds now, or else as it is to be expected."""
    if gate is None:
        holders, unnamed = _named(estimate)
    elif gate.open:
        return _step(f"{says}; its gate is open now")
    else:
        says, holders, unnamed = f"{says}; now {gate.why}", gate.stragglers, gate.unnamed
    return ForecastStep(says=says, holders=holders, unnamed=unnamed)


def _step(says: str) -> ForecastStep:
    return ForecastStep(says=says)


def _asked(terms: Terms) -> str:
    return f"{terms.share * 100:g} % of those that acknowledge trust it and all others have had it long enough"


def _deaf(workload: Workload) -> bool:
    """Whether it would not answer if it were told something now."""
    return workload.acknowledges and (not workload.connected or bool(workload.trouble))


def _waits(workload: Workload) -> bool:
    """Whether it would not trust a root at once that is given out now."""
    return _deaf(workload) or not workload.acknowledges


def _stuck(workload: Workload, old: str, now: datetime) -> bool:
    """Whether its leaf below the old root is not replaced by itself as far as is known."""
    due = next_leaf(workload)
    return old in workload.signers and (_deaf(workload) or due is None or due <= now)


def _given_out_at(stage: Stage, now: datetime) -> datetime:
    """When the new root was given out, or would be."""
    since = stage.new.trusted_since if stage.new is not None else None
    return now if since is None else since


def _published_at(stage: Stage, terms: Terms, now: datetime) -> datetime:
    """When the new root has been published long enough, if everywhere at once."""
    return max(now, _given_out_at(stage, now) + terms.published_for)


def _has_it(workload: Workload, stage: Stage, terms: Terms, now: datetime) -> datetime:
    """When it counts as trusting the new root, if it is well."""
    if workload.acknowledges:
        return now
    if stage.new is not None and stage.new.id in workload.trusts and workload.given_at is not None:
        return max(now, workload.given_at + terms.settle)
    return max(next_leaf(workload) or now, now) + terms.settle


def _replaced(workload: Workload, stage: Stage, terms: Terms, active_at: datetime) -> datetime:
    """When its leaf below the old root is in use no more; what is issued until then lives as long again."""
    ends = workload.ends_below(stage.old)
    due = next_leaf(workload)
    if ends is None or due is None:
        return active_at
    half = timedelta(0) if stage.signs else due - workload.seen_at
    if workload.acknowledges:
        return max(due, active_at + half) + terms.settle
    return max(ends, active_at + 2 * half)  # nothing says when it has another, so it counts until it ends


def _too_slow(workload: Workload, gone: Sequence[str], over_at: datetime) -> str:
    """Below which root that goes it holds a leaf, when nothing reaches it within the window; empty for none."""
    held = next((root for root in gone if root in workload.signers), "")
    if workload.acknowledges:
        return held if _deaf(workload) else ""
    due = next_leaf(workload)
    return held if due is None or due > over_at else ""


def _named(found: list[Straggler]) -> tuple[tuple[Straggler, ...], int]:
    """Those that are named, the one seen last first, and how many more there are."""
    found.sort(key=lambda one: one.workload.seen_at, reverse=True)
    return tuple(found[:MOST_NAMED]), max(0, len(found) - MOST_NAMED)
