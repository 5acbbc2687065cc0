"""Dangerous acts that wait for a second person: added, taken once, forgotten in time.

Pure. Nobody approves what they asked for themselves, nothing is approved twice, and nothing after its time.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import Final

from meshca.authority.history import Lifecycle, Request
from meshca.errors import Conflict, NotFound, Refused

MAX_REQUESTS: Final = 32  # that wait at once


def add_request(lifecycle: Lifecycle, request: Request) -> Lifecycle:
    """Have an act wait for a second person; those whose time is over go.

    Raises:
        Conflict: reason `request_id`: one of this id waits already.
        Refused: reason `too_many_requests`.
    """
    waiting = _waiting(lifecycle, request.at)
    if any(one.id == request.id for one in waiting):
        raise Conflict("request_id", "a request of this id waits already; ask again for another id")
    if len(waiting) >= MAX_REQUESTS:
        raise Refused(
            "too_many_requests", f"{MAX_REQUESTS} requests wait for a second person; approve one, or let one end"
        )
    return _with(lifecycle, (*waiting, request))


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
