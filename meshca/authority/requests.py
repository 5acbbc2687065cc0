"""Dangerous acts that wait for a second person: added, taken once, forgotten in time.

Pure. Nobody approves what they asked for themselves, nothing is approved twice, and nothing after its time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import Final

from meshca.authority.history import Lifecycle, Request
from meshca.errors import Conflict, NotFound, Refused

MAX_REQUESTS: Final = 32  # that wait at once
MAX_OF_ONE: Final = 8  # of one person


def add_request(lifecycle: Lifecycle, request: Request) -> Lifecycle:
    """Have an act wait for a second person; those whose time is over go.

    Nobody can keep others, or the replacement of a stolen root, from being asked for: each person has a few
    places, and what is urgent takes that of the oldest that is not.

    Raises:
        Conflict: reason `request_id`: one of this id waits already.
        Refused: reason `too_many_requests`.
    """
    waiting = _waiting(lifecycle, request.at)
    if any(one.id == request.id for one in waiting):
        raise Conflict("request_id", "a request of this id waits already; ask again for another id")
    waiting = _with_room([one for one in waiting if one.by == request.by], waiting, MAX_OF_ONE, request)
    waiting = _with_room(waiting, waiting, MAX_REQUESTS, request)
    return _with(lifecycle, (*waiting, request))


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


def take_request(lifecycle: Lifecycle, id_: str, by: str, now: datetime) -> tuple[Lifecycle, Request]:
    """Take what a second person approves, so that it is done once.

    Raises:
        NotFound: reason `request`: there is none, or its time is over.
        Refused: reason `same_person`.
    """
    waiting = _waiting(lifecycle, now)
    found = next((one for one in waiting if one.id == id_), None)
    if found is None:
        raise NotFound("request", "no such request waits; it was approved already, or its time is over: ask again")
    if found.by == by:
        raise Refused("same_person", "whoever asks cannot approve; another identity has to")
    return _with(lifecycle, tuple(one for one in waiting if one.id != id_)), found


def expire_requests(lifecycle: Lifecycle, now: datetime) -> Lifecycle:
    """Without the requests whose time is over; the same when there are none."""
    waiting = _waiting(lifecycle, now)
    return lifecycle if waiting == lifecycle.requests else _with(lifecycle, waiting)


def _waiting(lifecycle: Lifecycle, now: datetime) -> tuple[Request, ...]:
    return tuple(one for one in lifecycle.requests if now < one.until)


def _with(lifecycle: Lifecycle, requests: tuple[Request, ...]) -> Lifecycle:
    return replace(lifecycle, generation=lifecycle.generation + 1, requests=requests)
