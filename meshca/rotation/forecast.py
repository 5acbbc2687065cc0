"""What a rotation would do if it were begun now: its steps with the times to expect, and who would break.

Pure. It is an estimate from what is known now; what is done is decided by gates alone, when the time has come.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from meshca.authority.fleet import Workload
from meshca.authority.gate import MOST_NAMED, Straggler, Terms
from meshca.authority.straggling import holds, lacks, next_leaf, short, when
from meshca.duration import format_duration
from meshca.rotation.report import Forecast
from meshca.rotation.steps import distributed_for, trusted_for


def planned(fleet: Sequence[Workload], old: str, terms: Terms, now: datetime) -> Forecast:
    """A planned rotation: every step waits until it is safe, so nobody breaks; who holds it up is named.

    Args:
        fleet: everybody who counts.
        old: the id of the root that signs now.
        terms: of the gates.
        now: the time.
    """
    waited = [Straggler(workload=one, why=lacks(one, "", terms.settle, now)) for one in fleet if _deaf(one)]
    active_at = max([now + terms.published_for, *(_has_it(one, terms, now) for one in fleet)])
    done_at = max([active_at, *(_replaced(one, old, terms, active_at) for one in fleet)])
    held = f"; {len(waited)} do not answer now and hold this up" if waited else ""
    return _forecast(
        [
            f"make a new root and have every workload trust it, at once; {short(old)} goes on to sign",
            f"sign below the new root when {_asked(terms)}, not before {when(active_at)}{held}",
            f"replace every certificate below {short(old)} as it is renewed, until about {when(done_at)}",
            f"stop trusting {short(old)} and delete its key once none below it is in use",
        ],
        waited,
    )


def compromised(fleet: Sequence[Workload], old: str, window: timedelta, now: datetime) -> Forecast:
    """A rotation away from a stolen key: nothing is waited for longer than the window; who loses trust is named.

    Args:
        fleet: everybody who counts.
        old: the id of the root that signs now.
        window: within which every leaf is replaced.
        now: the time.
    """
    over_at = now + distributed_for(window) + trusted_for(window)
    losers = [Straggler(workload=one, why=holds(one, old, now)) for one in fleet if _too_slow(one, old, over_at)]
    within = f"within {format_duration(window)}, evenly spread" if window else "at once"
    return _forecast(
        [
            "make a new root and have every workload trust it, at once",
            "sign below the new root, without waiting for anybody but those that are connected",
            f"replace every certificate below {short(old)} {within}",
            f"stop trusting {short(old)} at {when(over_at)} at the latest; {len(losers)} would lose trust",
        ],
        losers,
    )


def _asked(terms: Terms) -> str:
    return f"{terms.share * 100:g} % of those that acknowledge trust it and all others have had it long enough"


def _deaf(workload: Workload) -> bool:
    """Whether it would not answer if it were told something now."""
    return workload.acknowledges and (not workload.connected or bool(workload.trouble))


def _has_it(workload: Workload, terms: Terms, now: datetime) -> datetime:
    """When it has a root that is given out now, if it is well."""
    if workload.acknowledges:
        return now
    return max(next_leaf(workload) or now, now) + terms.settle


def _replaced(workload: Workload, old: str, terms: Terms, active_at: datetime) -> datetime:
    """When its leaf below the old root is in use no more; what was issued until then lives as long again."""
    ends = workload.ends_below(old)
    due = next_leaf(workload)
    if ends is None or due is None:
        return active_at
    half = due - workload.seen_at
    return max(due, active_at + half) + terms.settle


def _too_slow(workload: Workload, old: str, over_at: datetime) -> bool:
    """Whether it holds a leaf below the old root and nothing reaches it within the window."""
    if old not in workload.signers:
        return False
    if workload.acknowledges:
        return _deaf(workload)
    due = next_leaf(workload)
    return due is None or due > over_at


def _forecast(steps: Sequence[str], losers: list[Straggler]) -> Forecast:
    losers.sort(key=lambda one: one.workload.seen_at, reverse=True)
    return Forecast(
        steps=tuple(steps), losers=tuple(losers[:MOST_NAMED]), unnamed=max(0, len(losers) - MOST_NAMED)
    )
