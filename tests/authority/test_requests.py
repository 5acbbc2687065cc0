"""What waits for a second person."""

from __future__ import annotations

from dataclasses import replace

import pytest

from meshca.authority import planning
from meshca.authority.drafting import Cause
from meshca.authority.history import Lifecycle, Plan, Request
from meshca.authority.lifecycle import Act, State
from meshca.authority.requests import (
    MAX_OF_ONE,
    MAX_REQUESTS,
    add_request,
    beside_requests,
    end_request,
    expire_requests,
    same_request,
    waiting_request,
)
from meshca.errors import Conflict, NotFound, Refused
from tests.fakes.pki import NOW
from tests.fakes.roots import HOUR, NEW, OLD, rotating

PLAN = Plan(old=OLD, new=NEW, automatic=True, window=HOUR, started_at=NOW, by="anna")
LIFE = replace(rotating(), plan=PLAN)
ROOT = LIFE.records[0]
REQUEST = Request(
    id="r1",
    act="RetireRoot",
    body=b"x",
    says="drops it",
    by="anna",
    reason="old",
    at=NOW,
    until=NOW + HOUR,
    root=ROOT.id,
)


def asked(life: Lifecycle, request: Request) -> Lifecycle:
    """A state in which it waits as well."""
    return add_request(life, request)[0]


WAITING = asked(LIFE, REQUEST)


def test_a_request_waits() -> None:
    """In a generation of its own."""
    assert (WAITING.generation, WAITING.requests) == (LIFE.generation + 1, (REQUEST,))


def test_it_is_noted_that_it_waits() -> None:
    """With who, what and why; the root that it is about stays as it is."""
    [change] = add_request(LIFE, REQUEST)[1]
    assert (change.act, change.by, change.reason, change.at) == (Act.ASK, "anna", "old", NOW)
    assert (change.authority, change.before, change.after) == (ROOT.id, ROOT.state, ROOT.state)
    assert change.guard == "request r1 of anna: drops it"
    assert change.generation == WAITING.generation


def test_a_root_that_is_not_known_any_more_is_noted_as_retired() -> None:
    """A request can outlive what is kept of it."""
    gone = replace(REQUEST, root="ff" * 32)
    [change] = add_request(LIFE, gone)[1]
    assert (change.authority, change.after) == (gone.root, State.RETIRED)


@pytest.mark.parametrize("act", [Act.WITHDRAW, Act.DENY])
def test_it_ends(act: Act) -> None:
    """It waits no more, and who would have it so is noted."""
    life, [change] = end_request(WAITING, "r1", act, Cause(by="bert", reason="no", at=NOW))
    assert (life.generation, life.requests) == (WAITING.generation + 1, ())
    assert (change.act, change.by, change.reason, change.authority) == (act, "bert", "no", ROOT.id)


def test_what_ended_does_not_end_again() -> None:
    """Whoever comes second is told."""
    with pytest.raises(NotFound) as caught:
        end_request(LIFE, "r1", Act.DENY, Cause(by="bert", at=NOW))
    assert caught.value.reason == "request"


def test_whoever_asks_twice_wants_it_once() -> None:
    """For another act, by another or after its time it is another wish."""
    again = replace(REQUEST, id="r2")
    assert add_request(WAITING, again) == (WAITING, ())
    assert same_request(WAITING, again) == REQUEST
    later = replace(again, at=NOW + HOUR, until=NOW + 2 * HOUR)
    for other in (replace(again, act="x"), replace(again, body=b"y"), replace(again, by="bert"), later):
        assert same_request(WAITING, other) is None


def test_a_request_of_before_roots_were_named_is_about_the_one_that_signs() -> None:
    """A store of an older version may have one."""
    [change] = add_request(LIFE, replace(REQUEST, root=""))[1]
    assert (change.authority, change.after) == (ROOT.id, ROOT.state)


