"""Dangerous acts that wait for a second person: added, taken once, ended, forgotten in time.

Pure. Nothing is approved twice, and nothing after its time. Whatever becomes of one is a `Change` like any other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import Final

from meshca.authority.drafting import OURSELVES, Cause, Planned
from meshca.authority.history import Change, Kind, Lifecycle, Request
from meshca.authority.lifecycle import Act, State
from meshca.errors import Conflict, NotFound, Refused

MAX_REQUESTS: Final = 32  # that wait at once
MAX_OF_ONE: Final = 8  # of one person


def add_request(lifecycle: Lifecycle, request: Request) -> Planned:
    """Have an act wait for a second person; those whose time is over go. Whoever asks twice wants it once.

    Nobody can keep others, or the replacement of a stolen root, from being asked for: each person has a few
    places, and what is urgent takes that of the oldest that is not.

    Raises:
        Conflict: reason `request_id`: one of this id waits already.
        Refused: reason `too_many_requests`.
    """
    waiting = _waiting(lifecycle, request.at)
    if any(one.id == request.id for one in waiting):
        raise Conflict("request_id", "a request of this id waits already; ask again for another id")
    if same_request(lifecycle, request) is not None:
        return lifecycle, ()
    room = _with_room([one for one in waiting if one.by == request.by], waiting, MAX_OF_ONE, request)
    room = _with_room(room, room, MAX_REQUESTS, request)
    asked = Cause(by=request.by, reason=request.reason, at=request.at)
    made_way = Cause(by=OURSELVES, reason=f"gave its place to the urgent request {request.id}", at=request.at)
    changes = [
        *_lapsed(lifecycle, request.at),
        *(_noted(lifecycle, one, Act.LAPSE, made_way) for one in waiting if one not in room),
        _noted(lifecycle, request, Act.ASK, asked),
    ]
    return _with(lifecycle, (*room, request)), tuple(changes)


def _with_room(
    rivals: Sequence[Request], waiting: tuple[Request, ...], most: int, request: Request
) -> tuple[Request, ...]:
    """What waits, with a place among its rivals for one more.

    Raises:
        Refused: reason `too_many_requests`.
    """
    if len(rivals) < most:
        return waiting
    planned = [one for one in rivals if not one.urgent]
    if not request.urgent or not planned:
        whose = f"{most} requests of {request.by}" if most == MAX_OF_ONE else f"{most} requests"
        problem = (
            f"{whose} wait for a second person; approve one, take one back by meshca withdraw, or let one end"
        )
        raise Refused("too_many_requests", problem)
    return tuple(one for one in waiting if one is not planned[0])


def same_request(lifecycle: Lifecycle, request: Request) -> Request | None:
    """One that waits, by the same person and for the same; None when there is none."""
    for one in _waiting(lifecycle, request.at):
        if (one.act, one.body, one.by) == (request.act, request.body, request.by):
            return one
    return None


def waiting_request(lifecycle: Lifecycle, id_: str, now: datetime) -> Request:
    """One that can still be approved.

    Raises:
        NotFound: reason `request`: there is none, or its time is over.
    """
    for one in _waiting(lifecycle, now):
        if one.id == id_:
            return one
    raise NotFound("request", f"no request {id_!r} waits; it may be done or its time over: `meshca requests`")


def end_request(lifecycle: Lifecycle, id_: str, act: Act, cause: Cause) -> Planned:
    """Have a request wait no more although nothing is done by it.

    Args:
        lifecycle: everything.
        id_: of one that waits.
        act: `WITHDRAW`, `DENY` or `LAPSE`.
        cause: whose will that is.

    Raises:
        NotFound: reason `request`: as `waiting_request`.
    """
    request = waiting_request(lifecycle, id_, cause.at)
    left = tuple(one for one in lifecycle.requests if one != request)
    return _with(lifecycle, left), (_noted(lifecycle, request, act, cause),)


def expire_requests(lifecycle: Lifecycle, now: datetime) -> Planned:
    """Without the requests whose time is over; the same when there are none."""
    waiting = _waiting(lifecycle, now)
    if waiting == lifecycle.requests:
        return lifecycle, ()
    return _with(lifecycle, waiting), _lapsed(lifecycle, now)


def beside_requests(before: Lifecycle, made: Planned, now: Lifecycle) -> Planned | None:
    """What was planned of the roots, on a state in which only requests are others since; None when that cannot be.

    So nobody who asks and takes back without end keeps others from acting. What was judged of the roots still
    holds, as nothing but the requests differs; a request that the plan takes must still wait.

    Args:
        before: from which it was planned.
        made: what was planned; no request is new in it.
        now: what is stored by now.
    """
    if replace(now, generation=before.generation, requests=before.requests) != before:
        return None
    after, changes = made
    gone = [one for one in before.requests if one not in after.requests]
    if any(one not in now.requests for one in gone):
        return None
    generation = now.generation + 1
    requests = tuple(one for one in now.requests if one not in gone)
    moved = tuple(replace(one, generation=generation) for one in changes)
    return replace(after, generation=generation, requests=requests), moved


def _waiting(lifecycle: Lifecycle, now: datetime) -> tuple[Request, ...]:
    return tuple(one for one in lifecycle.requests if now < one.until)


def _lapsed(lifecycle: Lifecycle, now: datetime) -> tuple[Change, ...]:
    cause = Cause(by=OURSELVES, reason="nobody approved it in its time", at=now)
    over = (one for one in lifecycle.requests if now >= one.until)
    return tuple(_noted(lifecycle, one, Act.LAPSE, cause) for one in over)


def _noted(lifecycle: Lifecycle, request: Request, act: Act, cause: Cause) -> Change:
    """What became of a request; the root that it is about stays as it is."""
    root = lifecycle.find(request.root) if request.root else lifecycle.active_root  # of before roots were named
    state = State.RETIRED if root is None else root.state
    return Change(
        generation=lifecycle.generation + 1,
        authority=request.root if root is None else root.id,
        kind=Kind.ROOT,
        act=act,
        before=state,
        after=state,
        guard=f"request {request.id} of {request.by}: {request.says}",
        by=cause.by,
        reason=cause.reason,
        at=cause.at,
    )


def _with(lifecycle: Lifecycle, requests: tuple[Request, ...]) -> Lifecycle:
    return replace(lifecycle, generation=lifecycle.generation + 1, requests=requests)
