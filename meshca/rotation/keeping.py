"""Keeps what was planned: on top of what is stored, also when requests have come and gone there since.

Whoever asks for acts and takes that back without end must never keep another from acting. When the roots
themselves are others since, whoever planned is told, and nothing of it is kept.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from meshca import metrics
from meshca.authority.drafting import Planned
from meshca.authority.gate import LEFT_BEHIND
from meshca.authority.history import Change, Lifecycle, LifecycleStore
from meshca.authority.requests import beside_requests
from meshca.backoff import JITTER
from meshca.clock import Clock
from meshca.errors import Conflict
from meshca.log import log

_PAUSE_SECONDS: Final = 0.01  # between two tries at most; a commit takes some milliseconds
_TRIES: Final = 64  # each that fails is a request of another's that was kept


async def keep(
    store: LifecycleStore,
    clock: Clock,
    before: Lifecycle,
    made: Planned,
    still: Callable[[Lifecycle], None] = lambda _: None,
) -> Lifecycle:
    """The state with what was planned, kept if it is another; what was done is logged and counted then.

    Args:
        store: has the newest state.
        clock: between two tries.
        before: from which it was planned.
        made: what was planned.
        still: refuses it, by raising, on a state in which requests have come since.

    Raises:
        Conflict: reason `generation`: the roots were changed since; nothing of it is kept.
        Unavailable: as the store.
        MeshcaError: as `still`.
    """
    now: Planned | None = made
    for tried in range(_TRIES):
        if now is None:
            break
        after, changes = now
        if after == before:
            return before
        try:
            await store.commit(after, changes)
        except Conflict:
            await _out_of_step(clock, tried)
            stored = await store.load()
            still(stored)
            now = beside_requests(before, made, stored)
        else:
            _tell(changes)
            return after
    raise _overtaken()


async def keep_anew(store: LifecycleStore, clock: Clock, plan: Callable[[Lifecycle], Planned]) -> Lifecycle:
    """As `keep`, of what is planned anew on whatever is stored by then, as what becomes of requests is.

    Args:
        store: has the newest state.
        clock: between two tries.
        plan: what to keep, from what is stored; raises when that cannot be.

    Raises:
        Conflict: reason `generation`: others commit all the time.
        Unavailable: as the store.
        MeshcaError: as the plan.
    """
    for tried in range(_TRIES):
        before = await store.load()
        after, changes = plan(before)
        if after == before:
            return before
        try:
            await store.commit(after, changes)
        except Conflict:
            await _out_of_step(clock, tried)
            continue
        _tell(changes)
        return after
    raise _overtaken()


async def _out_of_step(clock: Clock, tried: int) -> None:
    """Lose not every race to somebody who commits at the same pace; the first time it was chance."""
    if tried:
        await clock.sleep(JITTER.uniform(0, _PAUSE_SECONDS))


def _overtaken() -> Conflict:
    problem = "somebody else, or a step that was due, changed the roots at the same time, so nothing was done"
    return Conflict("generation", f"{problem}; look at meshca root status, and ask again if it is still wanted")


def _tell(changes: tuple[Change, ...]) -> None:
    for change in changes:
        if change.before is not change.after:
            metrics.transitions.labels(change.kind, change.after).inc()
        tell = log.warning if LEFT_BEHIND in change.guard else log.info
        tell(
            "authority.changed",
            authority=change.authority,
            kind=change.kind,
            act=change.act or "made",
            before=change.before or "",
            after=change.after,
            by=change.by,
            reason=change.reason,
            forced=change.forced,
            guard=change.guard,
        )