def test_one_that_waits_is_found() -> None:
    """Until its time ends: at that instant it is over."""
    assert waiting_request(WAITING, "r1", NOW) == REQUEST
    for id_, now in (("r2", NOW), ("r1", NOW + HOUR)):
        with pytest.raises(NotFound) as caught:
            waiting_request(WAITING, id_, now)
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
        life = asked(life, replace(REQUEST, id=str(number), body=b"%d" % number, by=by, urgent=urgent))
    return life


def of_one(*, urgent: bool = False) -> Lifecycle:
    """Every place of anna's is taken."""
    life = LIFE
    for number in range(MAX_OF_ONE):
        life = asked(life, replace(REQUEST, id=str(number), body=b"%d" % number, urgent=urgent))
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
    assert len(asked(of_one(), replace(REQUEST, by="bert")).requests) == MAX_OF_ONE + 1


@pytest.mark.parametrize("life", [full(), of_one()], ids=["of-all", "of-one"])
def test_what_is_urgent_takes_the_place_of_the_oldest_that_is_not(life: Lifecycle) -> None:
    """The replacement of a stolen root can always be asked for."""
    urgent = replace(REQUEST, urgent=True)
    kept, changes = add_request(life, urgent)
    assert kept.requests == (*life.requests[1:], urgent)
    assert [(one.act, one.by) for one in changes] == [(Act.LAPSE, "meshca"), (Act.ASK, "anna")]
    assert changes[0].reason == "gave its place to the urgent request r1"


def test_what_is_urgent_takes_no_place_that_is_urgent() -> None:
    """The oldest that is not goes, also when it is younger."""
    first = replace(REQUEST, id="0", body=b"0", urgent=True)
    life = asked(LIFE, first)
    for number in range(1, MAX_OF_ONE):
        life = asked(life, replace(REQUEST, id=str(number), body=b"%d" % number))
    kept = asked(life, replace(REQUEST, urgent=True)).requests
    assert [one.id for one in kept] == ["0", *map(str, range(2, MAX_OF_ONE)), "r1"]


def test_those_whose_time_is_over_make_room() -> None:
    """They are not counted, and their ids are free."""
    later = replace(REQUEST, at=NOW + HOUR, until=NOW + 2 * HOUR)
    kept, changes = add_request(WAITING, later)
    assert kept.requests == (later,)
    assert [one.act for one in changes] == [Act.LAPSE, Act.ASK]


def test_those_whose_time_is_over_go() -> None:
    """In a generation of its own, and that nobody approved them is noted."""
    life, [change] = expire_requests(WAITING, NOW + HOUR)
    assert (life.generation, life.requests) == (WAITING.generation + 1, ())
    assert (change.act, change.by, change.reason) == (Act.LAPSE, "meshca", "nobody approved it in its time")


def test_nothing_changes_while_their_time_lasts() -> None:
    """The same lifecycle."""
    assert expire_requests(WAITING, NOW) == (WAITING, ())


PAUSED = planning.pause(WAITING, Cause(by="bert", at=NOW, request=REQUEST))
OTHER = replace(REQUEST, id="r2", body=b"y")


def test_requests_that_come_and_go_hold_up_nothing_else() -> None:
    """What was planned is as good on what is stored by now, and takes what it takes."""
    now = asked(WAITING, OTHER)
    made = beside_requests(WAITING, PAUSED, now)
    assert made is not None
    after, [change] = made
    assert after == replace(PAUSED[0], generation=now.generation + 1, requests=(OTHER,))
    assert change == replace(PAUSED[1][0], generation=after.generation)


def test_nothing_is_planned_on_roots_that_are_others_since() -> None:
    """It was judged of those before."""
    assert beside_requests(WAITING, PAUSED, replace(WAITING, generation=9, bundles=())) is None


def test_what_was_taken_since_is_not_taken_again() -> None:
    """Of two who approve at once one does it."""
    assert beside_requests(WAITING, PAUSED, replace(LIFE, generation=9)) is None
