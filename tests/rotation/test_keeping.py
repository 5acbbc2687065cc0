"""What was planned is kept beside requests that come and go, and told only then."""

from __future__ import annotations

from dataclasses import replace

import pytest

from meshca import metrics
from meshca.authority import planning
from meshca.authority.drafting import Cause
from meshca.authority.history import Kind, Plan
from meshca.authority.lifecycle import State
from meshca.authority.requests import MAX_OF_ONE, add_request
from meshca.errors import Conflict, Refused, Unavailable
from meshca.rotation.acted import version
from meshca.rotation.keeping import keep, keep_anew
from tests.fakes.hurried_clock import HurriedClock
from tests.fakes.lifecycle_store import FakeLifecycles
from tests.fakes.logs import captured_logs
from tests.fakes.pki import NOW
from tests.fakes.root_reports import request
from tests.fakes.roots import HOUR, NEW, OLD, rotating

CAUSE = Cause(by="anna", reason="audit", at=NOW)
PLAN = Plan(old=OLD, new=NEW, automatic=True, window=HOUR, started_at=NOW, by="anna")
LIFE = replace(rotating(), plan=PLAN)
PAUSED = planning.pause(LIFE, CAUSE)


@pytest.fixture
def store() -> FakeLifecycles:
    """A rotation is under way."""
    return FakeLifecycles(LIFE)


async def test_what_is_kept_is_told(store: FakeLifecycles) -> None:
    """A line for each change; what leaves every state as it was is no step."""
    steps = metrics.transitions.labels(Kind.ROOT, State.DISTRIBUTING)
    before = steps._value.get()
    with captured_logs() as logs:
        kept = await keep(store, HurriedClock(), LIFE, PAUSED)
    assert kept == store.lifecycle == PAUSED[0]
    assert [(line["event"], line["act"], line["by"]) for line in logs] == [("authority.changed", "pause", "anna")]
    assert steps._value.get() == before


async def test_steps_are_counted(store: FakeLifecycles) -> None:
    """By what was reached."""
    steps = metrics.transitions.labels(Kind.ROOT, State.RETIRED)
    before = steps._value.get()
    await keep(store, HurriedClock(), LIFE, planning.give_up(LIFE, NEW, CAUSE, version))
    assert steps._value.get() == before + 1


async def test_nothing_to_keep(store: FakeLifecycles) -> None:
    """The store is not asked."""
    store.down = True
    assert await keep(store, HurriedClock(), LIFE, (LIFE, ())) is LIFE


@pytest.mark.parametrize("others", [1, 60])
async def test_it_is_kept_beside_requests(store: FakeLifecycles, others: int) -> None:
    """However many are kept first."""
    life = LIFE
    for number in range(others):
        life = replace(life, generation=life.generation + 1, requests=(request(id=str(number), at=NOW),))
        store.overtaken_by(life)
    kept = await keep(store, HurriedClock(), LIFE, PAUSED)
    assert kept == store.lifecycle == replace(PAUSED[0], generation=life.generation + 1, requests=life.requests)


async def test_two_requests_at_once_are_both_kept(store: FakeLifecycles) -> None:
    """Each is planned anew on the other, in the order in which they came."""
    one, two = request(id="1"), request(id="2", body=b"2")
    store.overtaken_by(*add_request(LIFE, one))
    kept = await keep_anew(store, HurriedClock(), lambda life: add_request(life, two))
    assert kept.requests == (one, two)
    assert [change.generation for change in store.history] == [LIFE.generation + 1, LIFE.generation + 2]


async def test_what_is_full_by_now_is_refused(store: FakeLifecycles) -> None:
    """However many ask at once."""
    life, many = LIFE, [request(id=str(number), body=b"%d" % number) for number in range(MAX_OF_ONE)]
    for one in many:
        life, _ = add_request(life, one)
    store.overtaken_by(replace(life, generation=LIFE.generation + 1))
    with pytest.raises(Refused) as caught:
        await keep_anew(store, HurriedClock(), lambda kept: add_request(kept, request(id="x", body=b"x")))
    assert (caught.value.reason, store.lifecycle.requests) == ("too_many_requests", tuple(many))


async def test_what_is_there_already_is_not_kept_again(store: FakeLifecycles) -> None:
    """Nothing is committed."""
    assert await keep_anew(store, HurriedClock(), lambda life: (life, ())) is LIFE
    assert store.commits == 0


async def test_whoever_is_always_overtaken_is_told(store: FakeLifecycles) -> None:
    """After a while, and nothing of it is kept."""
    for number in range(100):
        store.overtaken_by(replace(LIFE, generation=LIFE.generation + 1 + number))
    with pytest.raises(Conflict):
        await keep_anew(store, HurriedClock(), lambda life: add_request(life, request()))
    assert store.lifecycle.requests == ()


@pytest.mark.parametrize("others", [1, 1000], ids=["of-the-roots", "without-end"])
async def test_whoever_was_overtaken_is_told(store: FakeLifecycles, others: int) -> None:
    """Nothing of it is kept, and it says what to do."""
    life = LIFE
    for _ in range(others):
        bundles = () if others == 1 else life.bundles
        life = replace(life, generation=life.generation + 1, bundles=bundles)
        store.overtaken_by(life)
    with captured_logs() as logs, pytest.raises(Conflict, match="look at meshca root status") as caught:
        await keep(store, HurriedClock(), LIFE, PAUSED)
    assert caught.value.reason == "generation"
    assert store.lifecycle.plan == PLAN
    assert logs == []


async def test_a_store_that_is_away(store: FakeLifecycles) -> None:
    """It is told as it is."""
    store.down = True
    with pytest.raises(Unavailable):
        await keep(store, HurriedClock(), LIFE, PAUSED)
