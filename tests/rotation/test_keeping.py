"""What was planned is kept beside requests that come and go, and told only then."""

from __future__ import annotations

from dataclasses import replace

import pytest

from meshca import metrics
from meshca.authority import planning
from meshca.authority.drafting import Cause
from meshca.authority.history import Kind, Plan
from meshca.authority.lifecycle import State
from meshca.authority.requests import add_request
from meshca.errors import Conflict, Unavailable
from meshca.rotation.acted import version
from meshca.rotation.keeping import keep
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
        kept = await keep(store, LIFE, PAUSED)
    assert kept == store.lifecycle == PAUSED[0]
    assert [(line["event"], line["act"], line["by"]) for line in logs] == [("authority.changed", "pause", "anna")]
    assert steps._value.get() == before


async def test_steps_are_counted(store: FakeLifecycles) -> None:
    """By what was reached."""
    steps = metrics.transitions.labels(Kind.ROOT, State.RETIRED)
    before = steps._value.get()
    await keep(store, LIFE, planning.give_up(LIFE, NEW, CAUSE, version))
    assert steps._value.get() == before + 1


async def test_nothing_to_keep(store: FakeLifecycles) -> None:
    """The store is not asked."""
    store.down = True
    assert await keep(store, LIFE, (LIFE, ())) is LIFE


@pytest.mark.parametrize("others", [1, 60])
async def test_it_is_kept_beside_requests(store: FakeLifecycles, others: int) -> None:
    """However many are kept first."""
    life = LIFE
    for number in range(others):
        life = replace(life, generation=life.generation + 1, requests=(request(id=str(number), at=NOW),))
        store.overtaken_by(life)
    kept = await keep(store, LIFE, PAUSED)
    assert kept == store.lifecycle == replace(PAUSED[0], generation=life.generation + 1, requests=life.requests)


async def test_two_requests_at_once_are_both_kept(store: FakeLifecycles) -> None:
    """In the order in which they came."""
    one, two = request(id="1"), request(id="2")
    store.overtaken_by(*add_request(LIFE, one))
    kept = await keep(store, LIFE, add_request(LIFE, two))
    assert kept.requests == (one, two)
    assert [change.generation for change in store.history] == [LIFE.generation + 1, LIFE.generation + 2]


@pytest.mark.parametrize("others", [1, 1000], ids=["of-the-roots", "without-end"])
async def test_whoever_was_overtaken_is_told(store: FakeLifecycles, others: int) -> None:
    """Nothing of it is kept, and it says what to do."""
    life = LIFE
    for _ in range(others):
        bundles = () if others == 1 else life.bundles
        life = replace(life, generation=life.generation + 1, bundles=bundles)
        store.overtaken_by(life)
    with captured_logs() as logs, pytest.raises(Conflict, match="look at meshca root status") as caught:
        await keep(store, LIFE, PAUSED)
    assert caught.value.reason == "generation"
    assert store.lifecycle.plan == PLAN
    assert logs == []


async def test_a_store_that_is_away(store: FakeLifecycles) -> None:
    """It is told as it is."""
    store.down = True
    with pytest.raises(Unavailable):
        await keep(store, LIFE, PAUSED)
