"""What SQLite adds to the port of lifecycles: one transaction, no waiting for listings, cheap looks."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from meshca.errors import Conflict, InvariantBroken, Unavailable
from meshca.store.connection import connect
from meshca.store.engine import SqliteStore
from meshca.store.lifecycle import LOOK_SECONDS
from tests.contract.test_lifecycle_store import commit, everything
from tests.fakes.clock import FakeClock
from tests.fakes.generations import changes_of, generation, newest_first
from tests.fakes.records import NOW, intent
from tests.store.opening import opened


@pytest.fixture
def clock() -> FakeClock:
    """A clock at NOW."""
    return FakeClock(NOW)


@pytest.fixture
async def store(tmp_path: Path, clock: FakeClock) -> AsyncIterator[SqliteStore]:
    """An open store."""
    async with opened(tmp_path, clock) as store:
        yield store


def execute(folder: Path, statement: str) -> None:
    """Change the file behind our back."""
    with contextlib.closing(connect(folder / "meshca.db")) as connection:
        connection.execute(statement)


async def test_a_lifecycle_survives_a_restart(tmp_path: Path) -> None:
    """With its changes."""
    async with opened(tmp_path, FakeClock(NOW)) as store:
        await commit(store.lifecycle, 1, 2)
    async with opened(tmp_path, FakeClock(NOW)) as store:
        assert await everything(store.lifecycle) == (generation(2), newest_first(2))


async def test_a_generation_is_one_commit(store: SqliteStore) -> None:
    """However many changes it has."""
    before = store.commits
    await commit(store.lifecycle, 1)
    await store.lifecycle.commit(generation(2), changes_of(2) * 100)
    assert store.commits - before == 2


async def test_a_generation_that_fails_half_way_leaves_nothing(store: SqliteStore, tmp_path: Path) -> None:
    """Its row is written before its changes, and goes with them."""
    await commit(store.lifecycle, 1)
    execute(
        tmp_path,
        "CREATE TRIGGER fault BEFORE INSERT ON lifecycle_change WHEN NEW.ordinal = 2 "
        "BEGIN SELECT RAISE(ABORT, 'fault'); END",
    )
    with pytest.raises(Unavailable):
        await commit(store.lifecycle, 2)
    execute(tmp_path, "DROP TRIGGER fault")
    assert await everything(store.lifecycle) == (generation(1), newest_first(1))
    await commit(store.lifecycle, 2)


async def test_a_conflict_does_not_harm_its_neighbours(store: SqliteStore) -> None:
    """What shares its transaction stands."""
    one = intent()
    answers = await asyncio.gather(
        store.ledger.intend(one), commit(store.lifecycle, 7), commit(store.lifecycle, 1), return_exceptions=True
    )
    assert [type(answer) for answer in answers] == [type(None), Conflict, type(None)]
    assert await store.ledger.find(one.serial) is not None
    assert await everything(store.lifecycle) == (generation(1), newest_first(1))


async def test_a_conflict_says_what_is_stored(store: SqliteStore) -> None:
    """For the log."""
    await commit(store.lifecycle, 1, 2)
    with pytest.raises(Conflict) as caught:
        await commit(store.lifecycle, 2)
    assert caught.value.detail == "generation 2 is stored, so 2 cannot follow; look again"


async def test_a_transition_does_not_wait_for_a_listing(store: SqliteStore) -> None:
    """Which may take seconds, on a thread of its own."""
    listed = threading.Event()
    listing = asyncio.create_task(store._lister.read(lambda _: listed.wait()))
    await commit(store.lifecycle, 1)
    await store.lifecycle.changed(0)
    assert await everything(store.lifecycle) == (generation(1), newest_first(1))
    assert not listing.done()
    listed.set()
    await listing


async def test_a_replica_looks_every_fifth_of_a_second(
    store: SqliteStore, clock: FakeClock, tmp_path: Path
) -> None:
    """By the clock, and not more often."""
    noticing = asyncio.create_task(store.lifecycle.changed(0))
    await clock.advance(0)
    await store.probe()  # reads after the first look
    await clock.advance(0)
    async with opened(tmp_path, FakeClock(NOW)) as other:
        await commit(other.lifecycle, 1)
    await clock.advance(LOOK_SECONDS - 0.01)
    assert not noticing.done()
    await clock.advance(0.01)
    await noticing
    assert clock.sleepers == 0


async def test_a_damaged_lifecycle_is_not_believed(store: SqliteStore, tmp_path: Path) -> None:
    """Nor taken for an empty one; nobody is told that the store is out of reach."""
    await commit(store.lifecycle, 1)
    execute(tmp_path, "UPDATE lifecycle SET body = substr(body, 1, 100)")
    with pytest.raises(InvariantBroken) as caught:
        await store.lifecycle.load()
    assert caught.value.reason == "lifecycle"


async def test_a_damaged_change_is_not_believed(store: SqliteStore, tmp_path: Path) -> None:
    """However it came there."""
    await commit(store.lifecycle, 1)
    execute(tmp_path, "DROP TRIGGER lifecycle_change_no_update")
    execute(tmp_path, "UPDATE lifecycle_change SET state_after = 'resting'")
    with pytest.raises(InvariantBroken) as caught:
        await store.lifecycle.changes(1)
    assert caught.value.reason == "lifecycle"
