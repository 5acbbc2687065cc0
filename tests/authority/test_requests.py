"""What waits for a second person."""

from __future__ import annotations

from dataclasses import replace

import pytest

from meshca.authority.history import Lifecycle, Request
from meshca.authority.requests import MAX_OF_ONE, MAX_REQUESTS, add_request, expire_requests, take_request
from meshca.errors import Conflict, NotFound, Refused
from tests.fakes.pki import NOW
from tests.fakes.roots import HOUR, rotating

REQUEST = Request(
    id="r1", act="RetireRoot", body=b"x", says="drops it", by="anna", reason="old", at=NOW, until=NOW + HOUR
)
LIFE = rotating()
WAITING = add_request(LIFE, REQUEST)


def test_a_request_waits() -> None:
    """In a generation of its own."""
    assert (WAITING.generation, WAITING.requests) == (LIFE.generation + 1, (REQUEST,))


def test_a_second_person_takes_it() -> None:
    """Then it waits no more."""
    life, taken = take_request(WAITING, "r1", "bert", NOW)
    assert (life.generation, life.requests, taken) == (WAITING.generation + 1, (), REQUEST)


def test_whoever_asks_cannot_approve() -> None:
    """That would be one person."""
    with pytest.raises(Refused) as caught:
        take_request(WAITING, "r1", "anna", NOW)
    assert caught.value.reason == "same_person"


def test_it_is_not_taken_twice() -> None:
    """It is not there any more."""
    life, _ = take_request(WAITING, "r1", "bert", NOW)
    with pytest.raises(NotFound) as caught:
        take_request(life, "r1", "bert", NOW)
    assert caught.value.reason == "request"


def test_its_time_ends() -> None:
    """At the instant it ends, it is over."""
    with pytest.raises(NotFound) as caught:
        take_request(WAITING, "r1", "bert", NOW + HOUR)
    assert caught.value.reason == "request"


def test_an_id_is_used_once() -> None:
    """While it waits."""
    with pytest.raises(Conflict) as caught:
        add_request(WAITING, REQUEST)
    assert caught.value.reason == "request_id"


def full(*, urgent: bool = False) -> Lifecycle:
    """Every place is taken, by as few people as can."""
    life = LIFE
    for number in range(MAX_REQUESTS):
        by = f"person {number // MAX_OF_ONE}"
        life = add_request(life, replace(REQUEST, id=str(number), by=by, urgent=urgent))
    return life


def of_one(*, urgent: bool = False) -> Lifecycle:
    """Every place of anna's is taken."""
    life = LIFE
    for number in range(MAX_OF_ONE):
        life = add_request(life, replace(REQUEST, id=str(number), urgent=urgent))
    return life


@pytest.mark.parametrize(
    ("life", "urgent"),
    [(full(), False), (of_one(), False), (full(urgent=True), True), (of_one(urgent=True), True)],
    ids=["of-all", "of-one", "urgent-of-all", "urgent-of-one"],
)
def test_there_is_room_for_so_many(life: Lifecycle, *, urgent: bool) -> None:
    """Nobody fills the store with wishes; the refusal says how a place is made."""
    with pytest.raises(Refused, match="take one back by meshca withdraw") as caught:
        add_request(life, replace(REQUEST, urgent=urgent))
    assert caught.value.reason == "too_many_requests"


def test_one_person_leaves_room_for_others() -> None:
    """Whoever fills their own places fills nobody else's."""
    assert len(add_request(of_one(), replace(REQUEST, by="bert")).requests) == MAX_OF_ONE + 1


@pytest.mark.parametrize("life", [full(), of_one()], ids=["of-all", "of-one"])
def test_what_is_urgent_takes_the_place_of_the_oldest_that_is_not(life: Lifecycle) -> None:
    """The replacement of a stolen root can always be asked for."""
    urgent = replace(REQUEST, urgent=True)
    assert add_request(life, urgent).requests == (*life.requests[1:], urgent)


def test_what_is_urgent_takes_no_place_that_is_urgent() -> None:
    """The oldest that is not goes, also when it is younger."""
    first = replace(REQUEST, id="0", urgent=True)
    life = add_request(LIFE, first)
    for number in range(1, MAX_OF_ONE):
        life = add_request(life, replace(REQUEST, id=str(number)))
    kept = add_request(life, replace(REQUEST, urgent=True)).requests
    assert [one.id for one in kept] == ["0", *map(str, range(2, MAX_OF_ONE)), "r1"]


def test_those_whose_time_is_over_make_room() -> None:
    """They are not counted, and their ids are free."""
    later = replace(REQUEST, at=NOW + HOUR, until=NOW + 2 * HOUR)
    assert add_request(WAITING, later).requests == (later,)


def test_those_whose_time_is_over_go() -> None:
    """In a generation of its own."""
    life = expire_requests(WAITING, NOW + HOUR)
    assert (life.generation, life.requests) == (WAITING.generation + 1, ())


def test_nothing_changes_while_their_time_lasts() -> None:
    """The same lifecycle."""
    assert expire_requests(WAITING, NOW) is WAITING
